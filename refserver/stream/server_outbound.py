"""Our stream to another server: secured, authenticated, then stanzas and dialback keys go out.

RFC 6120, XEP-0178, XEP-0198 (without resumption), XEP-0220 (the initiating server's part, and asking an
authoritative server), XEP-0288.
Bytes in, events and bytes out; its states stand above `OutboundState`. Connections, the handshake and
deadlines are the shell's, and so is which stream a stanza takes.

TLS is required. Where policy has no dialback, the peer must prove by its certificate to be the domain that
we mean, and take ours; with dialback, DNS is believed. What a peer does wrong ends in `StreamFailed`; that it
will not have us, in `Refused`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, TypeAlias

from attrs import define, field, frozen

from refserver import ns
from refserver.errors import Cause, Condition, StanzaError, StreamCondition, StreamError, StreamFault
from refserver.sasl import EXTERNAL, encode
from refserver.stream import dialback
from refserver.stream.dialback import Dialback, DomainPairs, Pair
from refserver.stream.events import (
    Confirmed,
    CountWanted,
    Established,
    Event,
    KeyToVerify,
    Managed,
    Refused,
    StartTLS,
    StreamClosed,
    StreamFailed,
    VerifyAnswered,
)
from refserver.stream.headers import CLOSING_TAG, KINDS, check_version, initial_header
from refserver.stream.management import ANSWER, ENABLED, FAILED, REQUEST, TURN_ON, WORDS, Management
from refserver.stream.policy import ServerPolicy, TLSInfo
from refserver.xml import Frame, Framer, StreamEnd, StreamHeader
from refserver.xml.element import Element, child, child_text, clark, element, split
from refserver.xml.write import serialise

# The states of the stream:
#
# 1. CONNECTING until the shell has a connection; then our header is sent and the peer's awaited
#    (HEADER), then its features (FEATURES).
# 2. Without TLS, STARTTLS is asked for (PROCEED), granted, and the handshake is the shell's turn (SECURING);
#    then the stream begins anew with HEADER.
# 3. With TLS, either SASL EXTERNAL is tried (SASL), whose success begins the stream anew; or
#    there is dialback, or nothing to authenticate, and the stream is OPEN.
# 4. In OPEN keys and stanzas go out and answers come in.
# 5. We are CLOSING when our closing tag is sent and the peer's is awaited; CLOSED is the end. Both are
#    possible everywhere.


class OutboundState(Enum):
    """The states of our stream to another server."""

    CONNECTING = auto()
    HEADER = auto()
    FEATURES = auto()
    PROCEED = auto()
    SECURING = auto()
    SASL = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()

    # Enum's own hash is a Python function; members are single, so their identity serves and is free.
    __hash__ = object.__hash__


_END: Final = frozenset({OutboundState.CLOSING, OutboundState.CLOSED})

NEXT_STATES: Final[dict[OutboundState, frozenset[OutboundState]]] = {
    OutboundState.CONNECTING: _END | {OutboundState.HEADER},
    OutboundState.HEADER: _END | {OutboundState.FEATURES},
    OutboundState.FEATURES: _END | {OutboundState.PROCEED, OutboundState.SASL, OutboundState.OPEN},
    OutboundState.PROCEED: _END | {OutboundState.SECURING},
    OutboundState.SECURING: _END | {OutboundState.HEADER},
    OutboundState.SASL: _END | {OutboundState.HEADER, OutboundState.OPEN},
    OutboundState.OPEN: _END,
    OutboundState.CLOSING: _END,
    OutboundState.CLOSED: _END,
}

NOT_READING: Final = frozenset({OutboundState.CONNECTING, OutboundState.SECURING, OutboundState.CLOSED})
"""Nothing is read: before the stream, in the handshake, after the end."""

NOT_WRITING: Final = NOT_READING | {OutboundState.CLOSING}
"""Nothing may be sent in the stream."""


Events: TypeAlias = Iterator[Event]

_ERROR: Final = clark(ns.STREAM, "error")
_FEATURES: Final = clark(ns.STREAM, "features")
_PROCEED: Final = clark(ns.TLS, "proceed")
_NO_TLS: Final = clark(ns.TLS, "failure")
_SUCCESS: Final = clark(ns.SASL, "success")
_FAILURE: Final = clark(ns.SASL, "failure")
_MECHANISM: Final = clark(ns.SASL, "mechanism")
_STARTTLS: Final = f"<starttls xmlns='{ns.TLS}'/>".encode()
_TURN_BIDI: Final = f"<bidi xmlns='{ns.BIDI}'/>".encode()

_CONDITIONS: Final = {condition.value: condition for condition in StreamCondition}
_CAUSES: Final = {
    StreamCondition.HOST_UNKNOWN: Cause.NOT_SERVED,
    StreamCondition.HOST_GONE: Cause.NOT_SERVED,
    StreamCondition.NOT_AUTHORIZED: Cause.WE_ARE_REFUSED,
    StreamCondition.INVALID_FROM: Cause.WE_ARE_REFUSED,
    StreamCondition.POLICY_VIOLATION: Cause.AGAINST_POLICY,
    StreamCondition.SYSTEM_SHUTDOWN: Cause.SHUT_DOWN,
    StreamCondition.RESOURCE_CONSTRAINT: Cause.BUSY,
    StreamCondition.RESET: Cause.CLOSED,
    StreamCondition.CONNECTION_TIMEOUT: Cause.CLOSED,
}
_PERMANENT: Final = frozenset(
    {
        StreamCondition.HOST_UNKNOWN,
        StreamCondition.HOST_GONE,
        StreamCondition.NOT_AUTHORIZED,
        StreamCondition.INVALID_FROM,
        StreamCondition.UNSUPPORTED_VERSION,
    }
)
_LONGEST_TEXT: Final = 200


@frozen
class Ending:
    """The end of an outgoing stream.

    If `permanent`, trying again is of no use before somebody has changed something. `condition` is that of
    the peer's stream error.
    """

    fault: StreamFault
    permanent: bool = False
    condition: str = ""

    @property
    def bounce(self) -> Condition:
        """The condition for stanzas that were waiting."""
        return Condition.REMOTE_SERVER_NOT_FOUND if self.permanent else Condition.REMOTE_SERVER_TIMEOUT


def _ending_of(error: Element) -> Ending:
    """Return what a peer's stream error means."""
    names = [split(part.tag) for part in error]
    found = [_CONDITIONS[name] for space, name in names if space == ns.STREAMS and name in _CONDITIONS]
    condition = found[0] if found else StreamCondition.UNDEFINED_CONDITION
    text = child_text(error, ns.STREAMS, "text")[:_LONGEST_TEXT]
    cause = _CAUSES.get(condition)
    fault = (
        StreamFault(Cause.CLOSED_WITH_ERROR, condition.value, text)
        if cause is None
        else StreamFault(cause, "", text)
    )
    return Ending(fault, condition in _PERMANENT, condition.value)


