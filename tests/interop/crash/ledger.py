"""What people did to questions and what they were told of it, and whether a store agrees with that.

The question it answers: is there an order of everything that was done, in which each answer was right when
it was given, and which ends in what is stored? What was answered before something else was sent comes first
in that order. What had no answer at the kill may have happened, or not; what was answered, did.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from enum import Enum

from attrs import define, frozen

from tests.interop.crash.store import Stored

UNCLAIMED = ("waiting", "offered")


class Doing(Enum):
    """The deeds on a question, and `LOOK`: an operator's question how it is."""

    TAKE = "take"
    RELEASE = "release"
    HAND_OVER = "hand over"
    DECLINE = "decline"
    CLOSE = "close"
    REOPEN = "reopen"
    LOOK = "look"


@frozen
class State:
    """A question's, as far as people's answers tell: waiting and offered are one."""

    name: str
    owner: str = ""
    handed_to: str = ""

    @classmethod
    def of(cls, stored: Stored) -> State:
        """The state of a stored question in these terms."""
        if stored.state in UNCLAIMED:
            return cls("unclaimed")
        return cls(stored.state, stored.owner, stored.handed_to)


NEW = State("unclaimed")


@define(eq=False)
class Deed:
    """One thing done by `who`: when it was sent, when answered (0: not), and whether the answer was yes.

    `about` is the colleague of a hand-over, or the state that was looked at, its owner behind a blank.
    """

    who: str
    doing: Doing
    about: str
    sent: int
    answered: int = 0
    done: bool = False

    def then(self, state: State) -> State | None:
        """The question's state afterwards; None if the deed must be refused."""
        mine = state.name == "claimed" and state.owner == self.who
        match self.doing:
            case Doing.TAKE if state == NEW or (state.name == "claimed" and state.handed_to == self.who):
                return State("claimed", self.who)
            case Doing.RELEASE if mine:
                return NEW
            case Doing.HAND_OVER if mine:
                return State("claimed", self.who, self.about)
            case Doing.DECLINE if state.name == "claimed" and state.handed_to == self.who:
                return State("claimed", state.owner)
            case Doing.CLOSE if mine:
                return State("closed", self.who)
            case Doing.REOPEN if state.name == "closed":
                return State("claimed", self.who)
            case Doing.LOOK if self.about == f"{state.name} {state.owner}":
                return state
        return None

    def after(self, state: State) -> State | None:
        """The same, if the answer fits; None if it does not."""
        then = self.then(state)
        if not self.answered or self.done:
            return then
        # A patron who has asked something else meanwhile is a reason that no state here shows.
        return state if then is None or self.doing is Doing.REOPEN else None


class Ledger:
    """The deeds since the server was started."""

    def __init__(self) -> None:
        self._clock = itertools.count(1)
        self._deeds: dict[int, list[Deed]] = defaultdict(list)
        self._offers: dict[int, str] = {}

    def sent(self, who: str, doing: Doing, number: int, about: str = "") -> Deed:
        """Something is being sent."""
        deed = Deed(who, doing, about, next(self._clock))
        self._deeds[number].append(deed)
        return deed

    def answered(self, deed: Deed, done: bool) -> None:
        """Its answer has come."""
        if not deed.answered:
            deed.answered, deed.done = next(self._clock), done

    def now(self) -> int:
        """The moment at which something is sent, for `looked`."""
        return next(self._clock)

    def looked(self, sent: int, number: int, state: State) -> None:
        """An operator who asked at `sent` was told the state of a question."""
        about = f"{state.name} {state.owner}"
        self._deeds[number].append(Deed("operator", Doing.LOOK, about, sent, next(self._clock), True))

    def offered(self, number: int, to: str) -> None:
        """Somebody was told that a question is offered to her."""
        self._offers[number] = to

    def check(self, before: Mapping[int, Stored], after: Mapping[int, Stored]) -> list[str]:
        """Every question whose stored state contradicts what people were told, in words."""
        wrong = [f"#{number} is gone" for number in before if number not in after]
        for number, stored in after.items():
            start = State.of(before[number]) if number in before else NEW
            if not explains(start, self._deeds[number], State.of(stored)):
                wrong.append(f"#{number} {start} -> {stored}: {self._deeds[number]}")
            elif not self._offer_holds(number, stored):
                wrong.append(f"#{number} was offered to {self._offers[number]}: {stored}")
        return wrong

    def _offer_holds(self, number: int, stored: Stored) -> bool:
        """An offer that somebody was told of stays, unless something was done to the question."""
        changed = [deed for deed in self._deeds[number] if deed.doing is not Doing.LOOK]
        if number not in self._offers or changed:
            return True
        return (stored.state, stored.offered_to) == ("offered", self._offers[number])


def explains(start: State, deeds: list[Deed], end: State) -> bool:
    """True if some order of the deeds leads from one state to the other."""
    seen: set[tuple[frozenset[int], State]] = set()

    def search(left: frozenset[int], state: State) -> bool:
        if (left, state) in seen:
            return False
        seen.add((left, state))
        if state == end and not any(deeds[n].answered for n in left):
            return True
        return any(
            (then := deeds[n].after(state)) is not None and search(left - {n}, then)
            for n in left
            if not any(0 < deeds[m].answered < deeds[n].sent for m in left)
        )

    return search(frozenset(range(len(deeds))), start)
