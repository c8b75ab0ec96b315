"""Idle streams of another server: opened as RFC 6120 has it, with a certificate for proof, and kept open.

Not for load: one stream after the other, in this process.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from benchmarks.generator import RunFailed
from benchmarks.servers import Place

__all__ = ["Visitor", "resident_kib"]

_SECONDS = 20.0


@frozen
class Visitor:
    """Another server, for `domain`; `certificates` holds its `<domain>.pem` and the authority's `ca.pem`."""

    domain: str
    certificates: Path

    @contextmanager
    def streams(self, to: Place, count: int) -> Iterator[None]:
        """Keep `count` streams open meanwhile. Raises `RunFailed` if one is refused."""
        context = ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))
        context.load_cert_chain(self.certificates / f"{self.domain}.pem")
        with ExitStack() as open_ones:
            try:
                for _ in range(count):
                    open_ones.enter_context(self._open(to, context))
            except OSError as error:
                raise RunFailed(f"{to.domain} ended a stream that was being opened: {error}") from error
            yield

    def _open(self, to: Place, context: ssl.SSLContext) -> socket.socket:
        plain = socket.create_connection((to.host, to.port), timeout=_SECONDS)
        self._begin(plain, to)
        _ask(plain, b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "proceed")
        secure = context.wrap_socket(plain, server_hostname=to.domain)
        self._begin(secure, to)
        auth = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"
        _ask(secure, auth, "success")
        self._begin(secure, to)
        return secure

    def _begin(self, connection: socket.socket, to: Place) -> None:
        header = (
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
            f"from='{self.domain}' to='{to.domain}' version='1.0'>"
        )
        _ask(connection, header.encode(), "features")


def _ask(connection: socket.socket, words: bytes, element: str) -> None:
    """Send `words` and read until `element` has come to its end. Raises `RunFailed` for another answer."""
    end = re.compile(rb"(</(\w+:)?%s>|<(\w+:)?%s\b[^>]*/>)\s*$" % ((element.encode(),) * 2))
    connection.sendall(words)
    heard = b""
    while not end.search(heard):
        more = connection.recv(65536)
        heard += more
        if not more or b"<stream:error" in heard or b"<failure" in heard:
            raise RunFailed(f"no stream: {heard[-300:].decode(errors='replace')}")


def resident_kib(pid: int) -> int:
    """The resident memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
