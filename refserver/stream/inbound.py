"""The base of inbound streams, a client's or a server's: opening, TLS, SASL, closing.

The receiving side of RFC 6120 4-6 without I/O. Bytes go in (`receive`), events come out, and
what is to be sent collects until `take_output`. The states are listed above `InboundState`; how
elements are found in the bytes is `refserver.xml.framer`; sockets, TLS itself, deadlines and delays
are the shell's.

What the peer does wrong ends in the event `StreamFailed`. A shell that answers what it was not
asked gets a RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import ClassVar, Final, TypeAlias, TypeVar

from attrs import define, field

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.jid import JID
from refserver.sasl import (
    Challenge,
    Credentials,
    Mechanism,
    NeedCredentials,
    SaslCondition,
    SaslFailure,
    Step,
    Success,
    Surroundings,
    begin,
    decode,
    encode,
)
from refserver.stream.events import (
    Authenticated,
    AuthenticationFailed,
    CredentialsWanted,
    Event,
    PasswordCheckWanted,
    StartTLS,
    StreamClosed,
    StreamFailed,
)
from refserver.stream.features import Has, Situation, StreamFeature, features
from refserver.stream.headers import CLOSING_TAG, addressed, answer_header, check_version, new_stream_id
from refserver.stream.policy import StreamPolicy, TLSInfo
from refserver.xml import Frame, Framer, StreamEnd, StreamHeader
from refserver.xml.element import Element, element, split
from refserver.xml.write import serialise

# The states of the receiving side, and what leads from one to another:
#
# 1. Every stream, and every restart of it after TLS and after SASL, begins with the peer's
#    header: HEADER while nobody is authenticated, RESTARTED then (RFC 6120 4.3.3).
# 2. NEGOTIATING is after our features. STARTTLS leads to SECURING; what comes before the handshake
#    is thrown away, and the stream begins anew.
# 3. A SASL exchange walks between CHALLENGED (the peer's turn), CREDENTIALS and PASSWORD (the
#    shell's turn) until it fails, back to NEGOTIATING, or succeeds.
# 4. After RESTARTED comes AUTHENTICATED, where a client may only bind (RFC 6120 7); BINDING is the
#    shell's turn. A server's stream is ready when it is AUTHENTICATED, which a server may also
#    become by dialback, without a restart (XEP-0220).
# 5. REGISTERING is the shell's turn too: one registration request at a time (XEP-0077).
# 6. While it is the shell's turn nothing is read: what arrives is kept, within the limits.
# 7. CLOSE (ours) and END (the peer's closing tag, or an error) are possible everywhere. Nothing
#    is read after END; after CLOSE only the peer's closing tag matters (RFC 6120 4.4).


class InboundState(Enum):
    """The states of the receiving side."""

    HEADER = auto()
    NEGOTIATING = auto()
    SECURING = auto()
    CHALLENGED = auto()
    CREDENTIALS = auto()
    PASSWORD = auto()
    REGISTERING = auto()
    RESTARTED = auto()
    AUTHENTICATED = auto()
    BINDING = auto()
    BOUND = auto()
    CLOSING = auto()
    CLOSED = auto()

    # Enum's own hash is a Python function; members are single, so their identity serves and is free.
    __hash__ = object.__hash__


class Move(Enum):
    """The causes of a change of state."""

    OPENED = auto()  # the peer's header was accepted, our features are sent
    PROCEED = auto()  # STARTTLS was granted
    SECURED = auto()  # the TLS handshake is finished
    CHALLENGE = auto()  # the peer was sent a challenge
    LOOK_UP = auto()  # the shell was asked for credentials
    CHECK = auto()  # the shell was asked to check a password
    FAIL = auto()  # the exchange has failed
    SUCCEED = auto()  # the peer is authenticated
    REGISTER = auto()  # the shell was asked about a registration request
    REGISTERED = auto()  # … and has answered
    BIND = auto()  # the shell was asked for a resource
    BIND_AGAIN = auto()  # … and has refused it
    BOUND = auto()  # … and has given it
    PROVED = auto()  # a server has proved a domain by dialback
    CLOSE = auto()  # we sent our closing tag
    END = auto()  # the stream is over

    __hash__ = object.__hash__


_EXCHANGE: Final = {
    Move.CHALLENGE: InboundState.CHALLENGED,
    Move.LOOK_UP: InboundState.CREDENTIALS,
    Move.CHECK: InboundState.PASSWORD,
    Move.FAIL: InboundState.NEGOTIATING,
    Move.SUCCEED: InboundState.RESTARTED,
}
_ALWAYS: Final = {Move.CLOSE: InboundState.CLOSING, Move.END: InboundState.CLOSED}

TRANSITIONS: Final[dict[InboundState, dict[Move, InboundState]]] = {
    InboundState.HEADER: {**_ALWAYS, Move.OPENED: InboundState.NEGOTIATING},
    InboundState.NEGOTIATING: {
        **_ALWAYS,
        **_EXCHANGE,
        Move.PROCEED: InboundState.SECURING,
        Move.REGISTER: InboundState.REGISTERING,
        Move.PROVED: InboundState.AUTHENTICATED,
    },
    InboundState.SECURING: {**_ALWAYS, Move.SECURED: InboundState.HEADER},
    InboundState.CHALLENGED: {**_ALWAYS, **_EXCHANGE},
    InboundState.CREDENTIALS: {**_ALWAYS, **_EXCHANGE},
    InboundState.PASSWORD: {**_ALWAYS, **_EXCHANGE},
    InboundState.REGISTERING: {**_ALWAYS, Move.REGISTERED: InboundState.NEGOTIATING},
    InboundState.RESTARTED: {**_ALWAYS, Move.OPENED: InboundState.AUTHENTICATED},
    InboundState.AUTHENTICATED: {**_ALWAYS, Move.BIND: InboundState.BINDING},
    InboundState.BINDING: {
        **_ALWAYS,
        Move.BIND_AGAIN: InboundState.AUTHENTICATED,
        Move.BOUND: InboundState.BOUND,
    },
    InboundState.BOUND: _ALWAYS,
    InboundState.CLOSING: _ALWAYS,
    InboundState.CLOSED: _ALWAYS,
}

SHELLS_TURN: Final = frozenset(
    {InboundState.CREDENTIALS, InboundState.PASSWORD, InboundState.REGISTERING, InboundState.BINDING}
)
"""Input is kept until the shell has answered."""

HALTED: Final = SHELLS_TURN | {InboundState.SECURING, InboundState.CLOSED}
"""Nothing more is read for now, or for ever."""


def after(state: InboundState, move: Move) -> InboundState:
    """The state that `move` leads to from `state`. Raises RuntimeError where it is not allowed:
    the machine itself, or a shell answering what it was not asked, is wrong then.
    """
    try:
        return TRANSITIONS[state][move]
    except KeyError:
        raise RuntimeError(f"{move.name} is not possible in {state.name}") from None


Events: TypeAlias = tuple[Event, ...]
Answer = TypeVar("Answer")

AUTH: Final = f"{{{ns.SASL}}}auth"
ABORT: Final = f"{{{ns.SASL}}}abort"
_SASL: Final = frozenset({AUTH, ABORT, f"{{{ns.SASL}}}response"})
_STARTTLS: Final = f"{{{ns.TLS}}}starttls"
ERROR: Final = f"{{{ns.STREAM}}}error"
_PROCEED: Final = f"<proceed xmlns='{ns.TLS}'/>".encode()
_NO_TLS: Final = f"<failure xmlns='{ns.TLS}'/>".encode()
_CONDITIONS: Final = frozenset(condition.value for condition in StreamCondition)
_HELD_BYTES: Final = 1 << 20  # while it is the shell's turn, where the policy sets no limit


@define(eq=False, repr=False, weakref_slot=False)
class InboundStream:
    """The receiving side of one stream.

    `serves` says whether a (prepared) domain is served here. `tls` is given for direct TLS
    (XEP-0368). Every iterator that a method returns must be walked to its end, and
    `take_output` be called after each event, so that things go out in the order they happened.
    """

    content: ClassVar[str]
    offers: ClassVar[tuple[StreamFeature, ...]] = ()

    _serves: Callable[[str], bool]
    _policy: StreamPolicy
    tls: TLSInfo | None = field(default=None, kw_only=True)
    host: JID | None = field(default=None, init=False)
    account: JID | None = field(default=None, init=False)
    id: str = field(default="", init=False)
    language: str = field(default="", init=False)  # the xml:lang of the peer's header
    _framer: Framer = field(init=False)
    _output: list[bytes] = field(factory=list, init=False)
    _state: InboundState = field(default=InboundState.HEADER, init=False)
    _answered: bool = field(default=False, init=False)  # our header is out, in this beginning of the stream
    _exchange: Mechanism | None = field(default=None, init=False)  # the SASL exchange under way
    _claimed: JID | None = field(default=None, init=False)  # the account that the newest exchange named
    _mechanism: str = field(default="", init=False)  # the newest exchange's
    _failures: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._framer = Framer(self._policy.limits_before)

    # -- what the shell calls ------------------------------------------------

    @property
    def closed(self) -> bool:
        """True if nothing more will be read or written."""
        return self._state is InboundState.CLOSED

    def receive(self, data: bytes) -> Iterator[Event]:
        """Handle bytes that the peer sent."""
        if self._state in SHELLS_TURN:
            return self._hold(data)
        if self._state in HALTED:  # bytes sent in plain behind <starttls/>, or after the end
            return iter(())
        return self._events(self._framer.feed(data))

    def take_output(self) -> bytes:
        """Take the bytes to send now; b"" if there are none."""
        if not self._output:
            return b""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def tls_started(self, info: TLSInfo) -> None:
        """Answer `StartTLS`: the handshake is finished, the stream begins anew (RFC 6120 5.4.3.3)."""
        self._move(Move.SECURED)
        self.tls = info
        self._restart()

    def credentials(self, found: Credentials | SaslFailure | None) -> Iterator[Event]:
        """Answer `CredentialsWanted`; None for no such account, a `SaslFailure`
        (temporary-auth-failure) if it could not be found out. Nothing happens on a closed stream.
        """
        if not self._awaits(InboundState.CREDENTIALS):
            return iter(())
        return self._resume(self._step(self._give_credentials, found))

    def password_checked(self, right: bool) -> Iterator[Event]:
        """Answer `PasswordCheckWanted`. Nothing happens on a closed stream."""
        if not self._awaits(InboundState.PASSWORD):
            return iter(())
        return self._resume(self._step(self._running().password_checked, right))

    def close(self) -> None:
        """End the stream without an error; `StreamClosed` comes when the peer has answered."""
        if self._state in (InboundState.CLOSING, InboundState.CLOSED):
            return
        if self._answered and self._state is not InboundState.SECURING:
            self._send(CLOSING_TAG)
            self._move(Move.CLOSE)
        else:
            self._end()

    def fail(self, error: StreamError) -> None:
        """End the stream with an error of ours: a shutdown, a conflict, a deadline passed."""
        if self._state is not InboundState.CLOSED:
            self._fail(error)

    # -- the loop ------------------------------------------------------------

    def _events(self, frames: Iterator[Frame]) -> Iterator[Event]:
        """Read on until everything is read, the shell is asked or the stream has ended."""
        try:
            for frame in frames:
                yield from self._take(frame)
                if self._state in HALTED:
                    return  # what was not asked for stays in the framer
        except StreamError as error:
            yield self._fail(error)

    def _resume(self, events: Events) -> Iterator[Event]:
        """After an answer of the shell's: tell what came of it, and read on."""
        yield from events
        if self._state not in HALTED:
            yield from self._events(self._framer.feed(b""))

    def _hold(self, data: bytes) -> Iterator[Event]:
        """Keep `data` for later: in order, and not without limit."""
        self._framer.feed(data)
        if self._framer.pending > (self._framer.limits.stanza_bytes or _HELD_BYTES):
            return iter((self._fail(StreamError(StreamCondition.POLICY_VIOLATION)),))
        return iter(())

    def _take(self, frame: Frame) -> Events:
        if isinstance(frame, StreamEnd):
            return self._ended()
        if self._state is InboundState.CLOSING:
            return ()
        if isinstance(frame, StreamHeader):
            return self._open(frame)
        return self._element(frame)

    def _element(self, received: Element) -> Events:
        """An element directly in the stream."""
        tag = received.tag
        if tag in _SASL:
            return self._authenticate(received)
        if tag == _STARTTLS:
            return self._starttls()
        if tag == ERROR:  # RFC 6120 4.9.1.1: the peer has given the stream up
            return self._ended(condition_of(received))
        return self._stanza_element(received)

    def _stanza_element(self, received: Element) -> Events:
        """Anything that does not negotiate the stream: for subclasses to accept."""
        raise self._unexpected(received)

    def _unexpected(self, received: Element) -> StreamError:
        """RFC 6120 4.9.3.12 for stanzas that come too early, 4.9.3.24 for what is none."""
        space, name = split(received.tag)
        if self.account is None and space == ns.CLIENT and name in ("message", "presence", "iq"):
            return StreamError(StreamCondition.NOT_AUTHORIZED)
        return StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)

    # -- opening -------------------------------------------------------------

    def _open(self, header: StreamHeader) -> Events:
        host = addressed(header)
        if not self._serves(host.domainpart):
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        if self.account is not None and host != self.host:
            # Who has authenticated at one domain is nobody at another.
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        self.host = host
        if header.content_namespace != self.content:
            raise StreamError(StreamCondition.INVALID_NAMESPACE)
        check_version(header)
        self.language = header.lang or ""
        self._admit(header)
        self._answer_header(header.from_)
        self._send(features(self.offers, self._situation()))
        self._move(Move.OPENED)
        return ()

    def _admit(self, header: StreamHeader) -> None:
        """For subclasses to refuse a peer by its header: raise `StreamError`."""

    def _answer_header(self, peer: str | None = None) -> None:
        self.id = new_stream_id()
        self._send(answer_header(self.content, self.id, self.host, peer))
        self._answered = True

    def _situation(self) -> Situation:
        """All that the features of this stream depend on."""
        raise NotImplementedError

    def _restart(self) -> None:
        """The next thing to come is a header, and all that was negotiated on the way is to be
        forgotten (RFC 6120 4.3.3, 5.4.3.3).
        """
        self._framer.reset()
        self._answered = False
        self._exchange = None
        self._mechanism, self._claimed = "", None

    # -- STARTTLS ------------------------------------------------------------

    def _starttls(self) -> Events:
        if self._state is not InboundState.NEGOTIATING or self.tls is not None or not self._policy.offer_tls:
            self._send(_NO_TLS)  # RFC 6120 5.4.2.2
            raise StreamError(StreamCondition.POLICY_VIOLATION, "STARTTLS is not possible here")
        self._framer.discard()
        self._send(_PROCEED)
        self._move(Move.PROCEED)
        return (StartTLS(self.host.domainpart if self.host else ""),)

    # -- SASL (RFC 6120 6.4) --------------------------------------------------

    def _surroundings(self) -> Surroundings:
        """The properties of this stream that mechanisms need."""
        raise NotImplementedError

    def _authenticate(self, received: Element) -> Events:
        if self._state not in (InboundState.NEGOTIATING, InboundState.CHALLENGED):
            # Authenticated once is authenticated: a stream has one identity.
            raise StreamError(StreamCondition.POLICY_VIOLATION, "already authenticated")
        return self._step(self._take_sasl, received)

    def _take_sasl(self, received: Element) -> Step:
        """The step that `<auth/>`, `<response/>` or `<abort/>` leads to. Raises `SaslFailure`."""
        if Has.PRIVACY not in self._situation().has:
            raise SaslFailure(SaslCondition.ENCRYPTION_REQUIRED)
        if received.tag == ABORT:
            raise SaslFailure(SaslCondition.ABORTED)
        if (received.tag == AUTH) is not (self._exchange is None):  # amid another exchange, or without one
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
        text = received.text or ""
        if self._exchange is not None:
            return self._exchange.respond(decode(text))
        self._mechanism, self._claimed = "", None
        name = received.get("mechanism", "")
        exchange = begin(name, self._surroundings())
        self._mechanism, self._exchange = name, exchange
        return exchange.respond(decode(text) if text else None)

    def _give_credentials(self, found: Credentials | SaslFailure | None) -> Step:
        if isinstance(found, SaslFailure):
            raise found
        return self._running().credentials(found)

    def _running(self) -> Mechanism:
        if self._exchange is None:
            raise RuntimeError("no exchange is under way")
        return self._exchange

    def _step(self, act: Callable[[Answer], Step], answer: Answer) -> Events:
        """Let `act` make the next step, and tell whose turn it is then."""
        try:
            step = act(answer)
        except SaslFailure as reason:
            return self._refused(reason)
        if isinstance(step, Challenge):
            self._send_sasl("challenge", encode(step.data))
            self._move(Move.CHALLENGE)
            return ()
        if isinstance(step, Success):
            return self._succeeded(step)
        if isinstance(step, NeedCredentials):
            self._claimed = step.account
            self._move(Move.LOOK_UP)
            return (CredentialsWanted(step.account),)
        self._move(Move.CHECK)
        return (PasswordCheckWanted(step.account, step.verifier, step.password),)

    def _send_sasl(self, name: str, text: str, *children: Element) -> None:
        self._send(serialise(element(ns.SASL, name, None, *children, text=text)))

    def _succeeded(self, step: Success) -> Events:
        event = Authenticated(step.account, self._mechanism)
        self._move(Move.SUCCEED)
        self._send_sasl("success", encode(step.data))
        self.account = step.account
        self._failures = 0  # what is refused from now on counts anew
        self._framer.limits = self._policy.limits_after
        self._restart()
        return (event,)

    def _refused(self, reason: SaslFailure) -> Events:
        self._move(Move.FAIL)
        children = [element(ns.SASL, reason.condition.value)]
        if reason.text:
            children.append(element(ns.SASL, "text", {f"{{{ns.XML}}}lang": "en"}, text=reason.text))
        self._send_sasl("failure", "", *children)
        self._exchange = None  # another may begin
        ended = self._failed_once()
        failed = AuthenticationFailed(self._claimed, self._mechanism, reason.condition, self._failures)
        return failed, *ended

    def _failed_once(self, reason: str = "too many failures") -> Events:
        """Count a failure; with the last that policy allows the stream ends because of `reason`."""
        self._failures += 1
        if self._failures < self._policy.max_auth_attempts:
            return ()
        return (self._fail(StreamError(StreamCondition.POLICY_VIOLATION, reason)),)

    # -- the end -------------------------------------------------------------

    def _ended(self, peer_error: str = "") -> Events:
        """The peer has closed the stream: do likewise, once (RFC 6120 4.4)."""
        if self._state is not InboundState.CLOSING:
            self._send(CLOSING_TAG)
        self._end()
        return (StreamClosed(peer_error),)

    def _fail(self, error: StreamError) -> StreamFailed:
        """RFC 6120 4.9.1: our header if it is not out yet, the error, the closing tag."""
        if self._state not in (InboundState.CLOSING, InboundState.SECURING):
            if not self._answered:
                self._answer_header()
            self._send(serialise(error.element()) + CLOSING_TAG)
        self._end()
        return StreamFailed(error)

    def _end(self) -> None:
        self._move(Move.END)
        self._framer.discard()
        self._exchange = None

    # -- small things --------------------------------------------------------

    def _move(self, move: Move) -> None:
        self._state = after(self._state, move)

    def _awaits(self, state: InboundState) -> bool:
        """True if the shell's answer is wanted; False if the stream has ended meanwhile."""
        if self._state in (InboundState.CLOSING, InboundState.CLOSED):
            return False
        if self._state is not state:
            raise RuntimeError(f"no answer for {state.name} is wanted in {self._state.name}")
        return True

    def _send(self, data: bytes) -> None:
        self._output.append(data)


def condition_of(error: Element) -> str:
    """The defined condition of a peer's stream error."""
    names = (split(child.tag)[1] for child in error)
    return next((name for name in names if name in _CONDITIONS), StreamCondition.UNDEFINED_CONDITION.value)
