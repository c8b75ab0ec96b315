"""The accepting side of a component's stream (XEP-0114, jabber:component:accept) as a state machine.

Owns the header, the handshake with the shared secret, and what a component may send. Does not own
sockets, deadlines, where the secrets come from, or what becomes of a stanza.

HEADER → (the component's header names a domain we have a secret for) → HANDSHAKE → (it proves that
it knows the secret) → OPEN. CLOSING is after our closing tag, CLOSED after the component's or an
error. There is no TLS, no SASL and no restart.

What the component does wrong ends in the event `StreamFailed`; a stanza that only has a fault in
itself is answered, and the stream goes on.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final

from refserver import ns
from refserver.errors import StanzaError, StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza
from refserver.stream.events import Authenticated, Event, Malformed, StreamClosed, StreamFailed
from refserver.stream.headers import CLOSING_TAG, addressed, new_stream_id
from refserver.xml import Frame, Framer, Limits, StreamEnd, StreamHeader
from refserver.xml.element import Element, clark, split
from refserver.xml.write import serialise

_KINDS: Final = {clark(ns.CLIENT, kind): kind for kind in ("message", "presence", "iq")}
_HANDSHAKE: Final = clark(ns.COMPONENT, "handshake")
_ERROR: Final = clark(ns.STREAM, "error")
_CONDITIONS: Final = frozenset(condition.value for condition in StreamCondition)


class _ComponentState(Enum):
    HEADER = auto()
    HANDSHAKE = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


def digest(stream_id: str, secret: str) -> str:
    """The proof that its sender knows the secret (XEP-0114 3): SHA-1, lowercase hexadecimal."""
    # The protocol's choice: what is hashed is not stored, and its random part is ours.
    return hashlib.sha1((stream_id + secret).encode(), usedforsecurity=False).hexdigest()


class ComponentStream:
    """The accepting side of one stream.

    `secret_of` gives the shared secret of a (prepared) domain, None if no component may have it.
    `wanted` is the domain asked for, if there is a secret for it. Once `domain` is set, the component
    is authenticated: a `Stanza` comes for each stanza, its `from_` at that domain and its `to` set.
    `take_output` is to be called after each event.
    """

    __slots__ = (
        "_answered",
        "_framer",
        "_limits_after",
        "_output",
        "_secret",
        "_secret_of",
        "_state",
        "domain",
        "id",
        "wanted",
    )

    def __init__(
        self, secret_of: Callable[[str], str | None], limits_before: Limits, limits_after: Limits
    ) -> None:
        self._secret_of = secret_of
        self._limits_after = limits_after
        self._framer = Framer(limits_before)
        self._output: list[bytes] = []
        self._state = _ComponentState.HEADER
        self._answered = False  # our header is out
        self._secret = ""
        self.wanted: JID | None = None
        self.domain: JID | None = None
        self.id = ""

    # -- what the shell calls ------------------------------------------------

    @property
    def closed(self) -> bool:
        """True if nothing more will be read or written."""
        return self._state is _ComponentState.CLOSED

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take what the component sent. To be walked to its end."""
        if self._state is _ComponentState.CLOSED:
            return
        try:
            for frame in self._framer.feed(data):
                yield from self._take(frame)
                if self.closed:
                    return
        except StreamError as error:
            yield self._fail(error)

    def take_output(self) -> bytes:
        """Take the bytes to send now; b"" if there are none."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def close(self) -> None:
        """End the stream without an error; `StreamClosed` comes when the component has answered."""
        if self._state in (_ComponentState.CLOSING, _ComponentState.CLOSED):
            return
        if self._answered:
            self._output.append(CLOSING_TAG)
            self._state = _ComponentState.CLOSING
        else:
            self._end()

    def fail(self, error: StreamError) -> None:
        """End the stream with an error of ours: a shutdown, a conflict, a deadline passed."""
        if not self.closed:
            self._fail(error)

    # -- reading -------------------------------------------------------------

    def _take(self, frame: Frame) -> tuple[Event, ...]:
        if isinstance(frame, StreamEnd):
            return (self._ended(),)
        if self._state is _ComponentState.CLOSING:
            return ()
        if isinstance(frame, StreamHeader):
            self._open(frame)
            return ()
        if frame.tag == _ERROR:
            return (self._ended(_condition(frame)),)
        if self._state is _ComponentState.HANDSHAKE:
            return (self._shake(frame),)
        if frame.tag not in _KINDS:
            raise self._unexpected(frame)
        return (self._stanza(frame),)

    def _open(self, header: StreamHeader) -> None:
        """XEP-0114 3: `to` is the component's name; an unknown namespace is invalid-namespace."""
        if header.content_namespace != ns.COMPONENT:
            raise StreamError(StreamCondition.INVALID_NAMESPACE)
        wanted = addressed(header)
        secret = self._secret_of(wanted.domainpart)
        if secret is None:
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        self.wanted = wanted
        self._secret = secret
        self._answer_header()
        self._state = _ComponentState.HANDSHAKE

    def _shake(self, received: Element) -> Event:
        """Raises not-authorized for a wrong proof, and for whatever comes before a right one."""
        expected = digest(self.id, self._secret)
        given = received.text or "" if received.tag == _HANDSHAKE and not len(received) else ""
        if self.wanted is None or not hmac.compare_digest(expected.encode(), given.strip().encode()):
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        self._secret = ""
        self._framer.limits = self._limits_after
        self._state = _ComponentState.OPEN
        self.domain = self.wanted
        self._output.append(b"<handshake/>")
        return Authenticated(self.domain, "handshake")

    def _unexpected(self, received: Element) -> StreamError:
        if received.tag == _HANDSHAKE:  # authenticated once is authenticated
            return StreamError(StreamCondition.POLICY_VIOLATION, "already authenticated")
        return StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)

    # -- stanzas -------------------------------------------------------------

    def _stanza(self, received: Element) -> Event:
        sender = self._sender(received)
        try:
            return Stanza.received(received, self._framer.raw)
        except StanzaError as error:
            return self._malformed(received, sender, error)

    def _sender(self, received: Element) -> JID:
        """The component's own address that a stanza comes from.

        XEP-0114 3 wants `from` and `to` as on servers' streams, so what is missing is
        improper-addressing (RFC 6120 4.9.3.7), and who is not of the domain invalid-from (4.9.3.9).
        """
        written = received.get("from")
        if not written or not received.get("to"):
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        try:
            sender = JID.parse(written)
        except InvalidJID as error:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING) from error
        if self.domain is None or sender.domainpart != self.domain.domainpart:
            raise StreamError(StreamCondition.INVALID_FROM)
        return sender

    def _malformed(self, received: Element, sender: JID, error: StanzaError) -> Malformed:
        """Answer it, unless it is an answer itself (RFC 6120 8.3.1).

        A `to` that is no address is what one of a gateway's many users has typed. It costs that
        stanza, not the stream, though 4.9.3.7 would allow so.
        """
        if received.get("type") not in ("error", "result"):
            # `to` is not repeated as the answer's `from`: it may be what is malformed
            answer = Stanza(_KINDS[received.tag], received, self.domain, sender).error(error)
            self._output.append(answer.encode(ns.COMPONENT))
        return Malformed(received, error)

    # -- the end -------------------------------------------------------------

    def _answer_header(self) -> None:
        """Our header (XEP-0114 3). No version: `version='1.0'` would promise stream features."""
        self.id = new_stream_id()
        from_ = f" from='{self.wanted.attribute}'" if self.wanted is not None else ""
        self._output.append(
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAM}'"
            f" id='{self.id}'{from_}>".encode()
        )
        self._answered = True

    def _ended(self, peer_error: str = "") -> StreamClosed:
        """The component has closed the stream: do likewise, once (RFC 6120 4.4)."""
        if self._state is not _ComponentState.CLOSING:
            self._output.append(CLOSING_TAG)
        self._end()
        return StreamClosed(peer_error)

    def _fail(self, error: StreamError) -> StreamFailed:
        """RFC 6120 4.9.1: our header if it is not out yet, the error, the closing tag."""
        if self._state is not _ComponentState.CLOSING:
            if not self._answered:
                self._answer_header()
            self._output.append(serialise(error.element()) + CLOSING_TAG)
        self._end()
        return StreamFailed(error)

    def _end(self) -> None:
        self._state = _ComponentState.CLOSED
        self._secret = ""
        self._framer.discard()


def _condition(error: Element) -> str:
    """The defined condition of a component's stream error."""
    names = (split(child.tag)[1] for child in error)
    return next((name for name in names if name in _CONDITIONS), StreamCondition.UNDEFINED_CONDITION.value)
