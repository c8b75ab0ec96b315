"""What the server can do for accounts: one capability a file, each a `Feature`."""
