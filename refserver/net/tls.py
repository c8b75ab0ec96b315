"""TLS on a connection's own socket: the handshake, then records in and out.

Owns the calls into OpenSSL. Does not own which certificate is shown (certificates.py) nor when to read or
write (connection.py). OpenSSL reads and writes the socket itself; no byte passes through a buffer of Python's
on the way.

pyOpenSSL's `Connection.recv` and `send` are passed over for SSL_read and SSL_write themselves, for they
allocate the whole read buffer anew each time and report "nothing yet" through an exception chosen in several
steps: 4 µs a message more (docs/decisions/0003-multiplexer.md). All else goes through pyOpenSSL's methods.

RFC 8446, RFC 5246; RFC 5929 (tls-server-end-point), RFC 9266 (tls-exporter).
"""

from __future__ import annotations

import os
import socket
from weakref import WeakKeyDictionary

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from .trust import Verification

_lib = Binding.lib
_ffi = Binding.ffi
_read = _lib.SSL_read
_write = _lib.SSL_write

# A record holds up to 16 KiB (RFC 8446 5.1). One buffer serves all connections: what is read is copied out of
# it before anything else can happen.
RECORD_SIZE = 16384
_buffer = _ffi.new("char[]", RECORD_SIZE)
_view = _ffi.buffer(_buffer)

# One in PROBE reads looks whether a second record has arrived behind the first.
PROBE = 16


# The server's end point by context: every log-in asks for it, and it takes 65 µs to find.
_end_points: WeakKeyDictionary[SSL.Context, bytes] = WeakKeyDictionary()


class TLSError(OSError):
    """The peer broke TLS, or OpenSSL cannot go on."""


class LastRecords(TLSError):
    """The end of TLS, in order (no reason) or not, came together with the last `data`."""

    def __init__(self, data: bytes, reason: str) -> None:
        super().__init__(reason)
        self.data = data


@define(eq=False, weakref_slot=False)
class TLSState:
    """An established TLS connection: its records, and what the protocol above may ask about it."""

    _ssl: SSL.Connection
    _handle: object  # OpenSSL's own SSL structure
    _client: bool
    _reads: int = field(default=0, init=False)

    @property
    def version(self) -> str:
        """The protocol version as OpenSSL writes it: "TLSv1.3"."""
        return self._ssl.get_protocol_version_name()

    @property
    def alpn(self) -> str:
        """The application protocol agreed on (RFC 7301), "" if none."""
        return self._ssl.get_alpn_proto_negotiated().decode("ascii", "replace")

    @property
    def peer_certificate(self) -> x509.Certificate | None:
        """The certificate the peer showed."""
        return self._ssl.get_peer_certificate(as_cryptography=True)

    @property
    def verification(self) -> Verification | None:
        """The result of verifying that certificate's chain; None if it was not verified."""
        found: Verification | None = self._ssl.get_app_data()
        return found

    def exporter(self, label: bytes, length: int) -> bytes:
        """`length` bytes of keying material for `label`, without context (RFC 5705, RFC 8446 7.5)."""
        return self._ssl.export_keying_material(label, length, None)

    def server_end_point(self) -> bytes:
        """Hash of the server's certificate (RFC 5929 4.1); b"" where that is not defined, as for Ed25519."""
        if self._client:
            certificate = self.peer_certificate
            return b"" if certificate is None else end_point_hash(certificate)
        context = self._ssl.get_context()
        known = _end_points.get(context)
        if known is None:
            certificate = self._ssl.get_certificate(as_cryptography=True)
            known = b"" if certificate is None else end_point_hash(certificate)
            _end_points[context] = known
        return known

    # -- what the connection calls

    def recv(self, size: int, /) -> bytes:
        """The next record's data; more than one record only as long as that pays."""
        count = _read(self._handle, _buffer, RECORD_SIZE)
        if count <= 0:
            return self._nothing(count)
        self._reads -= 1
        if self._reads >= 0:
            return _view[:count]  # type: ignore[no-any-return]  # cffi's buffer has no types
        return self._read_on(_view[:count], size)

    def send(self, data: bytes | memoryview, /) -> int:
        """Write `data` as records; how many bytes are written."""
        length = len(data)
        source = data if isinstance(data, bytes) else _ffi.from_buffer(data)
        count = _write(self._handle, source, length)
        if count == length:
            return length
        if count <= 0:
            self._nothing(count)
            raise TLSError("TLS ended by the peer")
        return self._write_on(memoryview(data), count)

    def shutdown(self) -> None:
        """Send close_notify (RFC 8446 6.1)."""
        try:
            self._ssl.shutdown()
        except (SSL.WantReadError, SSL.WantWriteError):
            raise BlockingIOError from None
        except SSL.Error as error:
            raise TLSError(describe(error)) from None

    # -- OpenSSL

    def _read_on(self, first: bytes, size: int) -> bytes:
        """Look for more records; while there are some, so does the next read."""
        pieces = [first]
        total = len(first)
        try:
            while total < size:
                count = _read(self._handle, _buffer, RECORD_SIZE)
                if count <= 0:
                    self._nothing(count)
                    raise LastRecords(b"".join(pieces), "")
                pieces.append(_view[:count])
                total += count
        except BlockingIOError:
            if len(pieces) == 1:
                self._reads = PROBE
        except LastRecords:
            raise
        except OSError as error:
            # What ended TLS is read from the socket now, so epoll would not report it again.
            raise LastRecords(b"".join(pieces), explain(error)) from None
        return b"".join(pieces)

    def _write_on(self, data: memoryview, done: int) -> int:
        """The records after the first: OpenSSL takes one at a time (MODE_ENABLE_PARTIAL_WRITE)."""
        while done < len(data):
            rest = data[done:]
            count = _write(self._handle, _ffi.from_buffer(rest), len(rest))
            if count <= 0:
                _lib.ERR_clear_error()
                break
            done += count
        return done

    def _nothing(self, result: int) -> bytes:
        """Raise the reason why nothing was read or written; return b"" if the peer ended TLS in order."""
        code = _ffi.errno
        error = _lib.SSL_get_error(self._handle, result)
        if error in (SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE):
            raise BlockingIOError
        reason = _lib.ERR_peek_error()
        _lib.ERR_clear_error()
        if error == SSL_ERROR_ZERO_RETURN:
            return b""
        if error == SSL_ERROR_SYSCALL and code:
            raise OSError(code, os.strerror(code))
        if reason and _lib.ERR_GET_REASON(reason) != UNEXPECTED_EOF:
            raise TLSError(
                "TLS: " + _ffi.string(_lib.ERR_reason_error_string(reason)).decode("ascii", "replace")
            )
        raise TLSError("closed by the peer without ending TLS")


