"""Delivers what one queue owes patrons and librarians: kept until settled, tried again, in order.

The store is the master (storage/outbox.py). In memory stands, for each recipient, what is under way and
whether something has failed. A recipient is in one of these states:

    open      nothing has failed: what is said goes out at once. It is forgotten when all has been settled
    waiting   something has come back that is worth trying again, or a librarian here has no client: it and
              all that is said now wait, in the store. It is tried after a pause that grows with the age of
              what failed, and at once when the recipient is there again or its server is heard of
    resuming  what waits goes out, BATCH by BATCH and in order, each when the one before has been settled

Everything is sent as a `Tracked` stanza: it has been settled when the client or the other server has
confirmed it, or when it is in the account's offline store. What is tried again has its id and the time when
it was said (XEP-0203). What is owed longer than OWED_DAYS or was refused for good is given up: the desk is
told, or the question waits again for the next librarian. An answer that never came is noted in its question's
history, and somebody is told: once, until the patron has written again.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from enum import Enum
from functools import partial
from itertools import count
from typing import Any, Final

from attrs import define, field, frozen
from cachetools import LRUCache
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference.answering import give_back
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.people import Reach
from refserver.reference.profile import QueueProfile
from refserver.reference.relay import MessageRelay
from refserver.reference.service import ReferenceService
from refserver.reference.states import State
from refserver.stanza import Stanza, Tracked, new_id
from refserver.storage import accounts, conversations, offline, outbox
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.outbox import Due, Key, Line
from refserver.storage.questions import Question
from refserver.xml.element import split
from refserver.xml.write import parse


@frozen
class GivenUp:
    """One question, as it is now, of which something could not be delivered.

    `to_staff`: it was for the librarian who owns or owned it, else for the patron. `released_from` is the
    librarian who has lost the question by this.
    """

    question: Question
    to_staff: bool
    released_from: JID | None = None


def give_up(
    connection: Connection, recipient: JID, keys: Collection[Key], words: Callable[[GivenUp], str], now: float
) -> list[GivenUp]:
    """Owe these to `recipient` no more; the questions of which somebody is to be told, in `words`."""
    by_question: dict[tuple[int, bool], list[Due]] = {}
    for due in outbox.find(connection, keys):
        by_question.setdefault((due.question.id, is_to_staff(due)), []).append(due)
    given_up = []
    for (_, to_staff), dues in by_question.items():
        one = _to_librarian(connection, recipient, dues) if to_staff else _to_patron(connection, dues)
        if one is not None and _note(connection, one, words(one), now):
            given_up.append(one)
    return given_up


def _to_patron(connection: Connection, dues: list[Due]) -> GivenUp | None:
    """None if only lines of the queue are lost: they say nothing that anybody would have to say again."""
    outbox.drop(connection, [due.key for due in dues])
    answers = any(isinstance(due.said, Message) for due in dues)
    return GivenUp(dues[0].question, to_staff=False) if answers else None


def _to_librarian(connection: Connection, librarian: JID, dues: list[Due]) -> GivenUp | None:
    """Give what she has not got to whoever is next; if she has closed the question, to nobody.

    None if somebody else has the question now: who was told all of it.
    """
    question = dues[0].question
    if question.owner != librarian:
        return None
    if question.state != State.CLAIMED:
        outbox.drop(connection, [due.key for due in dues])
        return GivenUp(question, to_staff=True)
    released = give_back(connection, question.id, librarian)
    return GivenUp(released, to_staff=True, released_from=librarian)


def _note(connection: Connection, given_up: GivenUp, text: str, now: float) -> bool:
    """Put it into the question's history; False if it stands there since the patron wrote last."""
    question = given_up.question.id
    id = f"undelivered-{conversations.last_of(connection, question, Direction.PATRON)}"
    if conversations.has_id(connection, question, Direction.SYSTEM, id):
        return given_up.released_from is not None
    conversations.add(connection, question, Direction.SYSTEM, text, now=now, origin_id=id)
    return True


log = Logger()

