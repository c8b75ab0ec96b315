"""The middle of the server: who is here, where stanzas go, and what hooks in on their way."""
