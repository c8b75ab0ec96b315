"""The receiving side of a stream as a state machine.

The peer drives it with what it sends, the shell with its answers. What a state lets the peer
send is decided where that is read (inbound.py, receiving.py); this table says what follows.

1. Every stream, and every restart of it after TLS and after SASL, begins with the peer's
   header: HEADER while nobody is authenticated, RESTARTED then (RFC 6120 4.3.3).
2. NEGOTIATING is after our features. STARTTLS leads to SECURING; what comes before the handshake
   is thrown away, and the stream begins anew.
3. A SASL exchange walks between CHALLENGED (the peer's turn), CREDENTIALS and PASSWORD (the
   shell's turn) until it fails, back to NEGOTIATING, or succeeds.
4. After RESTARTED comes AUTHENTICATED, where a client may only bind (RFC 6120 7); BINDING is the
   shell's turn. A server's stream is ready when it is AUTHENTICATED, which a server may also
   become by dialback, without a restart (XEP-0220).
5. REGISTERING is the shell's turn too: one registration request at a time (XEP-0077).
6. While it is the shell's turn nothing is read: what arrives is kept, within the limits.
7. CLOSE (ours) and END (the peer's closing tag, or an error) are possible everywhere. Nothing
   is read after END; after CLOSE only the peer's closing tag matters (RFC 6120 4.4).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class State(Enum):
    """Whose turn it is, and for what."""

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
    """What makes a stream change its state."""

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
    Move.CHALLENGE: State.CHALLENGED,
    Move.LOOK_UP: State.CREDENTIALS,
    Move.CHECK: State.PASSWORD,
    Move.FAIL: State.NEGOTIATING,
    Move.SUCCEED: State.RESTARTED,
}
_ALWAYS: Final = {Move.CLOSE: State.CLOSING, Move.END: State.CLOSED}

TRANSITIONS: Final[dict[State, dict[Move, State]]] = {
    State.HEADER: {**_ALWAYS, Move.OPENED: State.NEGOTIATING},
    State.NEGOTIATING: {
        **_ALWAYS,
        **_EXCHANGE,
        Move.PROCEED: State.SECURING,
        Move.REGISTER: State.REGISTERING,
        Move.PROVED: State.AUTHENTICATED,
    },
    State.SECURING: {**_ALWAYS, Move.SECURED: State.HEADER},
    State.CHALLENGED: {**_ALWAYS, **_EXCHANGE},
    State.CREDENTIALS: {**_ALWAYS, **_EXCHANGE},
    State.PASSWORD: {**_ALWAYS, **_EXCHANGE},
    State.REGISTERING: {**_ALWAYS, Move.REGISTERED: State.NEGOTIATING},
    State.RESTARTED: {**_ALWAYS, Move.OPENED: State.AUTHENTICATED},
    State.AUTHENTICATED: {**_ALWAYS, Move.BIND: State.BINDING},
    State.BINDING: {**_ALWAYS, Move.BIND_AGAIN: State.AUTHENTICATED, Move.BOUND: State.BOUND},
    State.BOUND: _ALWAYS,
    State.CLOSING: _ALWAYS,
    State.CLOSED: _ALWAYS,
}

SHELLS_TURN: Final = frozenset({State.CREDENTIALS, State.PASSWORD, State.REGISTERING, State.BINDING})
"""Input is kept until the shell has answered."""

HALTED: Final = SHELLS_TURN | {State.SECURING, State.CLOSED}
"""Nothing more is read for now, or for ever."""


def after(state: State, move: Move) -> State:
    """The state that `move` leads to from `state`. Raises RuntimeError where it is not allowed:
    the machine itself, or a shell answering what it was not asked, is wrong then.
    """
    try:
        return TRANSITIONS[state][move]
    except KeyError:
        raise RuntimeError(f"{move.name} is not possible in {state.name}") from None
