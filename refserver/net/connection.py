"""One socket of the multiplexer: input, coalesced output, closing in order.

Owns the output queue, the limits (how much may wait for a slow reader, how fast a peer may send) and the
order of closing. Does not own the events (mux.py), TLS itself (tls.py) or any protocol.

A connection is in one of these states:

    HANDSHAKING   plain output goes out first, then TLS shakes hands; what is sent meanwhile waits for it
    OPEN          both directions work
    CLOSING       `close` was called: queued output still goes out, input is dropped
    LINGERING     our end of stream is sent; input is dropped until the peer's: for bytes unread at close the
                  kernel would send a reset, which can cost the peer what we sent last
    DOOMED        `abort` was called: gone at the end of this turn
    GONE          the socket is closed, `lost` was called

They only ever go downwards in this list, except between HANDSHAKING and OPEN.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Protocol

from attrs import define, field
from OpenSSL import SSL

from .receiver import SILENT, PeerAddress, Receiver
from .tls import Handshake, LastRecords, TLSState, explain

WRITE_SIZE = 65536


class Expiring(Protocol):
    """Something with a deadline."""

    def expired(self) -> None:
        """The deadline is over."""


class Source(Protocol):
    """A socket that the multiplexer watches."""

    def fileno(self) -> int: ...

    def ready(self, event: int) -> None:
        """Serve the epoll event."""

    def failed(self) -> None:
        """`ready` or `flush` raised: clean up; the exception is logged already."""

    def end(self) -> None:
        """The multiplexer stops: end in order."""


class Poller(Protocol):
    """The side of the multiplexer (mux.py) that its connections call; its methods are documented there."""

    @property
    def now(self) -> float: ...
    def register(self, source: Source, mask: int) -> None: ...
    def watch(self, source: Source, mask: int) -> None: ...
    def ignore(self, source: Source) -> None: ...
    def release(self, connection: Connection, sock: socket.socket) -> None: ...
    def mark(self, connection: Connection) -> None: ...
    def expire(self, what: Expiring, seconds: float) -> None: ...
    def may_shake(self) -> bool: ...
    def throttle(self, connection: Connection) -> None: ...


class Channel(Protocol):
    """Bytes in and out without waiting: a non-blocking socket, or TLS on one.

    Both methods raise BlockingIOError when nothing can be done now, and OSError when nothing will be any
    more.
    """

    def recv(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty: the peer has ended its direction."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Write `data` and return the number of bytes taken."""


@define(eq=False, weakref_slot=False)
class Output:
    """The output queue of a connection. `_queue` is None when nothing waits, which is nearly always."""

    queued: int = field(default=0, init=False)  # bytes accepted by `send` and not yet by the kernel
    _channel: Channel = field(init=False)
    _queue: list[bytes | memoryview] | None = field(default=None, init=False)
    _stuck: bool = field(default=False, init=False)  # the kernel takes no more for now

    def _write(self) -> str:
        """Write once, and again while the kernel takes all of it. Returns the error's text."""
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
        """Queue `rest` again: the kernel took only what stood before it."""
        if self._queue is None:
            self._queue = [rest]
        else:
            self._queue.insert(0, rest)
        self._stuck = True


HANDSHAKING, OPEN, CLOSING, LINGERING, DOOMED, GONE = range(6)

# Why a connection is not read from at present; either is enough.
BY_RATE, AT_END = 1, 2

READ_SIZE = 65536
MAX_QUEUED = 4 * 1024 * 1024
CLOSE_SECONDS = 10.0
BURST_SECONDS = 4
UNLIMITED = float(1 << 62)
FINAL_READS = 16


