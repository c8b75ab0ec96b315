"""Clients' streams: the shell that joins sockets, stream machines, accounts and sessions."""
