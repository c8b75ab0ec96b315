"""The features of accounts: one capability a file, each a `Feature`."""
