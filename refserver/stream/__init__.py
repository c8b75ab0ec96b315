"""XML streams without I/O (RFC 6120): bytes in, events and bytes out.

Owns negotiation and the rules of the stream. Does not own sockets, TLS, time, or what becomes
of a stanza.
"""