@define(eq=False, weakref_slot=False)
class Connection(Output):
    """A connected socket; made by `Mux.listen` and `Mux.connect`."""

    _mux: Poller
    _socket: socket.socket
    _address: tuple[str, int] | str
    receiver: Receiver = SILENT
    max_queued: int = MAX_QUEUED  # bytes that may wait for the peer before it counts as a slow reader
    tls: TLSState | None = field(default=None, init=False)  # once the handshake is finished
    _handshake: Handshake | None = field(default=None, init=False)
    _state: int = field(default=OPEN, init=False)
    _paused: int = field(default=0, init=False)
    _mask: int = field(default=EPOLLIN, init=False)  # what epoll watches; -1: registered nowhere
    _rate: float = field(default=0.0, init=False)
    _tokens: float = field(default=UNLIMITED, init=False)
    _refilled: float = field(default=0.0, init=False)
    _reason: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._channel = self._socket

    # -- what the protocol above calls

    @property
    def peer(self) -> PeerAddress:
        """The address of the other end."""
        return PeerAddress.of(self._address)

    @property
    def closed(self) -> bool:
        """True once `close` or `abort` was called or the connection is gone: what is sent now is dropped."""
        return self._state > OPEN

    @property
    def unacknowledged(self) -> int:
        """Bytes that the peer's machine has not acknowledged: what is queued here and in the kernel."""
        if self._state == GONE:
            return 0
        waiting = fcntl.ioctl(self._socket, termios.TIOCOUTQ, b"\0\0\0\0")
        return self.queued + int.from_bytes(waiting, sys.byteorder)

    def send(self, data: bytes) -> None:
        """Queue `data`; all that is queued in one turn of the reactor leaves in one write at its end."""
        if self._state > OPEN or not data:
            return
        queue = self._queue
        if queue is None:
            self._queue = [data]
            self.queued = len(data)
            self._mux.mark(self)
        else:
            queue.append(data)
            self.queued += len(data)
        if self.queued > self.max_queued:
            self._relieve()

    def close(self) -> None:
        """End the connection in order: queued output goes out, then the end of TLS and of the stream.

        A peer that has not read all of it and ended its side within CLOSE_SECONDS is cut off. A connection
        whose TLS handshake is not finished is cut off at once.
        """
        if self._state == HANDSHAKING:
            self.abort("closed")
        elif self._state == OPEN:
            self._leave("closed")
            self._mux.mark(self)

    def abort(self, reason: str = "aborted") -> None:
        """Cut the connection off: nothing more is received or sent; `lost` follows at the end of the turn."""
        if self._state < DOOMED:
            self._state = DOOMED
            self._reason = reason
            self._mux.mark(self)

    @property
    def bytes_per_second(self) -> float:
        """How fast the peer may send, after a burst of BURST_SECONDS at that rate; 0: as fast as it likes.

        Counted are the bytes given to `received`. One read may go beyond what is left; the debt is then
        waited for, so the rate holds on average. Another rate forgives no debt, and gives no new burst.
        """
        return self._rate

    @bytes_per_second.setter
    def bytes_per_second(self, rate: float) -> None:
        most = rate * BURST_SECONDS if rate else UNLIMITED
        self._tokens = min(self._tokens, most) if self._rate and rate else most
        self._rate = rate
        self._refilled = self._mux.now
        if self._tokens >= 0:
            self._resume(BY_RATE)

    def start_tls(self, context: SSL.Context, connect_name: str | None = None) -> None:
        """Speak TLS from here on: as the server, or as the client that asks for `connect_name` (SNI).

        What is queued still leaves as it is; what is sent from now on waits for the end of the handshake.
        Nothing the peer sent in plain is taken for decrypted data: what we have not read yet goes to OpenSSL,
        which fails.
        """
        if self._state != OPEN or self.tls is not None:
            return
        error = self._write()
        if error:
            self.abort(error)
            return
        plain = b"".join(self._queue or ())
        self._queue = None
        self.queued = 0
        self._state = HANDSHAKING
        self._handshake = Handshake.begin(self._socket, context, connect_name, plain)
        if connect_name is not None:
            self._shake()
        else:
            self._stuck = bool(plain)
            self._watch()

    # -- what the multiplexer calls

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def ready(self, event: int) -> None:
        """Serve `event`: read once and hand the data over, or continue what was blocked."""
        if event != EPOLLIN or self._state != OPEN:
            self._attend(event)
            return
        try:
            data = self._channel.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._unreadable(error)
            return
        if not data:
            self._ended()
            return
        self._tokens -= len(data)
        if self._tokens < 0:
            self._mux.throttle(self)
        self.receiver.received(data)

    def flush(self) -> None:
        """Write what is queued, as far as the kernel takes it; end the connection if that was asked for."""
        state = self._state
        if state > CLOSING:
            if state == DOOMED:
                self.finish(self._reason)
            return
        if state == HANDSHAKING:
            return
        error = self._write()
        if error:
            self._broken(error)
        elif self._stuck:
            self._watch()
        elif state == CLOSING:
            self._shut()

    def refill(self, now: float) -> bool:
        """Add the tokens of the time since the last refill. True if the peer may be read from again."""
        if not self._rate:
            return True
        elapsed = max(0.0, now - self._refilled)
        self._refilled = now
        self._tokens = min(self._rate * BURST_SECONDS, self._tokens + elapsed * self._rate)
        return self._tokens >= 0

    def throttled(self, yes: bool) -> None:
        """Stop reading because of the rate (`yes`), or start again."""
        (self._pause if yes else self._resume)(BY_RATE)

    def expired(self) -> None:
        """Cut the peer off: it took too long to close."""
        self._drop_unsent()
        self.finish(self._reason)

    def end(self) -> None:
        """Close: the multiplexer stops."""
        self.close()

    def failed(self) -> None:
        """End the connection, whose receiver raised."""
        self.finish("internal error")

    def finish(self, reason: str) -> None:
        """Close the socket and tell the receiver. The only way to GONE."""
        if self._state == GONE:
            return
        self._state = GONE
        self._queue = None
        self.queued = 0
        self._mask = -1
        self._handshake = None
        self._mux.release(self, self._socket)
        receiver, self.receiver = self.receiver, SILENT
        try:
            receiver.lost(reason)
        finally:
            self.tls = None
            self._channel = self._socket

    # -- input

    def _attend(self, event: int) -> None:
        """Handle every event but input on an open connection."""
        if self._state == HANDSHAKING:
            if self._mux.may_shake():
                self._shake()
            return
        if event & EPOLLOUT and self._stuck:
            self._stuck = False
            self.flush()
        if event & ~EPOLLOUT and self._state != GONE:
            if self._state > OPEN:
                self._discard()
            elif not self._paused:
                self.ready(EPOLLIN)
            elif event & EPOLLERR:
                self.finish(self._pending_error())
            elif event & EPOLLHUP:
                # Reported whether asked for or not: the peer is gone but there may be bytes to read later.
                self._mux.ignore(self)
                self._mask = -1
        self._watch()

    def _shake(self) -> None:
        """Continue the TLS handshake."""
        handshake = self._handshake
        assert handshake is not None
        try:
            tls = handshake.step()
        except OSError as error:
            self.abort(explain(error))
            return
        self._stuck = handshake.blocked
        if tls is not None:
            self._handshake = None
            self.tls = self._channel = tls
            self._state = OPEN
            if self._queue is not None:
                self._mux.mark(self)
            self.receiver.secured()
        self._watch()

    def _discard(self) -> None:
        """Drop input until the peer ends its direction."""
        try:
            if self._socket.recv(READ_SIZE):
                return
        except BlockingIOError:
            return
        except OSError:
            self.finish(self._reason)
            return
        self._ended()

    def _unreadable(self, error: OSError) -> None:
        """Handle an error of reading, which may come with the last data."""
        if isinstance(error, LastRecords):
            self.receiver.received(error.data)
            if self._state != OPEN:
                return
            if not str(error):
                self._ended()
                return
        self.finish(explain(error))

    def _ended(self) -> None:
        """Handle the end of the peer's direction: it may still read, so the queue is written first."""
        if self._state == LINGERING or self._paused & AT_END:
            self.finish(self._reason)
            return
        self._paused |= AT_END
        if self._state == OPEN:
            self._leave("closed by the peer")
        self.flush()
        self._watch()

    def _broken(self, reason: str) -> None:
        """Handle an error of writing: hand over what the peer sent before it went away, then end."""
        self._queue = None
        if self._state == OPEN and not self._paused:
            for _ in range(FINAL_READS):
                try:
                    data = self._channel.recv(READ_SIZE)
                except OSError as error:
                    data = error.data if isinstance(error, LastRecords) else b""
                if not data or self._state != OPEN:
                    break
                self.receiver.received(data)
        self.finish(reason)

    def _pending_error(self) -> str:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return explain(OSError(code or errno.ECONNRESET, ""))

    def _pause(self, why: int) -> None:
        self._paused |= why
        self._watch()

    def _resume(self, why: int) -> None:
        if self._paused & why:
            self._paused &= ~why
            self._watch()

    def _watch(self) -> None:
        """Have epoll watch for the events that can be served now."""
        if self._state == GONE:
            return
        if self._state == OPEN:
            mask = 0 if self._paused else EPOLLIN
        else:
            mask = 0 if self._paused & AT_END else EPOLLIN
        if self._stuck:
            mask |= EPOLLOUT
        if mask != self._mask:
            if self._mask != -1:
                self._mux.watch(self, mask)
            elif mask:
                self._mux.register(self, mask)
            else:
                return
            self._mask = mask

    # -- output

    def _relieve(self) -> None:
        """Write now what can be written, since too much is queued; cut off a peer that does not read."""
        error = self._write() if self._state == OPEN else ""
        if error:
            self.abort(error)
        elif self.queued > self.max_queued:
            self._drop_unsent()
            self.abort("slow reader")
        else:
            self._watch()

    def _drop_unsent(self) -> None:
        """Have the kernel drop unsent data as soon as the socket is closed."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _leave(self, reason: str) -> None:
        """Write what is queued and no more; the peer has CLOSE_SECONDS to end its side."""
        self._state = CLOSING
        self._reason = reason
        self._mux.expire(self, CLOSE_SECONDS)

    def _shut(self) -> None:
        """End our direction, since all is written, and wait for the peer to end its own unless it has."""
        try:
            if self.tls is not None:
                self.tls.shutdown()
            if self._paused & AT_END:
                self.finish(self._reason)
                return
            self._socket.shutdown(socket.SHUT_WR)
            self._state = LINGERING
        except BlockingIOError:
            self._stuck = True
        except OSError:
            self.finish(self._reason)
            return
        self._watch()


Accept = Callable[[Connection], Receiver | None]
