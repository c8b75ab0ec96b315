"""A question's life: its states, the verbs, and the one table of what may follow what.

A question is *waiting* from the moment it is asked. The dispatcher *offers* it to one
librarian; an offer nobody took is *widened* to everyone on duty (it stays offered), and is
*withdrawn* when nobody is on duty any more (waiting again). The first librarian who *claims*
it owns it: *claimed* is the only state with an owner who works on it, and it always has
exactly one. The owner may *release* it (it waits again, at its old place) or *hand it over*:
she keeps it until the other *accepts*; a *declined* or withdrawn hand-over changes nothing.
A question whose owner is away may be *taken over* by a colleague without asking her, and may be
*given back*: it waits again. Only the owner *answers*; any librarian of the queue may *note*, as long as it
is open.

The owner *closes* it (with a READ level and an outcome), *refers* it elsewhere, or *parks* it
for follow-up. A parked question has no owner: anyone may claim it, and a patron who writes
more sets it waiting again. A question nobody claimed is *abandoned* when the patron says bye
or stays silent. An open question *ends*, abandoned, when its patron's account, its queue or its
library is removed, or when the patron is forgotten. What is closed, referred or abandoned takes
no more messages, but a librarian may *reopen* it while the link to the patron still exists; it is
then hers.

A refusal of a verb is an error of the domain, which the adapters turn into words. It changes nothing in the
store, and carries neither a message's text nor a patron's address.

Nothing here knows of storage, time or XMPP.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from attrs import define

from refserver.jid import JID


class State(StrEnum):
    """The state of a question."""

    WAITING = "waiting"
    OFFERED = "offered"
    CLAIMED = "claimed"
    PARKED = "parked"
    CLOSED = "closed"
    REFERRED = "referred"
    ABANDONED = "abandoned"


class Verb(StrEnum):
    """A change of a question that exists."""

    ADD = "add"
    OFFER = "offer"
    WIDEN = "widen"
    WITHDRAW = "withdraw"
    CLAIM = "claim"
    RELEASE = "release"
    TAKE_OVER = "take over"
    GIVE_BACK = "give back"
    HAND_OVER = "hand over"
    ACCEPT = "accept"
    DECLINE = "decline"
    NOTE = "note"
    ANSWER = "answer"
    CLOSE = "close"
    REFER = "refer"
    PARK = "park"
    ABANDON = "abandon"
    END = "end"
    REOPEN = "reopen"


class Outcome(StrEnum):
    """The end of a question, for the report."""

    ANSWERED = "answered"
    REFERRED = "referred"
    FOLLOW_UP = "follow-up"
    ABANDONED = "abandoned"
    MISSED = "missed"
    SPAM = "spam"
    PRACTICE = "practice"


OPEN: Final = frozenset({State.WAITING, State.OFFERED, State.CLAIMED, State.PARKED})
UNCLAIMED: Final = frozenset({State.WAITING, State.OFFERED})
FINISHED: Final = frozenset(State) - OPEN

_MOVES: Final[Mapping[Verb, Mapping[State, State]]] = {
    Verb.ADD: {
        State.WAITING: State.WAITING,
        State.OFFERED: State.OFFERED,
        State.CLAIMED: State.CLAIMED,
        State.PARKED: State.WAITING,
    },
    Verb.OFFER: dict.fromkeys(UNCLAIMED, State.OFFERED),
    Verb.WIDEN: {State.OFFERED: State.OFFERED},
    Verb.WITHDRAW: {State.OFFERED: State.WAITING},
    Verb.CLAIM: dict.fromkeys((State.WAITING, State.OFFERED, State.PARKED), State.CLAIMED),
    Verb.RELEASE: {State.CLAIMED: State.WAITING},
    Verb.TAKE_OVER: {State.CLAIMED: State.CLAIMED},
    Verb.GIVE_BACK: {State.CLAIMED: State.WAITING},
    Verb.HAND_OVER: {State.CLAIMED: State.CLAIMED},
    Verb.ACCEPT: {State.CLAIMED: State.CLAIMED},
    Verb.DECLINE: {State.CLAIMED: State.CLAIMED},
    Verb.NOTE: {state: state for state in OPEN},
    Verb.ANSWER: {State.CLAIMED: State.CLAIMED},
    Verb.CLOSE: {State.CLAIMED: State.CLOSED},
    Verb.REFER: {State.CLAIMED: State.REFERRED},
    Verb.PARK: {State.CLAIMED: State.PARKED},
    Verb.ABANDON: dict.fromkeys(UNCLAIMED, State.ABANDONED),
    Verb.END: dict.fromkeys(OPEN, State.ABANDONED),
    Verb.REOPEN: dict.fromkeys(FINISHED, State.CLAIMED),
}

TABLE: Final[Mapping[tuple[State, Verb], State]] = MappingProxyType(
    {(before, verb): then for verb, moves in _MOVES.items() for before, then in moves.items()}
)

_CLOSING: Final = {Outcome.REFERRED: Verb.REFER, Outcome.FOLLOW_UP: Verb.PARK}


def after(state: str, verb: Verb) -> State:
    """The state that `verb` leads to. Raises `WrongState` where the table has no entry."""
    try:
        return TABLE[State(state), verb]
    except KeyError:
        raise WrongState(State(state), verb) from None


def sources(verb: Verb) -> frozenset[State]:
    """The states in which `verb` is allowed."""
    return frozenset(_MOVES[verb])


def closing_verb(outcome: Outcome) -> Verb:
    """Return the verb that ends a question with `outcome`: most close it, some refer or park it."""
    return _CLOSING.get(outcome, Verb.CLOSE)


@define
class Refusal(Exception):
    """The domain says no."""


@define
class AlreadyClaimed(Refusal):
    """Somebody owns the question: `owner`, known to the desk as `by`."""

    number: int
    owner: JID
    by: str


@define
class NotYours(Refusal):
    """Only its owner may do this; `by` is the owner's nick, "" when nobody owns it."""

    number: int
    by: str


@define
class NoSuchQuestion(Refusal):
    """The library has no question of that number."""

    number: int


@define
class WrongState(Refusal):
    """The table of states has no such move: `verb` in `state`."""

    state: str
    verb: str


@define
class NotALibrarian(Refusal):
    """The address works at no desk of this queue."""

    jid: JID


@define
class NotBlockable(Refusal):
    """The asker works for the library, or is somebody whom it always lets in."""

    number: int


@define
class NotBlocked(Refusal):
    """Nobody was blocked because of this question, or no longer is."""

    number: int


@define
class NoSuchLibrarian(Refusal):
    """No librarian of this queue has that nick."""

    nick: str


@define
class NotOffered(Refusal):
    """Nobody offered to hand this question over to the librarian who answers the offer."""

    number: int


@define
class NoSuchCannedReply(Refusal):
    """The queue has no canned reply of that name."""

    name: str


@define
class TooManyQuestions(Refusal):
    """The patron asked more new questions in an hour than the limit allows."""

    limit: int


@define
class PatronBusy(Refusal):
    """The patron has another open question here, `number`: there is one conversation a patron."""

    number: int


@define
class PatronGone(Refusal):
    """The link to the patron has been deleted: nothing can be sent any more."""

    number: int
