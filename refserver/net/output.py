"""What waits to be written to a socket, and how it is written: as much at once as the kernel takes.

Owns the queue of one connection. Does not own when to write, nor how much may wait (connection.py).
"""

from __future__ import annotations

from typing import Protocol

from attrs import define, field

from .tls import explain

WRITE_SIZE = 65536


class Channel(Protocol):
    """Bytes in and out without waiting: a non-blocking socket, or TLS on one.

    Both methods raise BlockingIOError when nothing can be done now, and OSError when nothing will be any
    more.
    """

    def recv(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty: the peer has ended its direction."""

    def send(self, data: bytes | memoryview, /) -> int:
        """How many bytes were taken."""


@define(eq=False, weakref_slot=False)
class Output:
    """The output side of a connection. `_queue` is None when nothing waits, which is nearly always."""

    queued: int = field(default=0, init=False)  # bytes accepted by `send` and not yet by the kernel
    _channel: Channel = field(init=False)
    _queue: list[bytes | memoryview] | None = field(default=None, init=False)
    _stuck: bool = field(default=False, init=False)  # the kernel takes no more for now

    def _write(self) -> str:
        """One write; more only while the kernel takes all and the queue is longer. Returns what failed."""
        while self._queue is not None and not self._stuck:
            piece = self._gather(self._queue)
            try:
                sent = self._channel.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                return explain(error)
            self.queued -= sent
            if sent < len(piece):
                self._put_back(memoryview(piece)[sent:])
        return ""

    def _gather(self, queue: list[bytes | memoryview]) -> bytes | memoryview:
        """Take the next piece to write off the queue: all of it, or about WRITE_SIZE if there is much."""
        if len(queue) == 1 or self.queued <= WRITE_SIZE:
            self._queue = None
            return queue[0] if len(queue) == 1 else b"".join(queue)
        size = count = 0
        while count < len(queue) and size < WRITE_SIZE:
            size += len(queue[count])
            count += 1
        piece = queue[0] if count == 1 else b"".join(queue[:count])
        del queue[:count]
        if not queue:
            self._queue = None
        return piece

    def _put_back(self, rest: memoryview) -> None:
        """The kernel took only what stood before `rest`."""
        if self._queue is None:
            self._queue = [rest]
        else:
            self._queue.insert(0, rest)
        self._stuck = True
