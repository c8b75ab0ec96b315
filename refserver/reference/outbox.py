"""What one queue owes people on other servers, in memory: to whom, and when it is tried again.

The store is the master (storage/outbox.py). Here stands only, for each recipient, what is under
way and whether something has failed. A recipient's debt is in one of these states:

    open      nothing has failed: what is said goes out at once. It is forgotten when all has arrived
    waiting   something has come back that is worth trying again: it and all that is said now wait, in
              the store. It is tried after a pause that grows with the age of what failed, and at once
              when the recipient's server is heard of
    resuming  what waits goes out, BATCH by BATCH and in order, each when the one before has arrived

What is tried again has its id and the time when it was said (XEP-0203). What is owed longer than
OWED_DAYS or was refused for good is given up (undelivered.py).
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from enum import Enum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference.undelivered import OWED_SECONDS, GivenUp, give_up
from refserver.stanza import Stanza, Tracked
from refserver.storage import conversations, outbox
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.outbox import Due, Key
from refserver.xml.element import split

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = [
    "JITTER",
    "PAUSES",
    "WORTH_TRYING",
    "Debt",
    "Outbox",
    "State",
    "error_of",
    "is_to_staff",
    "pause_after",
]

SOONEST_SECONDS: Final = 5.0
"""The least time between two attempts, however often the other server is heard of."""
START_SECONDS: Final = 2.0
"""What a stop or a crash has left is tried within this time, and a little more for each recipient."""
START_SHARE: Final = 0.005
BATCH: Final = 20
MOST_AT_ONCE: Final = 100
"""How many recipients of one domain are tried at the same time; the others wait for a moment."""
UNSETTLED_SECONDS: Final = 600.0
"""What nobody has told the fate of for so long is tried again with what came back."""
PAUSES: Final = (60.0, 300.0, 900.0, 1800.0, 3600.0)
"""After each attempt that fails; the last one again and again. About: see JITTER."""
JITTER: Final = 0.2

WORTH_TRYING: Final = frozenset(
    {
        Condition.INTERNAL_SERVER_ERROR,
        Condition.RECIPIENT_UNAVAILABLE,
        Condition.REMOTE_SERVER_NOT_FOUND,  # its DNS may be broken for an hour
        Condition.REMOTE_SERVER_TIMEOUT,
        Condition.RESOURCE_CONSTRAINT,
        Condition.SERVICE_UNAVAILABLE,
    }
)


class State(Enum):
    """How far a recipient is: see the text above."""

    OPEN = "open"
    WAITING = "waiting"
    RESUMING = "resuming"


@define(eq=False)
class Debt:
    """What is owed to one recipient, as a patron or (`to_staff`) as a librarian.

    `flying` is what was sent and nobody knows of yet, with the time when it was said. Other times are of the
    reactor's clock.
    """

    recipient: JID
    to_staff: bool
    state: State = State.OPEN
    flying: dict[Key, float] = field(factory=dict)
    sent_at: float = 0.0
    failed_at: float = float("-inf")
    due: float = 0.0
    reason: Condition = Condition.REMOTE_SERVER_TIMEOUT
    more: bool = False  # the store may hold something that was not sent since it was last open
    busy: bool = False  # the store is being asked
    warned: bool = False  # the librarian knows


class Outbox:
    """The debts of one queue. `random` gives numbers from 0 to 1."""

    def __init__(self, queue: Queue, random: Callable[[], float] = random.random) -> None:
        self._queue = queue
        self._random = random
        self._debts: dict[str, dict[tuple[JID, bool], Debt]] = {}
        self._count: dict[State, Counter[str]] = {state: Counter() for state in State}
        self._line: list[tuple[float, int, Debt]] = []
        self._numbers = count()
        self._timer: IDelayedCall | None = None
        self._quit: list[Key] = []
        self._quitting: IDelayedCall | None = None
        self._stopped = False
        self._early: list[Due] | None = None
        """What was said before it is known what was owed already: it must not overtake that."""

    # -- life ----------------------------------------------------------------------

    def hold(self) -> None:
        """Send nothing until `start` has ended."""
        self._early = []

    async def start(self) -> None:
        """Find what a stop or a crash has left."""
        try:
            found = await self._queue.core.database.read(outbox.recipients, self._queue.record.id)
            for to_staff, recipients in zip((False, True), found, strict=True):
                within = START_SECONDS + START_SHARE * len(recipients)
                for recipient in recipients:
                    if self._queue.is_elsewhere(recipient) and not self._stopped:
                        self._take_up(self._debt(recipient, to_staff), within * self._random())
        finally:
            early, self._early = self._early or (), None
            for due in early:
                self.send(due)

    def _take_up(self, debt: Debt, seconds: float) -> None:
        debt.warned = True
        if debt.state is State.OPEN:
            self._set(debt, State.WAITING)
            self._schedule(debt, seconds)

    def stop(self) -> None:
        """Try nothing more; what is known to have arrived is noted."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._note_arrived()

    # -- what is said --------------------------------------------------------------

    def send(self, due: Due) -> None:
        """Hand over what was just said, or let it wait for its turn; the store has it already."""
        to_staff = is_to_staff(due)
        recipient = due.question.owner if to_staff else due.question.patron
        if recipient is None:
            return
        if self._early is not None:
            self._early.append(due)
            return
        debt = self._debt(recipient, to_staff)
        if debt.state is State.OPEN:
            if due.key not in debt.flying:
                self._route(debt, due)
        else:
            debt.more = True
            self._warn(debt, due.key)

    def _route(self, debt: Debt, due: Due, late: bool = False) -> None:
        stanza = self._queue.courier.stanza(due, late)
        debt.flying[due.key] = due.said_at
        debt.sent_at = self._queue.core.clock.seconds()
        self._queue.core.router.route(Tracked(stanza, partial(self._settled, debt, due.key)))

    def _settled(self, debt: Debt, key: Key, error: StanzaError | None) -> None:
        """See `Stanza.settle`."""
        said_at = debt.flying.pop(key, None)
        if said_at is None:
            return
        if error is None:
            self._arrived(key)
        elif self._stopped:
            return
        elif error.type == "wait" or error.condition in WORTH_TRYING:
            self._failed(debt, key, said_at, error.condition)
        else:
            self._queue.run(self._give_up(debt.recipient, [key], error.condition))
        self._look_at(debt)

    def _look_at(self, debt: Debt) -> None:
        """Something of it is under way no more."""
        if debt.flying or debt.busy or self._stopped:
            return
        if debt.state is State.RESUMING:
            self._queue.run(self._resume(debt))
        elif debt.state is State.OPEN:
            self._forget(debt)

    def _arrived(self, key: Key) -> None:
        self._quit.append(key)
        if self._stopped:
            self._note_arrived()
        elif self._quitting is None:
            self._quitting = self._queue.core.clock.callLater(0, self._note_arrived)

    def _note_arrived(self) -> None:
        """Before anything is read: it must not be found once more."""
        if self._quitting is not None and self._quitting.active():
            self._quitting.cancel()
        self._quitting = None
        keys, self._quit = self._quit, []
        if keys:
            self._queue.watch(self._queue.core.database.write(outbox.arrived, keys))

    # -- what has failed -----------------------------------------------------------

    def _failed(self, debt: Debt, key: Key, said_at: float, reason: Condition) -> None:
        debt.reason = reason
        debt.failed_at = self._queue.core.clock.seconds()
        if debt.state is not State.WAITING:
            self._set(debt, State.WAITING)
            self._schedule(debt, pause_after(self._queue.core.now() - said_at, self._random()))
        self._warn(debt, key)

    def _warn(self, debt: Debt, key: Key) -> None:
        """Tell the librarian, once, that her words are kept."""
        question = self._queue.board.of_patron(debt.recipient)
        mine = isinstance(key, int) and not debt.to_staff and not debt.warned
        if mine and question is not None and question.owner is not None:
            debt.warned = True
            text = self._queue.staff_texts.kept_for_later()
            self._queue.courier.tell_staff(question.number, question.owner, text)

    def reachable(self, domain: str) -> None:
        """Another server, or a component, is heard of: try at once what waits for it."""
        if not self._count[State.WAITING][domain]:
            return
        now = self._queue.core.clock.seconds()
        for debt in self._debts[domain].values():
            soon = max(now, debt.failed_at + SOONEST_SECONDS)
            if debt.state is State.WAITING and soon < debt.due:
                self._schedule(debt, soon - now)

    def returned(self, stanza: Stanza) -> None:
        """An error has come from a recipient's server. It matters if it answers words, not signs."""
        if stanza.id and stanza.from_ is not None and stanza.to is not None:
            condition, type = error_of(stanza)
            again = type == "wait" or condition in WORTH_TRYING - {Condition.SERVICE_UNAVAILABLE}
            if condition is Condition.SERVICE_UNAVAILABLE:  # a librarian who is offline comes back
                again = self._queue.number_of(stanza.to) is not None
            self._queue.run(self._returned(stanza.from_.bare, stanza.id, condition, again))

    async def _returned(self, who: JID, id: str, condition: Condition, again: bool) -> None:
        database, queue = self._queue.core.database, self._queue
        due = await database.read(outbox.sent, queue.record.id, who, id, *queue.courier.place_of(id))
        if due is None or (isinstance(due.said, Message) and due.said.relay is Relay.GIVEN_UP):
            return
        debt = self._debt(who, is_to_staff(due))
        debt.flying.pop(due.key, None)  # that the server has taken it is of no interest any more
        if not again or not queue.is_elsewhere(who):
            await self._give_up(who, [due.key], condition)
        elif not self._stopped:
            self._note_arrived()
            if isinstance(due.key, int):
                await database.write(conversations.set_relay, [due.key], Relay.TO_DO)
            self._failed(debt, due.key, due.said_at, condition)
        self._look_at(debt)

    # -- trying again --------------------------------------------------------------

    def _schedule(self, debt: Debt, seconds: float) -> None:
        debt.due = self._queue.core.clock.seconds() + seconds
        heapq.heappush(self._line, (debt.due, next(self._numbers), debt))
        self._set_timer()

    def _set_timer(self) -> None:
        """For the first in the line; one that comes too early does no harm."""
        if self._stopped or not self._line:
            return
        clock, first = self._queue.core.clock, self._line[0][0]
        if self._timer is not None:
            if self._timer.getTime() <= first:
                return
            self._timer.cancel()
        self._timer = clock.callLater(max(0.0, first - clock.seconds()), self._try)

    def _try(self) -> None:
        """Whose pause is over."""
        self._timer = None
        now = self._queue.core.clock.seconds()
        due = []
        while self._line and self._line[0][0] <= now:
            at, _, debt = heapq.heappop(self._line)
            if at == debt.due and debt.state is not State.OPEN:
                due.append(debt)
        for debt in due:
            if debt.state is State.RESUMING:
                self._remind(debt)
            elif debt.busy or (debt.flying and now - debt.sent_at < UNSETTLED_SECONDS):
                self._schedule(debt, SOONEST_SECONDS)
            elif self._count[State.RESUMING][debt.recipient.domainpart] >= MOST_AT_ONCE:
                self._schedule(debt, 0.5 + self._random())
            else:
                debt.flying.clear()
                debt.more = True
                self._set(debt, State.RESUMING)
                self._schedule(debt, UNSETTLED_SECONDS)
                self._queue.run(self._resume(debt))
        self._set_timer()

    def _remind(self, debt: Debt) -> None:
        """Nothing may hang for ever on somebody who never says what has become of a stanza."""
        if self._queue.core.clock.seconds() - debt.sent_at >= UNSETTLED_SECONDS:
            debt.flying.clear()
            debt.more = True
        self._schedule(debt, UNSETTLED_SECONDS)
        self._look_at(debt)

    async def _resume(self, debt: Debt) -> None:
        """Send what is owed, as long as it arrives."""
        debt.busy = True
        try:
            while debt.state is State.RESUMING and not debt.flying and not self._stopped:
                if debt.more:
                    await self._send_batch(debt)
                else:
                    self._forget(debt)
        except Exception:
            self._failed(debt, "", self._queue.core.now(), debt.reason)
            raise
        finally:
            debt.busy = False

    async def _send_batch(self, debt: Debt) -> None:
        self._note_arrived()
        debt.more = False
        load = outbox.of_librarian if debt.to_staff else outbox.of_patron
        database, queue = self._queue.core.database, self._queue
        # By the writer, so that it knows all that was said until now.
        dues = await database.write(load, queue.record.id, debt.recipient, BATCH)
        oldest = queue.core.now() - OWED_SECONDS
        overdue = [due.key for due in dues if due.said_at <= oldest]
        if overdue:
            await self._give_up(debt.recipient, overdue, debt.reason)
        debt.more = debt.more or len(dues) == BATCH
        for due in dues:
            if debt.state is State.RESUMING and due.said_at > oldest and not self._stopped:
                self._route(debt, due, late=True)

    # -- giving up -----------------------------------------------------------------

    async def _give_up(self, recipient: JID, keys: list[Key], reason: Condition) -> None:
        words = partial(self._words, reason=reason)
        core = self._queue.core
        for one in await core.database.write(give_up, recipient, keys, words, core.now()):
            why = self._queue.staff_texts.why_undelivered(reason)
            if one.released_from is not None:
                self._queue.turns.released(one.question, one.released_from, why)
            else:
                self._queue.turns.undelivered(one.question, self._words(one, reason))

    def _words(self, given_up: GivenUp, reason: Condition) -> str:
        texts, question = self._queue.staff_texts, given_up.question
        if not given_up.to_staff:
            return texts.undelivered(question.number, reason)
        librarian = given_up.released_from or question.owner
        nick = "" if librarian is None else self._queue.nick_of(librarian)
        return texts.not_heard(question.number, nick, reason)

    # -- debts ---------------------------------------------------------------------

    def _debt(self, recipient: JID, to_staff: bool) -> Debt:
        of_domain = self._debts.setdefault(recipient.domainpart, {})
        debt = of_domain.get((recipient, to_staff))
        if debt is None:
            debt = of_domain[recipient, to_staff] = Debt(recipient, to_staff)
            self._count[State.OPEN][recipient.domainpart] += 1
        return debt

    def _set(self, debt: Debt, state: State) -> None:
        domain = debt.recipient.domainpart
        self._count[debt.state][domain] -= 1
        self._count[state][domain] += 1
        debt.state = state

    def _forget(self, debt: Debt) -> None:
        """Nothing is owed any more."""
        domain = debt.recipient.domainpart
        self._set(debt, State.OPEN)
        self._count[State.OPEN][domain] -= 1
        of_domain = self._debts[domain]
        of_domain.pop((debt.recipient, debt.to_staff), None)
        if not of_domain:
            del self._debts[domain]
            for counter in self._count.values():
                del counter[domain]


def pause_after(age: float, random: float = 0.5) -> float:
    """The seconds until the next attempt for what was said `age` seconds ago: PAUSES, one after the other.

    `random`, from 0 to 1, scatters them.
    """
    elapsed = 0.0
    for pause in PAUSES:
        elapsed += pause
        if age < elapsed:
            break
    return pause * (1 - JITTER + 2 * JITTER * random)


def is_to_staff(due: Due) -> bool:
    """Whether something owed is for the librarian of its question, not for the patron."""
    return isinstance(due.said, Message) and due.said.direction is Direction.PATRON


def error_of(stanza: Stanza) -> tuple[Condition, str]:
    """The condition and the type of an error (RFC 6120 8.3.2); undefined-condition if it has none."""
    error = stanza.child(ns.CLIENT, "error")
    if error is None:
        return Condition.UNDEFINED_CONDITION, ""
    names = {split(child.tag)[1] for child in error if split(child.tag)[0] == ns.STANZAS}
    found = (condition for condition in Condition if condition.value in names)
    return next(found, Condition.UNDEFINED_CONDITION), error.get("type", "")