SOONEST_SECONDS: Final = 5.0
"""The least time between two attempts, however often the other server is heard of."""
START_SECONDS: Final = 2.0
"""The time within which what a stop has left is tried; a little more for each recipient."""
START_SHARE: Final = 0.005
BATCH: Final = 20
MOST_AT_ONCE: Final = 100
"""The recipients of one domain that are tried at the same time; the others wait for a moment."""
UNSETTLED_SECONDS: Final = 600.0
"""After this time a stanza of which nothing was heard is tried again."""
LATELY: Final = 1_000
"""The number of the latest deliveries that are remembered, for events that come later than a read."""
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


class Progress(Enum):
    """The states of a recipient: see the text above."""

    OPEN = "open"
    WAITING = "waiting"
    RESUMING = "resuming"


class Preview(Enum):
    """The progress of words that a librarian was sent with an offer, before she had the question."""

    SENT = "sent"
    ARRIVED = "arrived"
    ADOPTED = "adopted"
    """Under way, and she has taken the question meanwhile: they are delivered when they have arrived."""


@define(eq=False)
class Recipient:
    """One recipient, as a patron or (`to_staff`) as a librarian, and how far it is.

    `flying` is what was sent and is not settled, with the time when it was said. Other times are of the
    reactor's clock.
    """

    jid: JID
    to_staff: bool
    progress: Progress = Progress.OPEN
    flying: dict[Key, float] = field(factory=dict)
    sent_at: float = 0.0
    failed_at: float = float("-inf")
    due: float = 0.0
    reason: Condition = Condition.REMOTE_SERVER_TIMEOUT
    more: bool = False  # the store may hold something that was not sent since it was last open
    busy: bool = False  # the store is being asked
    warned: bool = False  # the librarian knows