@define(eq=False, repr=False, weakref_slot=False)
class ServerOutbound:
    """Our stream from our domain `local` to `remote`.

    Events: `StartTLS` (send the output, handshake as the client with SNI `host`, then
    `tls_started`), `Established`, `Managed`, `Confirmed` and `CountWanted` (only if the peer offers
    XEP-0198), `Refused`, `VerifyAnswered`, `Stanza` and `StanzaRefused` (only with bidi), `StreamClosed`,
    `StreamFailed`. Every pair and every key gets its answer: when the stream ends, `Refused` and
    `VerifyAnswered` come for all that is open, before the last event.
    With `verify_only` nothing is authenticated: the stream only serves `verify`. `secret` makes our
    dialback keys. As with inbound streams, walk each iterator to its end and call `take_output`
    after each event.
    """

    local: str
    remote: str
    _policy: ServerPolicy
    _secret: bytes
    tls: TLSInfo | None = None
    _verify_only: bool = field(default=False, kw_only=True)
    id: str = field(default="", init=False)
    """The stream id that the peer gave."""
    bidi: bool = field(default=False, init=False)
    """True if the peer may send stanzas on this stream (XEP-0288)."""
    managed: bool | None = field(default=False, init=False)
    """True if the peer tells what it has handled (XEP-0198); None while it is asked to."""
    management: Management = field(factory=Management, init=False)
    """The shell counts in it what it sends."""
    max_bytes: int = field(default=0, init=False)
    """The largest stanza that the peer takes, as far as it said so (XEP-0478); 0: unknown."""
    _framer: Framer = field(init=False)
    _output: list[bytes] = field(factory=list, init=False)
    _state: OutboundState = field(default=OutboundState.CONNECTING, init=False)
    _authenticated: bool = field(default=False, init=False)
    _offers_management: bool = field(default=False, init=False)
    # The peer answers keys with errors, not with the stream's end.
    _multiplexes: bool = field(default=False, init=False)
    _pairs: DomainPairs = field(factory=lambda: DomainPairs(lambda domain: True), init=False)
    # Pairs (the peer's domain, ours) without an answer, and those of them whose key was sent.
    _wanted: set[Pair] = field(factory=set, init=False)
    _asked: set[Pair] = field(factory=set, init=False)
    # Others' keys: to be sent when the stream is open, and those sent, by domains and stream id.
    _waiting: list[KeyToVerify] = field(factory=list, init=False)
    _verifying: dict[tuple[str, str, str], list[KeyToVerify]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._framer = Framer(self._policy.limits_before)
        if not self._verify_only:
            self._wanted.add((self.remote, self.local))

    # -- what the shell calls ------------------------------------------------

    @property
    def closed(self) -> bool:
        """True if nothing more will be read or written."""
        return self._state is OutboundState.CLOSED

    def start(self) -> Events:
        """Send our header on the connection that stands now, if the peer is the one we mean."""
        tls, remote = self.tls, self.remote
        self._enter(OutboundState.HEADER)
        if tls is not None and not self._policy.dialback and not tls.proves(remote):
            yield from self._over(Ending(tls.why_not(remote), permanent=True))
            return
        self._send(initial_header(self.local, remote))

    def tls_started(self, info: TLSInfo) -> Events:
        """Answer `StartTLS`: the handshake is finished, the stream begins anew."""
        if self._state in (OutboundState.CLOSING, OutboundState.CLOSED):
            return
        self.tls = info
        self._framer.reset()
        yield from self.start()

    def receive(self, data: bytes) -> Events:
        """Handle bytes that the peer sent."""
        if self._state in NOT_READING:
            return
        try:
            for frame in self._framer.feed(data):
                yield from self._take(frame)
                if self._state in NOT_READING:
                    return
        except StreamError as error:
            yield from self.fail(error)

    def take_output(self) -> bytes:
        """Take the bytes to send now; b"" if there are none."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def carries(self, from_: str, to: str) -> bool:
        """True if stanzas from our domain `from_` to the peer's `to` may be sent now."""
        return self._state is OutboundState.OPEN and (to, from_) in self._pairs

    def can_prove(self, local: str, remote: str) -> bool:
        """True if this established stream may be tried for another pair of domains.

        Not where the peer does not answer errors (XEP-0220 2.6.2), nor for a domain of its that its
        certificate does not prove: it was another one that we looked up.
        """
        known = len(self._pairs) + len(self._wanted)
        proved = remote == self.remote or (self.tls is not None and self.tls.proves(remote))
        return (
            self._state is OutboundState.OPEN
            and self._policy.dialback
            and self._multiplexes
            and 0 < len(self._pairs)
            and known < self._policy.max_pairs
            and proved
        )

    def prove(self, local: str, remote: str) -> None:
        """Ask for another pair, where `can_prove`; `Established` or `Refused` comes for it."""
        pair = remote, local
        if pair in self._pairs or pair in self._wanted:
            return
        if not self.can_prove(local, remote):
            raise RuntimeError("the stream cannot carry another pair")
        self._wanted.add(pair)
        self._send_key(pair)

    def verify(self, asked: KeyToVerify) -> Events:
        """Ask the peer, which is `asked.from_`, about a key; `VerifyAnswered` comes for it. May be
        called at any time: it waits until the stream is ready for it.
        """
        if asked.from_ != self.remote:
            raise RuntimeError("another server is the authority for this key")
        if self._state in (OutboundState.CLOSING, OutboundState.CLOSED):
            yield VerifyAnswered(asked, StanzaError(Condition.REMOTE_SERVER_TIMEOUT))
            return
        self._waiting.append(asked)
        self._send_waiting()

    def tell_count(self, handled: int) -> None:
        """Answer `CountWanted`. Nothing happens on a stream that is closed meanwhile."""
        if self._state is OutboundState.OPEN:
            self._send(self.management.answer(handled))

    def close(self) -> Events:
        """End the stream without an error; `StreamClosed` comes when the peer has answered."""
        if self._state in (OutboundState.CLOSING, OutboundState.CLOSED):
            return
        ending = Ending(StreamFault(Cause.CLOSED))
        if self._state in NOT_WRITING:
            yield from self._over(ending)
        else:
            self._send(self.management.answer() + CLOSING_TAG)  # XEP-0198 4: the last count
            self._enter(OutboundState.CLOSING)
            yield from self._give_up(ending)

    def fail(self, error: StreamError, fault: StreamFault | None = None) -> Events:
        """End the stream with an error of ours; without `fault` the peer has broken the protocol."""
        if self._state is OutboundState.CLOSED:
            return
        if self._state not in NOT_WRITING:
            self._send(self.management.answer() + serialise(error.element()) + CLOSING_TAG)
        self._enter(OutboundState.CLOSED)
        yield from self._give_up(Ending(fault or StreamFault(Cause.PROTOCOL_BROKEN, error.condition.value)))
        yield StreamFailed(error)

    def lost(self, fault: StreamFault) -> Events:
        """The connection is gone, or could not be had; to be called whenever it goes."""
        if self._state is not OutboundState.CLOSED:
            self._enter(OutboundState.CLOSED)
            yield from self._give_up(Ending(fault))

    # -- frames --------------------------------------------------------------

    def _take(self, frame: Frame) -> Events:
        if isinstance(frame, StreamEnd):
            yield from self._ended(Ending(StreamFault(Cause.CLOSED)))
        elif self._state is OutboundState.CLOSING:
            return
        elif isinstance(frame, StreamHeader):
            self._header(frame)
        elif frame.tag == _ERROR:
            yield from self._ended(_ending_of(frame))
        else:
            yield from self._element(frame)

    def _element(self, received: Element) -> Events:
        state, tag = self._state, received.tag
        if state is OutboundState.OPEN:
            yield from self._open_element(received)
        elif state is OutboundState.FEATURES and tag == _FEATURES:
            yield from self._negotiate(received)
        elif state is OutboundState.PROCEED and tag == _PROCEED:
            self._framer.discard()
            self._enter(OutboundState.SECURING)
            yield StartTLS(self.remote)
        elif state is OutboundState.PROCEED and tag == _NO_TLS:
            yield from self._leave(Ending(StreamFault(Cause.NO_TLS)))
        elif state is OutboundState.SASL and tag == _SUCCESS:
            self._authenticated = True
            self._framer.reset()
            yield from self.start()
        elif state is OutboundState.SASL and tag == _FAILURE:
            yield from self._fall_back()
        elif tag in KINDS:
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        else:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)

    def _open_element(self, received: Element) -> Events:
        tag = received.tag
        if tag in KINDS:
            if not self.bidi:  # the way back is another stream, on which the peer must prove itself
                raise StreamError(StreamCondition.NOT_AUTHORIZED)
            yield self._pairs.admit(received, self._framer.raw)
            self.management.handled += 1  # by now it was given to the router
        elif tag in WORDS:
            yield from self._manage(received)
        elif tag == dialback.RESULT:
            yield from self._result(Dialback.read(received))
        elif tag == dialback.VERIFY:
            yield from self._verified(Dialback.read(received))
        else:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)

    # -- opening -------------------------------------------------------------

    def _header(self, header: StreamHeader) -> None:
        if header.content_namespace != ns.SERVER:
            raise StreamError(StreamCondition.INVALID_NAMESPACE)
        check_version(header)
        self.id = header.id or ""
        self._enter(OutboundState.FEATURES)

    def _negotiate(self, features: Element) -> Events:
        if self.tls is None and child(features, ns.TLS, "starttls") is not None:
            self._send(_STARTTLS)
            self._enter(OutboundState.PROCEED)
            return
        if self.tls is None and self._policy.require_tls:
            yield from self._leave(Ending(StreamFault(Cause.NO_TLS), permanent=True))
            return
        self._learn(features)
        if self._authenticated:
            yield from self._opened((self.remote, self.local), "certificate")
        elif self._verify_only:
            yield from self._opened(None, "")
        else:
            yield from self._authenticate(features)

    def _learn(self, features: Element) -> None:
        """Note the peer's abilities and its limit."""
        offer = child(features, ns.FEATURE_DIALBACK, "dialback")
        self._multiplexes = offer is not None and child(offer, ns.FEATURE_DIALBACK, "errors") is not None
        self._offers_management = child(features, ns.SM, "sm") is not None
        limits = child(features, ns.STREAM_LIMITS, "limits")
        most = "" if limits is None else child_text(limits, ns.STREAM_LIMITS, "max-bytes").strip()
        if most.isascii() and most.isdecimal() and len(most) < 16:
            self.max_bytes = int(most)

    def _authenticate(self, features: Element) -> Events:
        if self._policy.bidi and child(features, ns.FEATURE_BIDI, "bidi") is not None:
            self._send(_TURN_BIDI)  # XEP-0288 2.2: before authentication
            self.bidi = True
        mechanisms = child(features, ns.SASL, "mechanisms")
        names = () if mechanisms is None else [each.text for each in mechanisms.findall(_MECHANISM)]
        if EXTERNAL not in names:
            yield from self._fall_back()
            return
        # XEP-0178 3: the authorization identity is not needed, but older servers want it.
        text = encode(self.local.encode())
        self._send(serialise(element(ns.SASL, "auth", {"mechanism": EXTERNAL}, text=text)))
        self._enter(OutboundState.SASL)

    def _fall_back(self) -> Events:
        """Use dialback where policy has it: the peer does not accept our certificate."""
        if not self._policy.dialback:
            yield from self._leave(Ending(StreamFault(Cause.OUR_CERTIFICATE_REFUSED), permanent=True))
        elif not self.id:
            raise StreamError(StreamCondition.BAD_FORMAT, "a stream without id")
        else:
            self._send_key((self.remote, self.local))
            yield from self._opened(None, "")

    def _opened(self, pair: Pair | None, method: str) -> Events:
        self._enter(OutboundState.OPEN)
        self._send_waiting()
        if pair is not None:
            yield self._established(pair, method)

    def _established(self, pair: Pair, method: str) -> Established:
        self._framer.limits = self._policy.limits_after
        self._wanted.discard(pair)
        self._pairs.add(pair)
        if self._offers_management and self._policy.management:
            self._offers_management = False  # XEP-0198 3: at most one attempt
            self.management.start()
            self.managed = None
            self._send(TURN_ON)
        remote, local = pair
        return Established(local, remote, method)

    # -- stream management ---------------------------------------------------

    def _manage(self, received: Element) -> Events:
        tag, management = received.tag, self.management
        if tag == ANSWER and management.on:
            management.acknowledged(received)
            yield Confirmed(management.confirmed)
        elif tag == REQUEST and management.on:
            yield CountWanted(management.handled)
        elif tag in (ENABLED, FAILED) and self.managed is None:
            self.managed = tag == ENABLED
            if self.managed:
                management.turned_on()
            yield Managed(self.managed)
        else:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)

    # -- dialback ------------------------------------------------------------

    def _send_key(self, pair: Pair) -> None:
        remote, local = pair
        key = dialback.make_key(self._secret, remote, local, self.id)
        self._asked.add(pair)
        self._send(dialback.request("result", local, remote, key))

    def _send_waiting(self) -> None:
        if self._state is not OutboundState.OPEN:
            return
        for asked in self._waiting:
            same = self._verifying.setdefault((asked.from_, asked.to, asked.stream_id), [])
            same.append(asked)
            self._send(dialback.request("verify", asked.to, asked.from_, asked.key, asked.stream_id))
        self._waiting.clear()

    def _result(self, received: Dialback) -> Events:
        """XEP-0220 2.1.1; an answer to what was not asked is an attack (4)."""
        if not received.type and self.bidi:  # the peer wants another pair: on a stream of its own
            refusal = StanzaError(Condition.NOT_ACCEPTABLE)
            self._send(dialback.answer("result", received, refusal))
            return
        pair = received.from_, received.to
        if not received.type or pair not in self._asked:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "unsolicited dialback answer")
        self._asked.discard(pair)
        if received.type == "valid":
            yield self._established(pair, "dialback")
            return
        self._wanted.discard(pair)
        yield _refused(pair, received)
        if not len(self._pairs) and not self._wanted and not self._waiting and not self._verifying:
            yield from self._leave(Ending(StreamFault(Cause.CLOSED)))

    def _verified(self, received: Dialback) -> Events:
        """XEP-0220 2.1.2."""
        key = received.from_, received.to, received.id
        waiting = self._verifying.get(key)
        if not received.type or not waiting:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "unsolicited dialback answer")
        asked = waiting.pop(0)
        if not waiting:
            del self._verifying[key]
        verdict = received.verdict
        # XEP-0220 2.5: whatever went wrong there, our peer hears that the server was not found.
        unknown = StanzaError(Condition.REMOTE_SERVER_NOT_FOUND)
        yield VerifyAnswered(asked, unknown if isinstance(verdict, StanzaError) else verdict)

    # -- the end -------------------------------------------------------------

    def _ended(self, ending: Ending) -> Events:
        """The peer has closed the stream: do likewise (RFC 6120 4.4)."""
        if self._state is not OutboundState.CLOSING:
            self._send(self.management.answer() + CLOSING_TAG)
        yield from self._over(ending)

    def _leave(self, ending: Ending) -> Events:
        """Nothing can be done here: close, without waiting for the peer."""
        self._send(CLOSING_TAG)
        yield from self._over(ending)

    def _over(self, ending: Ending) -> Events:
        self._enter(OutboundState.CLOSED)
        yield from self._give_up(ending)
        yield StreamClosed(ending.condition)

    def _give_up(self, ending: Ending) -> Events:
        """Answer all that is open."""
        waiting = [*self._waiting, *(asked for same in self._verifying.values() for asked in same)]
        wanted = sorted(self._wanted)
        self._waiting.clear()
        self._verifying.clear()
        self._wanted.clear()
        self._asked.clear()
        for asked in waiting:
            yield VerifyAnswered(asked, StanzaError(ending.bounce))
        for remote, local in wanted:
            yield Refused(local, remote, ending.fault, ending.permanent, ending.bounce)

    # -- small things --------------------------------------------------------

    def _enter(self, state: OutboundState) -> None:
        if state not in NEXT_STATES[self._state]:
            raise RuntimeError(f"{state.name} does not follow {self._state.name}")
        self._state = state

    def _send(self, data: bytes) -> None:
        self._output.append(data)


_UNREACHABLE: Final = (Condition.REMOTE_SERVER_NOT_FOUND, Condition.REMOTE_SERVER_TIMEOUT)


def _refused(pair: Pair, received: Dialback) -> Refused:
    """XEP-0220 2.1.1, 2.5: what stanzas that wait for this pair are told."""
    remote, local = pair
    error = received.error
    if error is None:
        fault = StreamFault(Cause.OUR_KEY_REFUSED)
        return Refused(local, remote, fault, False, Condition.INTERNAL_SERVER_ERROR)
    if error.condition is Condition.ITEM_NOT_FOUND:
        return Refused(local, remote, StreamFault(Cause.NOT_SERVED), True, Condition.REMOTE_SERVER_NOT_FOUND)
    cause = Cause.WE_ARE_UNREACHABLE if error.condition in _UNREACHABLE else Cause.DIALBACK_REFUSED
    return Refused(local, remote, StreamFault(cause, error.condition.value), False)
