"""The receiving side of a server's stream: domains are proved, then stanzas between them flow.

RFC 6120 with SASL EXTERNAL (XEP-0178), XEP-0198 (without resumption), XEP-0220 in the receiving and the
authoritative role, XEP-0288.
What it shares with clients' streams is inbound.py, what may be carried pairs.py. Whom the peer's
certificate proves is in `TLSInfo`; asking the authoritative server about a key is the shell's business.

A domain is proved by the certificate, whether the peer then uses EXTERNAL or sends a dialback key, or,
where policy has dialback, by its authoritative server. Proved is always a pair of domains, and only
stanzas between proved ones are accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from attrs import define, field

from refserver import ns
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID
from refserver.sasl import EXTERNAL, FakeVerifiers, SaslCondition, SaslFailure, Step, Surroundings
from refserver.stream import dialback
from refserver.stream.dialback import Dialback, DomainPairs, Pair
from refserver.stream.events import (
    Confirmed,
    CountWanted,
    Established,
    Event,
    KeyToVerify,
    Managed,
    StreamFailed,
    Verdict,
)
from refserver.stream.features import SERVER_FEATURES, Situation, StreamFeature
from refserver.stream.headers import KINDS, bare_domain
from refserver.stream.inbound import AUTH, HALTED, Events, InboundState, InboundStream, Move
from refserver.stream.management import ANSWER, ENABLE, REQUEST, RESUME, TURNED_ON, WORDS, Management, failed
from refserver.stream.policy import ServerPolicy, TLSInfo
from refserver.xml import Frame, StreamHeader
from refserver.xml.element import Element, clark

_BIDI: Final = clark(ns.BIDI, "bidi")
_READY: Final = (InboundState.NEGOTIATING, InboundState.AUTHENTICATED)


@define(eq=False, repr=False, weakref_slot=False)
class ServerInbound(InboundStream):
    """Another server's stream to us.

    Events: `StartTLS` (handshake as the server, the peer asked for a certificate, then `tls_started`),
    `Authenticated`, `AuthenticationFailed`, `KeyToVerify`, `Established`, `Managed`, `CountWanted`,
    `Confirmed` (only with bidi), `Stanza`, `StanzaRefused`, `StreamClosed`, `StreamFailed`. `secret` makes
    and checks our dialback keys. Keys that other servers want verified are answered without the shell.
    `welcomes` says whether the peer's domain (first) may talk to ours at all.
    """

    content: ClassVar[str] = ns.SERVER
    offers: ClassVar[tuple[StreamFeature, ...]] = SERVER_FEATURES

    _policy: ServerPolicy
    _secret: bytes
    _welcomes: Callable[[str, str], bool] = field(default=lambda from_, to: True, kw_only=True)
    peer: str = field(default="", init=False)
    """The domain that the peer's header names; nothing is proved by that."""
    bidi: bool = field(default=False, init=False)
    """True if the peer wants stanzas on this stream too (XEP-0288)."""
    management: Management = field(factory=Management, init=False)
    """The shell counts in it what it sends (XEP-0288)."""
    _pairs: DomainPairs = field(init=False)
    _asked: dict[Pair, KeyToVerify] = field(factory=dict, init=False)  # what the shell is finding out
    _keys_received: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._pairs = DomainPairs(self._serves)

    # -- what the shell calls ------------------------------------------------

    def tls_started(self, info: TLSInfo) -> None:
        """Answer `StartTLS`: nothing from before the handshake counts."""
        super().tls_started(info)
        self.bidi = False
        self._asked.clear()

    def key_verified(self, asked: KeyToVerify, verdict: Verdict) -> Iterator[Event]:
        """Answer `KeyToVerify`, `asked` being the event itself. An answer that nobody waits for any more
        is dropped.
        """
        pair = asked.from_, asked.to
        if self._state not in _READY or self._asked.get(pair) is not asked:
            return iter(())
        del self._asked[pair]
        request = Dialback(*pair, "", "", asked.key)
        if verdict is True:
            return iter(self._prove(request, "dialback"))
        return iter(self._not_proved(request, verdict))

    @property
    def ready(self) -> bool:
        """True if a domain is proved and the stream is open."""
        return self._state is InboundState.AUTHENTICATED

    def carries(self, from_: str, to: str) -> bool:
        """True if stanzas from our domain `from_` to the peer's `to` may be sent here: only with bidi."""
        return self.bidi and self._state is InboundState.AUTHENTICATED and (to, from_) in self._pairs

    def tell_count(self, handled: int) -> None:
        """Answer `CountWanted`. Nothing happens on a stream that is closed meanwhile."""
        if self._state is InboundState.AUTHENTICATED:
            self._send(self.management.answer(handled))

    def close(self) -> None:
        self._count_last()
        super().close()

    # -- opening -------------------------------------------------------------

    def _admit(self, header: StreamHeader) -> None:
        """RFC 6120 4.7.1: a server says who it is; and it stays the same (4.9.3.9)."""
        peer, host = bare_domain(header.from_), self.host
        if not peer:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        if self._serves(peer) or (self.account is not None and peer != self.account.domainpart):
            raise StreamError(StreamCondition.INVALID_FROM)
        if host is not None and not self._welcomes(peer, host.domainpart):
            raise StreamError(StreamCondition.POLICY_VIOLATION, "this domain is not welcome here")
        self.peer = peer
        if self.tls is not None and not self._policy.dialback and not self.tls.proves(peer):
            raise StreamError(StreamCondition.NOT_AUTHORIZED, str(self.tls.why_not(peer)))

    def _open(self, header: StreamHeader) -> Events:
        super()._open(header)
        if self._state is InboundState.AUTHENTICATED and self.host is not None:
            pair = self.peer, self.host.domainpart
            self._pairs.add(pair)
            return (Established(*pair, "certificate"),)
        return ()

    def _situation(self) -> Situation:
        """EXTERNAL is offered where it would succeed (RFC 6120 13.7.2, XEP-0178 3)."""
        proved = self.tls is not None and bool(self.peer) and self.tls.proves(self.peer)
        mechanisms = (EXTERNAL,) if proved and self.account is None else ()
        return Situation(self._policy, self.tls is not None, (), self.account is not None, mechanisms)

    def _surroundings(self) -> Surroundings:
        domain = self.host.domainpart if self.host else ""
        mechanisms = self._situation().mechanisms
        proved = JID.parse(self.peer) if mechanisms else None
        return Surroundings(domain, FakeVerifiers(self._secret), {}, mechanisms, proved=proved)

    def _take_sasl(self, received: Element) -> Step:
        """Refuse every mechanism but EXTERNAL as unknown, with TLS or without (RFC 6120 6.5.7)."""
        if received.tag == AUTH and received.get("mechanism") != EXTERNAL:
            raise SaslFailure(SaslCondition.INVALID_MECHANISM)
        return super()._take_sasl(received)

    def _authenticate(self, received: Element) -> Events:
        if self._keys_received:  # one way or the other: nothing that is under way may survive the restart
            raise StreamError(StreamCondition.POLICY_VIOLATION, "SASL after dialback")
        return super()._authenticate(received)

    # -- elements ------------------------------------------------------------

    def _events(self, frames: Iterator[Frame]) -> Iterator[Event]:
        admit, management, framer = self._pairs.admit, self.management, self._framer
        try:
            for frame in frames:
                if (
                    isinstance(frame, Element)
                    and frame.tag in KINDS
                    and self._state is InboundState.AUTHENTICATED
                ):
                    yield admit(frame, framer.raw)
                    management.handled += 1  # by now it was given to the router
                    continue
                yield from self._take(frame)
                if self._state in HALTED:
                    return  # what was not asked for stays in the framer
        except StreamError as error:
            yield self._fail(error)

    def _stanza_element(self, received: Element) -> Events:
        if received.tag in WORDS:
            return self._manage(received)
        if self._state in _READY and received.tag == dialback.RESULT:
            return self._key(Dialback.read(received))
        if self._state in _READY and received.tag == dialback.VERIFY:
            return self._verify(Dialback.read(received))
        if received.tag == _BIDI:
            return self._turn_bidi(received)
        raise self._unexpected(received)

    def _turn_bidi(self, received: Element) -> Events:
        """XEP-0288 2.2: after TLS, before authentication."""
        private = self.tls is not None or not self._policy.require_tls
        if self._state is not InboundState.NEGOTIATING or not self._policy.bidi or not private:
            raise self._unexpected(received)
        self.bidi = True
        return ()

    # -- stream management ---------------------------------------------------

    def _manage(self, received: Element) -> Events:
        """XEP-0198, without resumption: nothing of a stream is kept, so there is nothing to resume."""
        tag, management = received.tag, self.management
        if tag == REQUEST and management.on:
            return (CountWanted(management.handled),)
        if tag == ANSWER and management.on:
            management.acknowledged(received)
            return (Confirmed(management.confirmed),)
        if tag in (ENABLE, RESUME) and self._policy.management and self._state in _READY:
            return self._enable() if tag == ENABLE else self._not_managed(Condition.ITEM_NOT_FOUND)
        raise self._unexpected(received)

    def _enable(self) -> Events:
        management = self.management
        if management.on:  # XEP-0198 3: this ends the stream
            self._send(failed(Condition.UNEXPECTED_REQUEST))
            raise StreamError(StreamCondition.POLICY_VIOLATION, "stream management is on already")
        if self._state is not InboundState.AUTHENTICATED:
            return self._not_managed(Condition.UNEXPECTED_REQUEST)
        management.start()
        management.turned_on()
        self._send(TURNED_ON)
        return (Managed(True),)

    def _not_managed(self, condition: Condition) -> Events:
        """The stream goes on, but not for ever if the peer keeps trying."""
        if self._state is not InboundState.AUTHENTICATED:
            condition = Condition.UNEXPECTED_REQUEST
        self._send(failed(condition))
        return self._failed_once()

    # -- dialback: the authoritative role ------------------------------------

    def _verify(self, asked: Dialback) -> Events:
        """XEP-0220 2.2.2: whether a key is ours. An answer to what was never asked is an attack (4)."""
        if asked.type:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "unsolicited dialback answer")
        self._send(dialback.answer("verify", asked, self._ours(asked)))
        return ()

    def _ours(self, asked: Dialback) -> Verdict:
        if self.tls is None and self._policy.require_tls:
            return StanzaError(Condition.POLICY_VIOLATION, "TLS is required")
        if not self._serves(asked.to):
            return StanzaError(Condition.ITEM_NOT_FOUND)
        return dialback.check_key(self._secret, asked.from_, asked.to, asked.id, asked.key)

    # -- dialback: the receiving role ----------------------------------------

    def _key(self, asked: Dialback) -> Events:
        """XEP-0220 2.2.1. The certificate serves as proof too ("dialback without dialing back")."""
        if asked.type:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "unsolicited dialback answer")
        self._keys_received = True
        pair = asked.from_, asked.to
        if pair in self._pairs:
            self._send(dialback.answer("result", asked, True))
            return ()
        refusal = self._refusal(asked)
        if refusal is not None:
            return self._not_proved(asked, refusal)
        if self.tls is not None and self.tls.proves(asked.from_):
            return self._prove(asked, "certificate")
        if not self._policy.dialback:
            return self._not_proved(asked, StanzaError(Condition.NOT_AUTHORIZED, "a certificate is required"))
        self._asked[pair] = event = KeyToVerify(*pair, asked.key, self.id)
        return (event,)

    def _refusal(self, asked: Dialback) -> StanzaError | None:
        """Why the key is not even looked at (XEP-0220 2.5), None if it is."""
        pair = asked.from_, asked.to
        if self.tls is None and self._policy.require_tls:
            return StanzaError(Condition.POLICY_VIOLATION, "TLS is required")
        if not self._serves(asked.to):
            return StanzaError(Condition.ITEM_NOT_FOUND)
        if self._serves(asked.from_) or not self._welcomes(*pair):  # nobody else is one of us
            return StanzaError(Condition.NOT_AUTHORIZED)
        if pair in self._asked or len(self._asked) + len(self._pairs) >= self._policy.max_pairs:
            return StanzaError(Condition.RESOURCE_CONSTRAINT)
        return None

    def _prove(self, asked: Dialback, method: str) -> Events:
        self._pairs.add((asked.from_, asked.to))
        if self._state is InboundState.NEGOTIATING:
            self._move(Move.PROVED)
            self.account = JID.parse(asked.from_)
            self._framer.limits = self._policy.limits_after
        self._send(dialback.answer("result", asked, True))
        return (Established(asked.from_, asked.to, method),)

    def _not_proved(self, asked: Dialback, verdict: Verdict) -> Events:
        """XEP-0220 2.2.1: an invalid key ends a stream that carries nothing yet. Else only invalid keys
        count, for what is served here changes, and other servers are away at times.
        """
        unused, invalid = not len(self._pairs), verdict is False
        if invalid and not unused:
            verdict = StanzaError(Condition.FORBIDDEN)
        self._send(dialback.answer("result", asked, verdict))
        if invalid and unused:
            return (self._fail(StreamError(StreamCondition.NOT_AUTHORIZED, "the dialback key is not valid")),)
        return self._failed_once() if invalid or unused else ()

    # -- the end -------------------------------------------------------------

    def _ended(self, peer_error: str = "") -> Events:
        self._count_last()
        return super()._ended(peer_error)

    def _fail(self, error: StreamError) -> StreamFailed:
        self._count_last()
        return super()._fail(error)

    def _count_last(self) -> None:
        """XEP-0198 4: the last count goes out before our closing tag, so that less is sent twice."""
        if self._state is InboundState.AUTHENTICATED:
            self._send(self.management.answer())
