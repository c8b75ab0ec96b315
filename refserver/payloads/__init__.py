"""Payloads that several features share: reading and making them, without I/O."""
