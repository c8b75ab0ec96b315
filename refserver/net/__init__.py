"""The fast transport: sockets and TLS of client and server streams, behind one reader of the reactor.

Why it stands beside Twisted's own transports: docs/decisions/0003-multiplexer.md.
"""