SSL_ERROR_SYSCALL: int = _lib.SSL_ERROR_SYSCALL
SSL_ERROR_WANT_READ: int = _lib.SSL_ERROR_WANT_READ
SSL_ERROR_WANT_WRITE: int = _lib.SSL_ERROR_WANT_WRITE
SSL_ERROR_ZERO_RETURN: int = _lib.SSL_ERROR_ZERO_RETURN
UNEXPECTED_EOF: int = _lib.SSL_R_UNEXPECTED_EOF_WHILE_READING


@define(eq=False)
class Handshake:
    """A handshake under way, behind the plain output that must leave before it."""

    _socket: socket.socket
    _context: SSL.Context  # kept, though OpenSSL may switch to another: it holds the callbacks
    _ssl: SSL.Connection
    _client: bool
    _plain: bytes
    blocked: bool = field(init=False)  # it is writing that cannot go on now

    def __attrs_post_init__(self) -> None:
        self.blocked = bool(self._plain)

    @classmethod
    def begin(
        cls, sock: socket.socket, context: SSL.Context, connect_name: str | None, plain: bytes
    ) -> Handshake:
        """As the server with `context`, or as the client that asks for `connect_name`."""
        ssl = SSL.Connection(context, sock)
        if connect_name is None:
            ssl.set_accept_state()
        else:
            ssl.set_connect_state()
            ssl.set_tlsext_host_name(connect_name.encode("ascii"))
        return cls(sock, context, ssl, connect_name is not None, plain)

    def step(self) -> TLSState | None:
        """Go on as far as possible; the connection once it stands. Raises OSError."""
        self.blocked = False
        try:
            while self._plain:
                self._plain = self._plain[self._socket.send(self._plain) :]
            self._ssl.do_handshake()
        except SSL.WantReadError:
            return None
        except (SSL.WantWriteError, BlockingIOError):
            self.blocked = True
            return None
        except SSL.SysCallError as error:
            if error.args[0] > 0:
                raise OSError(*error.args) from None
            raise TLSError("closed by the peer in the TLS handshake") from None
        except SSL.Error as error:
            raise TLSError("TLS handshake: " + describe(error)) from None
        return TLSState(self._ssl, self._ssl._ssl, self._client)


def explain(error: OSError) -> str:
    """The error as text, without anything that the peer said."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def describe(error: SSL.Error) -> str:
    """OpenSSL's reason, in its words."""
    stack = error.args[0] if error.args else None
    return str(stack[-1][-1]) if isinstance(stack, list) and stack else str(error) or type(error).__name__


def server_name(ssl: SSL.Connection) -> str:
    """The name the client asked for, in lower case, "" if none."""
    return (ssl.get_servername() or b"").decode("ascii", "replace").lower()


def end_point_hash(certificate: x509.Certificate) -> bytes:
    """`certificate` hashed as in RFC 5929 4.1: its own signature's hash, SHA-256 instead of MD5 and SHA-1."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except ValueError:
        return b""
    if algorithm is None:
        return b""
    if isinstance(algorithm, (hashes.MD5, hashes.SHA1)):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)
