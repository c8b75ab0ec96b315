"""What a connection reports to, and the one that listens to nothing.

Owns the contract between a connection and the protocol above it. The protocols themselves (client streams,
server streams, components) are shells of the layers above and only need these methods.
"""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """Takes what a connection brings.

    The multiplexer calls these methods, and never from within a call to one of the connection's own: a
    receiver that calls `send`, `close` or `abort` is not called back before it has returned. An exception out
    of any of them is logged and costs that connection only.

    A receiver may also have `drained()`: called when output that the peer was slow to read has all been
    written.
    """

    def received(self, data: bytes) -> None:
        """`data` arrived, decrypted where TLS is on: 1 byte to 64 KiB."""

    def secured(self) -> None:
        """The TLS handshake that `start_tls` asked for is finished; from now on data comes encrypted."""

    def lost(self, reason: str) -> None:
        """The connection is gone: the last call, exactly once. `reason` is for logs; it holds no data."""


class Silent:
    """Listens to nothing. Stands in once a connection is lost: it and its receiver do not keep each other."""

    def received(self, data: bytes) -> None:
        """Nobody is interested."""

    def secured(self) -> None:
        """Nobody is interested."""

    def lost(self, reason: str) -> None:
        """Nobody is interested."""


SILENT = Silent()
