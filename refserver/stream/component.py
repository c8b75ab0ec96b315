"""The accepting side of a component's stream (XEP-0114, jabber:component:accept) as a state machine.

Owns the header, the handshake with the shared secret, and what a component may send. Does not own
sockets, deadlines, where the secrets come from, or what becomes of a stanza.

The states are those of all inbound streams (inbound.py): the handshake is expected in NEGOTIATING, and
stanzas come in AUTHENTICATED. There is no TLS, no SASL and no restart.

What the component does wrong ends in the event `StreamFailed`; a stanza that only has a fault in
itself is answered, and the stream goes on.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import ClassVar, Final

from attrs import define, field

from refserver import ns
from refserver.errors import StanzaError, StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza
from refserver.stream.events import Authenticated, Event, Malformed
from refserver.stream.headers import KINDS, addressed, new_stream_id
from refserver.stream.inbound import ERROR, Events, InboundStream, Move, condition_of
from refserver.stream.policy import StreamPolicy
from refserver.xml import Limits, StreamHeader
from refserver.xml.element import Element, clark

_HANDSHAKE: Final = clark(ns.COMPONENT, "handshake")


def digest(stream_id: str, secret: str) -> str:
    """The proof that its sender knows the secret (XEP-0114 3): SHA-1, lowercase hexadecimal."""
    # The protocol's choice: what is hashed is not stored, and its random part is ours.
    return hashlib.sha1((stream_id + secret).encode(), usedforsecurity=False).hexdigest()


@define(eq=False, repr=False, weakref_slot=False)
class ComponentStream(InboundStream):
    """The accepting side of one stream.

    `secret_of` gives the shared secret of a (prepared) domain, None if no component may have it.
    `host` is the domain asked for, if there is a secret for it. Once the component is authenticated,
    `account` is its domain, and a `Stanza` comes for each stanza, its `from_` at that domain and its `to`
    set.
    """

    content: ClassVar[str] = ns.COMPONENT

    _secret_of: Callable[[str], str | None] = field(kw_only=True)
    _secret: str = field(default="", init=False, repr=False)

    @classmethod
    def begin(
        cls, secret_of: Callable[[str], str | None], limits_before: Limits, limits_after: Limits
    ) -> ComponentStream:
        """A new stream, without TLS."""
        policy = StreamPolicy(limits_before, limits_after)
        return cls(lambda domain: secret_of(domain) is not None, policy, secret_of=secret_of)

    # -- reading -------------------------------------------------------------

    def _element(self, received: Element) -> Events:
        if received.tag == ERROR:
            return self._ended(condition_of(received))
        if self.account is None:
            return (self._shake(received),)
        if received.tag in KINDS:
            return (self._stanza(received, self.account),)
        if received.tag == _HANDSHAKE:  # authenticated once is authenticated
            raise StreamError(StreamCondition.POLICY_VIOLATION, "already authenticated")
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)

    def _open(self, header: StreamHeader) -> Events:
        """XEP-0114 3: `to` is the component's name; an unknown namespace is invalid-namespace."""
        if header.content_namespace != ns.COMPONENT:
            raise StreamError(StreamCondition.INVALID_NAMESPACE)
        wanted = addressed(header)
        secret = self._secret_of(wanted.domainpart)
        if secret is None:
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        self.host = wanted
        self._secret = secret
        self._answer_header()
        self._move(Move.OPENED)
        return ()

    def _shake(self, received: Element) -> Event:
        """Raises not-authorized for a wrong proof, and for whatever comes before a right one."""
        expected = digest(self.id, self._secret)
        given = received.text or "" if received.tag == _HANDSHAKE and not len(received) else ""
        if self.host is None or not hmac.compare_digest(expected.encode(), given.strip().encode()):
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        self._secret = ""
        self._framer.limits = self._policy.limits_after
        self._move(Move.PROVED)
        self.account = self.host
        self._send(b"<handshake/>")
        return Authenticated(self.host, "handshake")

    # -- stanzas -------------------------------------------------------------

    def _stanza(self, received: Element, domain: JID) -> Event:
        sender = self._sender(received, domain)
        try:
            return Stanza.received(received, self._framer.raw)
        except StanzaError as error:
            return self._malformed(received, domain, sender, error)

    def _sender(self, received: Element, domain: JID) -> JID:
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
        if sender.domainpart != domain.domainpart:
            raise StreamError(StreamCondition.INVALID_FROM)
        return sender

    def _malformed(self, received: Element, domain: JID, sender: JID, error: StanzaError) -> Malformed:
        """Answer it, unless it is an answer itself (RFC 6120 8.3.1).

        A `to` that is no address is what one of a gateway's many users has typed. It costs that
        stanza, not the stream, though 4.9.3.7 would allow so.
        """
        if received.get("type") not in ("error", "result"):
            # `to` is not repeated as the answer's `from`: it may be what is malformed
            answer = Stanza(KINDS[received.tag], received, domain, sender).error(error)
            self._send(answer.encode(ns.COMPONENT))
        return Malformed(received, error)

    # -- the end -------------------------------------------------------------

    def _answer_header(self, peer: str | None = None) -> None:
        """Our header (XEP-0114 3). No version: `version='1.0'` would promise stream features."""
        self.id = new_stream_id()
        from_ = f" from='{self.host.attribute}'" if self.host is not None else ""
        self._send(
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAM}'"
            f" id='{self.id}'{from_}>".encode()
        )
        self._answered = True
