"""The addresses at which servers are found without DNS."""

from __future__ import annotations

from attrs import frozen


@frozen
class ServerAddress:
    """An address of 127.0.0.0/8 and the port for connections from other servers."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
