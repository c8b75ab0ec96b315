"""The receiving side of a client's stream: after SASL, a resource is bound and stanzas flow.

RFC 6120 7 (binding) and 8.1.2.1 (`from`), RFC 3921 3 (the session that does nothing), XEP-0077 before
authentication, XEP-0198 with resumption. What clients and servers share is inbound.py; who may bind which
resource, and what becomes of a stanza, is decided above.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import ClassVar, Final

from attrs import define, field

from refserver import ns
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.sasl import FakeVerifiers, Surroundings, offered
from refserver.stanza import IQ_REQUESTS, Stanza
from refserver.stream.events import (
    BindRequested,
    Confirmed,
    CountWanted,
    EnableRequested,
    Event,
    Malformed,
    RegistrationRequest,
    Reply,
    ResumeRequested,
)
from refserver.stream.features import CLIENT_FEATURES, Has, Situation, StreamFeature
from refserver.stream.headers import KINDS
from refserver.stream.inbound import Events, InboundState, InboundStream, Move
from refserver.stream.management import ANSWER, ENABLE, REQUEST, RESUME, WORDS, Management, failed
from refserver.xml.element import Element, child_text, clark, element

_IQ: Final = clark(ns.CLIENT, "iq")
_BIND: Final = clark(ns.BIND, "bind")
_SESSION: Final = clark(ns.SESSION, "session")
_REGISTER: Final = clark(ns.REGISTER, "query")
_NEGOTIATION: Final = frozenset({_BIND, _SESSION})
_READY: Final = (InboundState.NEGOTIATING, InboundState.AUTHENTICATED, InboundState.BOUND)


@define(eq=False, repr=False, weakref_slot=False)
class ClientStream(InboundStream):
    """A client's stream. Once it is bound (`jid` is set) it yields a `Stanza` for each stanza,
    its `from_` set to the full JID.
    """

    content: ClassVar[str] = ns.CLIENT
    offers: ClassVar[tuple[StreamFeature, ...]] = CLIENT_FEATURES

    _fake: FakeVerifiers
    jid: JID | None = field(default=None, init=False)
    management: Management | None = field(default=None, init=False)  # once XEP-0198 is on
    _request: Stanza | None = field(default=None, init=False)  # that the shell is asked about

    # -- what the shell calls ------------------------------------------------

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take what the client sent."""
        if self._state is InboundState.BOUND:
            return self._stanzas(data)
        return super().receive(data)

    def bound(self, jid: JID) -> Iterator[Event]:
        """Answer `BindRequested`: the client is `jid`, a full JID of its account, from now on.

        Nothing happens on a closed stream: look at `closed` before making a session of it.
        """
        if not self._awaits(InboundState.BINDING):
            return iter(())
        self._move(Move.BOUND)
        self.jid = jid
        result = element(ns.BIND, "bind", None, element(ns.BIND, "jid", text=jid.text))
        self._reply(self._take_request().result(result))
        return self._resume(())

    def bind_refused(self, error: StanzaError) -> Iterator[Event]:
        """Answer `BindRequested`: not this resource (RFC 6120 7.6.2, 7.7.2)."""
        if not self._awaits(InboundState.BINDING):
            return iter(())
        self._move(Move.BIND_AGAIN)
        return self._resume(self._refuse_bind(self._take_request(), error))

    def enable(self, management: Management, resume_id: str = "", seconds: int = 0) -> None:
        """Answer `EnableRequested`: both sides count from here on. `resume_id` is "" if it cannot be
        resumed.
        """
        management.start()
        management.turned_on()
        self.management = management
        self._send(management.enabled(resume_id, seconds))

    def resumed(self, jid: JID, management: Management, resume_id: str) -> Iterator[Event]:
        """Answer `ResumeRequested`: the client is `jid` and goes on where it was cut off.

        What it has not acknowledged is to be sent again before the events are asked for.
        """
        if not self._awaits(InboundState.BINDING):
            return iter(())
        self._move(Move.BOUND)
        self.jid = jid
        self.management = management
        self._send(management.resumed(resume_id))
        return self._resume(())

    def resume_refused(self, condition: Condition, handled: int | None = None) -> Iterator[Event]:
        """Answer `ResumeRequested`: the client has to bind a resource, or may try another session."""
        if not self._awaits(InboundState.BINDING):
            return iter(())
        self._move(Move.BIND_AGAIN)
        return self._resume(self._not_managed(condition, handled))

    def tell_count(self, handled: int) -> None:
        """Answer `CountWanted`. Nothing happens on a stream that is closed meanwhile."""
        if self.management is not None and self._state is InboundState.BOUND:
            self._send(self.management.answer(handled))

    def registration_answered(self, reply: Stanza) -> Iterator[Event]:
        """Answer `RegistrationRequest` with its result or error."""
        if not self._awaits(InboundState.REGISTERING):
            return iter(())
        self._move(Move.REGISTERED)
        self._reply(reply)
        return self._resume(())

    # -- established: the hot path -------------------------------------------

    def _stanzas(self, data: bytes) -> Iterator[Event]:
        """As `_events`, for a bound stream."""
        try:
            for frame in self._framer.feed(data):
                if isinstance(frame, Element) and frame.tag in KINDS and self._state is InboundState.BOUND:
                    yield from self._stanza(frame)
                    if self.management is not None:
                        self.management.handled += 1  # by now it was given to the router
                else:
                    yield from self._take(frame)
        except StreamError as error:
            yield self._fail(error)

    def _stanza(self, received: Element) -> Events:
        """The stanza, stamped; or the answer, if it is answered here."""
        try:
            stanza = Stanza.received(received, self._framer.raw)
        except StanzaError as error:
            return self._malformed(received, error)
        if stanza.from_ is not None:
            self._check_sender(stanza.from_)
        stanza.from_ = self.jid
        stanza.stream_language = self.language
        if stanza.kind == "iq" and len(received) and received[0].tag in _NEGOTIATION and self._for_us(stanza):
            return self._negotiated_before(stanza)
        return (stanza,)

    def _check_sender(self, sender: JID) -> None:
        """RFC 6120 8.1.2.1: the full or bare JID of this client, or nobody's."""
        own = self.jid or self.account
        if own is None or (sender != own and sender != own.bare):
            raise StreamError(StreamCondition.INVALID_FROM)

    def _malformed(self, received: Element, error: StanzaError) -> Events:
        """Answer it, unless it is an answer itself (RFC 6120 8.3.1). A `from` that is no address is
        not the client's own.
        """
        sender = received.get("from")
        if sender is not None:
            try:
                self._check_sender(JID.parse(sender))
            except InvalidJID as cause:
                raise StreamError(StreamCondition.INVALID_FROM) from cause
        if received.get("type") not in ("error", "result"):
            # `to` is not repeated as the answer's `from`: it may be what is malformed
            reply = Stanza(KINDS[received.tag], received, None, self.jid).error(error)
            if self._state is InboundState.BOUND:
                return Malformed(received, error), Reply(reply)
            self._reply(reply)
        return (Malformed(received, error),)

    def _negotiated_before(self, stanza: Stanza) -> Events:
        """A legacy session is always there; a second resource is not to be had."""
        if stanza.type not in IQ_REQUESTS:
            return ()
        if stanza.element[0].tag == _SESSION:
            return (Reply(stanza.result()),)
        return (Reply(stanza.error(StanzaError(Condition.NOT_ALLOWED))),)

    # -- stream management ---------------------------------------------------

    def _manage(self, received: Element) -> Events:
        """XEP-0198. What comes too early or twice is refused, and ends the stream if it goes on."""
        tag, management = received.tag, self.management
        if self._state is InboundState.BOUND:
            if tag == REQUEST and management is not None:
                return (CountWanted(management.handled),)
            if tag == ANSWER and management is not None:
                management.acknowledged(received)
                return (Confirmed(management.confirmed),)
            if tag == ENABLE and management is None:
                return (EnableRequested(received.get("resume") in ("true", "1")),)
            if tag == ENABLE:
                self._send(failed(Condition.UNEXPECTED_REQUEST))
                raise StreamError(StreamCondition.POLICY_VIOLATION, "stream management is on already")
        if tag == RESUME and self._state is InboundState.AUTHENTICATED:
            self._move(Move.BIND)
            return (ResumeRequested(received.get("previd", ""), received),)
        if tag in (ENABLE, RESUME) and self._state in _READY:
            return self._not_managed(Condition.UNEXPECTED_REQUEST)
        raise self._unexpected(received)

    def _not_managed(self, condition: Condition, handled: int | None = None) -> Events:
        self._send(failed(condition, handled))
        return self._failed_once()

    # -- before that ---------------------------------------------------------

    def _stanza_element(self, received: Element) -> Events:
        if received.tag not in KINDS:
            if received.tag in WORDS:
                return self._manage(received)
            raise self._unexpected(received)
        if self._state is InboundState.BOUND:
            events = self._stanza(received)
            if self.management is not None:
                self.management.handled += 1
            return events
        if self._state is InboundState.AUTHENTICATED:
            return self._before_binding(received)
        if self._state is InboundState.NEGOTIATING and self._registers(received):
            return self._register(received)
        raise self._unexpected(received)

    def _registers(self, received: Element) -> bool:
        """True if it is a registration request, and policy lets strangers send such."""
        asked = received.tag == _IQ and len(received) > 0 and received[0].tag == _REGISTER
        return asked and self._policy.registration and Has.PRIVACY in self._situation().has

    def _register(self, received: Element) -> Events:
        try:
            stanza = Stanza.received(received)
        except StanzaError as error:
            return self._malformed(received, error)
        if stanza.type not in IQ_REQUESTS or not self._for_us(stanza):
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        stanza.from_ = None
        self._move(Move.REGISTER)
        return (RegistrationRequest(stanza, self.host.domainpart if self.host else ""),)

    def _before_binding(self, received: Element) -> Events:
        """RFC 6120 7.1: nothing but binding, except requests to ourselves, which are answered."""
        try:
            stanza = Stanza.received(received)
        except StanzaError as error:
            return self._malformed(received, error)
        if stanza.from_ is not None:
            self._check_sender(stanza.from_)
        if stanza.kind != "iq" or stanza.type not in IQ_REQUESTS or not self._for_us(stanza):
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        if stanza.type == "set" and received[0].tag == _BIND:
            return self._bind(stanza)
        self._reply(stanza.error(StanzaError(Condition.UNEXPECTED_REQUEST)))
        return ()

    def _bind(self, stanza: Stanza) -> Events:
        account = self.account
        assert account is not None
        wanted = child_text(stanza.element[0], ns.BIND, "resource")
        try:
            jid = account.with_resource(wanted or _new_resource())
        except InvalidJID:
            return self._refuse_bind(stanza, StanzaError(Condition.BAD_REQUEST))  # RFC 6120 7.7.2.1
        self._request = stanza
        self._move(Move.BIND)
        return (BindRequested(jid, jid.resourcepart if wanted else None),)

    def _refuse_bind(self, request: Stanza, error: StanzaError) -> Events:
        self._reply(request.error(error))
        return self._failed_once("too many refused resources")

    def _take_request(self) -> Stanza:
        request, self._request = self._request, None
        assert request is not None
        return request

    # -- small things --------------------------------------------------------

    def _situation(self) -> Situation:
        policy, tls = self._policy, self.tls is not None
        bindings = tuple(self.tls.bindings) if self.tls else ()
        mechanisms: tuple[str, ...] = ()
        if tls or not policy.require_tls:
            mechanisms = offered(tls, bindings, policy.plain_without_tls, policy.scram_sha_1)
        return Situation(policy, tls, bindings, self.account is not None, mechanisms)

    def _surroundings(self) -> Surroundings:
        domain = self.host.domainpart if self.host else ""
        bindings = self.tls.bindings if self.tls else {}
        return Surroundings(domain, self._fake, bindings, self._situation().mechanisms)

    def _for_us(self, stanza: Stanza) -> bool:
        """True if it is addressed to the server, or to the client's own account."""
        return stanza.to is None or stanza.to == self.host or stanza.to == self.account

    def _reply(self, stanza: Stanza) -> None:
        self._send(stanza.wire())


def _new_resource() -> str:
    """A resource that nobody else has or guesses (RFC 6120 7.6)."""
    return secrets.token_urlsafe(9)