@define(eq=False, slots=False)
class Outbox:
    """The outbox of one queue. `random` gives numbers from 0 to 1."""

    _core: Core
    _profile: QueueProfile
    _open: OpenQuestions
    _reach: Reach
    _relay: MessageRelay
    _service: ReferenceService
    _random: Callable[[], float] = random.random

    def __attrs_post_init__(self) -> None:
        self._recipients: dict[str, dict[tuple[JID, bool], Recipient]] = {}
        self._count: dict[Progress, Counter[str]] = {progress: Counter() for progress in Progress}
        self._line: list[tuple[float, int, Recipient]] = []
        self._numbers = count()
        self._timer: IDelayedCall | None = None
        self._arrived: list[Key] = []
        self._noting: IDelayedCall | None = None
        self._stopped = False
        self._previews: dict[int, dict[tuple[JID, Key], Preview]] = {}  # by the question's number
        self._delivered: LRUCache[tuple[JID, Key], bool] = LRUCache(LATELY)
        self._early: list[Due] | None = None
        """Said before it is known what was owed already: it must not overtake that."""

    # -- life ----------------------------------------------------------------------

    def hold(self) -> None:
        """Send nothing until `start` has ended."""
        self._early = []

    async def start(self) -> None:
        """Find what a stop or a crash has left."""
        try:
            found = await self._core.database.read(outbox.recipients, self._profile.id)
            for to_staff, recipients in zip((False, True), found, strict=True):
                within = START_SECONDS + START_SHARE * len(recipients)
                for jid in recipients:
                    if not self._stopped:
                        soon = within * self._random() if self._reach.is_elsewhere(jid) else 0.0
                        self._take_up(self._recipient(jid, to_staff), soon)
        finally:
            early, self._early = self._early or (), None
            for due in early:
                self.send(due)

    def _take_up(self, recipient: Recipient, seconds: float) -> None:
        recipient.warned = True
        if recipient.progress is Progress.OPEN:
            self._set(recipient, Progress.WAITING)
            if self._may_try(recipient):
                self._schedule(recipient, seconds)

    def stop(self) -> None:
        """Try nothing more; what is known to have arrived is noted."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._note_arrived()

    # -- what is said --------------------------------------------------------------

    def tell(self, question: Question, text: str, said_at: float | None = None) -> None:
        """A line of the queue for a question's patron; with `said_at` it stands before what was said then."""
        if question.patron is None:
            return
        line = Line(new_id(), question.id, text, self._core.now() if said_at is None else said_at)
        self._watch(self._core.database.write(outbox.add, line))
        self.send(Due(question, line))

    def send(self, due: Due) -> None:
        """Send what was just said, or let it wait for its turn; the store has it already."""
        to_staff = is_to_staff(due)
        jid = due.question.owner if to_staff else due.question.patron
        if jid is None:
            return
        if self._early is not None:
            self._early.append(due)
            return
        if (jid, due.key) in self._delivered:
            return  # the store told of it before its event came
        recipient = self._recipient(jid, to_staff)
        if recipient.progress is Progress.OPEN and not self._may_try(recipient):
            self._set(recipient, Progress.WAITING)
        if recipient.progress is Progress.OPEN:
            if due.key not in recipient.flying:
                self._route(recipient, due)
        else:
            recipient.more = True
            if recipient.failed_at > float("-inf"):
                self._warn(recipient, due.key)

    # -- what was sent with an offer ---------------------------------------------------

    def preview(self, due: Due, librarian: JID, lost: Callable[[], None]) -> None:
        """Send the patron's words to a librarian who does not have the question.

        `lost` is called if they come back and she does not have it then either.
        """
        self._previews.setdefault(due.question.number, {})[librarian, due.key] = Preview.SENT
        settled = partial(self._previewed, due, librarian, lost)
        self._core.router.route(Tracked(self._relay.stanza(due, librarian), settled))

    def adopt(self, due: Due, owner: JID) -> bool:
        """Do not send what the owner of a question was sent with the offer: True if she was."""
        previews = self._previews.get(due.question.number, {})
        preview = previews.get((owner, due.key))
        if preview is Preview.ARRIVED:
            del previews[owner, due.key]
            self._delivered[owner, due.key] = True
            self.note_arrived(due.key)
        elif preview is not None:
            previews[owner, due.key] = Preview.ADOPTED
            self._recipient(owner, True).flying[due.key] = due.said_at
        return preview is not None

    def change_owner(self, question: Question) -> None:
        """Do not count as delivered what former owners of a question acknowledge from now on."""
        previews = self._previews.get(question.number, {})
        for (librarian, key), preview in previews.items():
            if preview is Preview.ADOPTED and librarian != question.owner:
                previews[librarian, key] = Preview.SENT
                self._recipient(librarian, True).flying.pop(key, None)

    def forget_previews(self, number: int) -> None:
        """A question has ended: only what its owner has adopted still matters."""
        previews = self._previews.get(number, {})
        for key in [key for key, preview in previews.items() if preview is not Preview.ADOPTED]:
            del previews[key]
        if not previews:
            self._previews.pop(number, None)

    def _previewed(
        self, due: Due, librarian: JID, lost: Callable[[], None], error: StanzaError | None
    ) -> None:
        previews = self._previews.get(due.question.number, {})
        preview = previews.pop((librarian, due.key), None)
        if not previews:
            self._previews.pop(due.question.number, None)
        if preview is Preview.ADOPTED:
            self._settled(self._recipient(librarian, True), due.key, due.question.number, error)
        elif error is not None:
            lost()
        elif preview is not None:
            self._previews.setdefault(due.question.number, {})[librarian, due.key] = Preview.ARRIVED

    # -- what has arrived ----------------------------------------------------------

    def note_arrived(self, key: Key) -> None:
        """The recipient has had this already."""
        self._arrived.append(key)
        if self._stopped:
            self._note_arrived()
        elif self._noting is None:
            self._noting = self._core.clock.callLater(0, self._note_arrived)

    def _may_try(self, recipient: Recipient) -> bool:
        """A patron here who is away gets it later, from the offline store; a librarian when she comes."""
        return not recipient.to_staff or self._reach.is_reachable(recipient.jid)

    def _route(self, recipient: Recipient, due: Due, late: bool = False) -> None:
        stanza = self._relay.stanza(due, recipient.jid, late)
        recipient.flying[due.key] = due.said_at
        recipient.sent_at = self._core.clock.seconds()
        settled = partial(self._settled, recipient, due.key, due.question.number)
        self._core.router.route(Tracked(stanza, settled))

    def _settled(self, recipient: Recipient, key: Key, number: int, error: StanzaError | None) -> None:
        said_at = recipient.flying.pop(key, None)
        if said_at is None:
            return
        if error is None:
            self._delivered[recipient.jid, key] = True
            if not recipient.to_staff or not self._is_of_another(number, recipient.jid):
                self.note_arrived(key)
        elif self._stopped:
            return
        elif error.condition is Condition.SERVICE_UNAVAILABLE and self._reach.is_local(recipient.jid):
            self._run(self._refused_here(recipient, key, said_at, error.condition))
        elif error.type == "wait" or error.condition in WORTH_TRYING:
            self._failed(recipient, key, said_at, error.condition)
        else:
            self._run(self._give_up(recipient.jid, [key], error.condition))
        self._look_at(recipient)

    def _is_of_another(self, number: int, librarian: JID) -> bool:
        """True if a colleague has the question now: the same words are on their way to her."""
        question = self._open.numbered(number)
        return question is not None and question.owner is not None and question.owner != librarian

    async def _refused_here(self, recipient: Recipient, key: Key, said_at: float, reason: Condition) -> None:
        """An account here has not taken something: there may be no such account any more."""
        if await self._core.database.read(accounts.exists, recipient.jid):
            self._failed(recipient, key, said_at, reason)
        else:
            await self._give_up(recipient.jid, [key], Condition.ITEM_NOT_FOUND)

    def _look_at(self, recipient: Recipient) -> None:
        """Something of it is under way no more."""
        if recipient.flying or recipient.busy or self._stopped:
            return
        if recipient.progress is Progress.RESUMING:
            self._run(self._resume(recipient))
        elif recipient.progress is Progress.OPEN:
            self._forget(recipient)

    def _note_arrived(self) -> None:
        """Before anything is read: it must not be found once more."""
        if self._noting is not None and self._noting.active():
            self._noting.cancel()
        self._noting = None
        keys, self._arrived = self._arrived, []
        if keys:
            self._watch(self._core.database.write(outbox.arrived, keys))

    # -- what has failed -----------------------------------------------------------

    def _failed(self, recipient: Recipient, key: Key, said_at: float, reason: Condition) -> None:
        recipient.reason = reason
        if recipient.progress is Progress.OPEN and not self._reach.is_elsewhere(recipient.jid):
            # A session has ended with it: another one, or the offline store, takes it now.
            self._set(recipient, Progress.WAITING)
            if self._may_try(recipient):
                self._schedule(recipient, 0.0)
            return
        recipient.failed_at = self._core.clock.seconds()
        if recipient.progress is not Progress.WAITING:
            self._set(recipient, Progress.WAITING)
            if self._may_try(recipient):
                self._schedule(recipient, pause_after(self._core.now() - said_at, self._random()))
        self._warn(recipient, key)

    def _warn(self, recipient: Recipient, key: Key) -> None:
        """Tell the librarian, once, that her words are kept."""
        question = self._open.of_patron(self._profile.id, recipient.jid)
        mine = isinstance(key, int) and not recipient.to_staff and not recipient.warned
        if mine and question is not None and question.owner is not None:
            recipient.warned = True
            text = self._profile.staff_texts.kept_for_later()
            self._relay.tell_staff(question.number, question.owner, text)

    def reachable(self, domain: str) -> None:
        """Another server, or a component, is heard of: try at once what waits for it."""
        if not self._count[Progress.WAITING][domain]:
            return
        now = self._core.clock.seconds()
        for recipient in self._recipients[domain].values():
            soon = max(now, recipient.failed_at + SOONEST_SECONDS)
            if recipient.progress is Progress.WAITING and soon < recipient.due:
                self._schedule(recipient, soon - now)

    def came(self, jid: JID) -> None:
        """A patron or librarian with an account here has a client again."""
        of_domain = self._recipients.get(jid.domainpart, {})
        for recipient in (of_domain.get((jid, False)), of_domain.get((jid, True))):
            if recipient is not None and recipient.progress is Progress.WAITING:
                self._attempt(recipient)

    def returned(self, stanza: Stanza) -> None:
        """An error has come from a recipient elsewhere. It matters if it answers words, not signs."""
        if stanza.id and stanza.from_ is not None and stanza.to is not None:
            if not self._reach.is_elsewhere(stanza.from_.bare):
                return
            condition, type = error_of(stanza)
            again = type == "wait" or condition in WORTH_TRYING - {Condition.SERVICE_UNAVAILABLE}
            if condition is Condition.SERVICE_UNAVAILABLE:  # a librarian who is offline comes back
                again = self._profile.number_of(stanza.to) is not None
            self._run(self._returned(stanza.from_.bare, stanza.id, condition, again))

    async def _returned(self, who: JID, id: str, condition: Condition, again: bool) -> None:
        database = self._core.database
        due = await database.read(outbox.sent, self._profile.id, who, id, *self._relay.place_of(id))
        if due is None or (isinstance(due.said, Message) and due.said.relay is Relay.GIVEN_UP):
            return
        recipient = self._recipient(who, is_to_staff(due))
        self._delivered.pop((who, due.key), None)
        recipient.flying.pop(due.key, None)  # that the server has taken it is of no interest any more
        if not again:
            await self._give_up(who, [due.key], condition)
        elif not self._stopped:
            self._note_arrived()
            if isinstance(due.key, int):
                await database.write(conversations.set_relay, [due.key], Relay.TO_DO)
            self._failed(recipient, due.key, due.said_at, condition)
        self._look_at(recipient)

    # -- trying again --------------------------------------------------------------

    def _schedule(self, recipient: Recipient, seconds: float) -> None:
        recipient.due = self._core.clock.seconds() + seconds
        heapq.heappush(self._line, (recipient.due, next(self._numbers), recipient))
        self._set_timer()

    def _set_timer(self) -> None:
        """For the first in the line; one that comes too early does no harm."""
        if self._stopped or not self._line:
            return
        clock, first = self._core.clock, self._line[0][0]
        if self._timer is not None:
            if self._timer.getTime() <= first:
                return
            self._timer.cancel()
        self._timer = clock.callLater(max(0.0, first - clock.seconds()), self._try)

    def _try(self) -> None:
        """Whose pause is over."""
        self._timer = None
        now = self._core.clock.seconds()
        due = []
        while self._line and self._line[0][0] <= now:
            at, _, recipient = heapq.heappop(self._line)
            if at == recipient.due and recipient.progress is not Progress.OPEN:
                due.append(recipient)
        for recipient in due:
            if recipient.progress is Progress.RESUMING:
                self._remind(recipient)
            else:
                self._attempt(recipient)
        self._set_timer()

    def _attempt(self, recipient: Recipient) -> None:
        """Send what waits, unless something is in the way."""
        now = self._core.clock.seconds()
        if not self._may_try(recipient):
            recipient.due = 0.0  # until she comes
        elif recipient.busy or (recipient.flying and now - recipient.sent_at < UNSETTLED_SECONDS):
            self._schedule(recipient, SOONEST_SECONDS)
        elif self._count[Progress.RESUMING][recipient.jid.domainpart] >= MOST_AT_ONCE:
            self._schedule(recipient, 0.5 + self._random())
        else:
            recipient.flying.clear()
            recipient.more = True
            self._set(recipient, Progress.RESUMING)
            self._schedule(recipient, UNSETTLED_SECONDS)
            self._run(self._resume(recipient))

    def _remind(self, recipient: Recipient) -> None:
        """Nothing may hang for ever on somebody who never says what has become of a stanza."""
        if self._core.clock.seconds() - recipient.sent_at >= UNSETTLED_SECONDS:
            recipient.flying.clear()
            recipient.more = True
        self._schedule(recipient, UNSETTLED_SECONDS)
        self._look_at(recipient)

    async def _resume(self, recipient: Recipient) -> None:
        """Send what is owed, as long as it arrives."""
        recipient.busy = True
        try:
            while recipient.progress is Progress.RESUMING and not recipient.flying and not self._stopped:
                if recipient.more:
                    await self._send_batch(recipient)
                else:
                    self._forget(recipient)
        except Exception:
            self._failed(recipient, "", self._core.now(), recipient.reason)
            raise
        finally:
            recipient.busy = False

    async def _send_batch(self, recipient: Recipient) -> None:
        self._note_arrived()
        recipient.more = False
        load = outbox.of_librarian if recipient.to_staff else outbox.of_patron
        # By the writer, so that it knows all that was said until now.
        dues = await self._core.database.write(load, self._profile.id, recipient.jid, BATCH)
        if not recipient.to_staff and self._reach.is_local(recipient.jid):
            dues = await self._not_kept(recipient.jid, dues)
        oldest = self._core.now() - outbox.OWED_SECONDS
        overdue = [due.key for due in dues if due.said_at <= oldest]
        if overdue:
            await self._give_up(recipient.jid, overdue, recipient.reason)
        recipient.more = recipient.more or len(dues) == BATCH
        for due in dues:
            if recipient.progress is not Progress.RESUMING or due.said_at <= oldest or self._stopped:
                continue
            if (recipient.jid, due.key) in self._delivered:
                self.note_arrived(due.key)
            elif not (recipient.to_staff and self.adopt(due, recipient.jid)):
                self._route(recipient, due, late=True)

    async def _not_kept(self, patron: JID, dues: list[Due]) -> list[Due]:
        """Those that are not in the account's offline store yet: a crash may have come just behind that."""
        kept = await self._core.database.read(_kept_ids, patron, self._profile.address)
        found = []
        for due in dues:
            if self._relay.stanza(due, patron).id in kept:
                self.note_arrived(due.key)
            else:
                found.append(due)
        return found

    # -- giving up -----------------------------------------------------------------

    async def _give_up(self, jid: JID, keys: list[Key], reason: Condition) -> None:
        words = partial(self._words, reason=reason)
        for one in await self._core.database.write(give_up, jid, keys, words, self._core.now()):
            if one.released_from is not None:
                self._service.returned(one.question, one.released_from, reason)
            else:
                self._service.failed(one.question, one.to_staff, reason)

    def _words(self, given_up: GivenUp, reason: Condition) -> str:
        texts, question = self._profile.staff_texts, given_up.question
        if not given_up.to_staff:
            return texts.undelivered(question.number, reason)
        librarian = given_up.released_from or question.owner
        nick = "" if librarian is None else self._profile.nick_of(librarian)
        return texts.not_heard(question.number, nick, reason)

    # -- recipients ----------------------------------------------------------------

    def _recipient(self, jid: JID, to_staff: bool) -> Recipient:
        of_domain = self._recipients.setdefault(jid.domainpart, {})
        recipient = of_domain.get((jid, to_staff))
        if recipient is None:
            recipient = of_domain[jid, to_staff] = Recipient(jid, to_staff)
            self._count[Progress.OPEN][jid.domainpart] += 1
        return recipient

    def _set(self, recipient: Recipient, progress: Progress) -> None:
        domain = recipient.jid.domainpart
        self._count[recipient.progress][domain] -= 1
        self._count[progress][domain] += 1
        recipient.progress = progress

    def _forget(self, recipient: Recipient) -> None:
        """Nothing is owed any more."""
        domain = recipient.jid.domainpart
        self._set(recipient, Progress.OPEN)
        self._count[Progress.OPEN][domain] -= 1
        of_domain = self._recipients[domain]
        of_domain.pop((recipient.jid, recipient.to_staff), None)
        if not of_domain:
            del self._recipients[domain]
            for counter in self._count.values():
                del counter[domain]

    def _run(self, doing: Coroutine[Deferred[Any], Any, Any]) -> None:
        self._watch(Deferred.fromCoroutine(doing))

    def _watch(self, deferred: Deferred[Any]) -> None:
        deferred.addErrback(lambda failure: log.failure("something in an outbox failed", failure=failure))


def _kept_ids(connection: Connection, account: JID, sender: JID) -> set[str]:
    """The ids of the messages from `sender` in an account's offline store."""
    stanzas = (parse(one.stanza) for one in offline.fetch(connection, account))
    return {stanza.get("id", "") for stanza in stanzas if stanza.get("from") == sender.text}


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
    """True if something owed is for the librarian of its question, not for the patron."""
    return isinstance(due.said, Message) and due.said.direction is Direction.PATRON


def error_of(stanza: Stanza) -> tuple[Condition, str]:
    """The condition and the type of an error (RFC 6120 8.3.2); undefined-condition if it has none."""
    error = stanza.child(ns.CLIENT, "error")
    if error is None:
        return Condition.UNDEFINED_CONDITION, ""
    names = {split(child.tag)[1] for child in error if split(child.tag)[0] == ns.STANZAS}
    found = (condition for condition in Condition if condition.value in names)
    return next(found, Condition.UNDEFINED_CONDITION), error.get("type", "")
