"""The verbs of one library: each checks who may, runs one transaction, and publishes what has happened.

Chats, desk rooms, timers and later adapters call these methods and nothing else to change a question. A
refusal (states.py) changes nothing and publishes nothing. Who may do what is checked in the transaction
(asking.py, answering.py, closing.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from refserver.core.core import Core
from refserver.errors import Condition
from refserver.features.library_access import LibraryAccess
from refserver.jid import JID
from refserver.reference import answering, asking, closing, events
from refserver.reference.answering import Answered, Taken
from refserver.reference.asking import Asker, Utterance
from refserver.reference.events import Events
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.states import Outcome, State, WrongState
from refserver.storage import conversations, questions
from refserver.storage.questions import Question


@define(eq=False, slots=False)
class ReferenceService:
    """All verbs on the questions of the library `domain`. `is_away` tells whether an owner is away."""

    _core: Core
    _domain: str
    _open: OpenQuestions
    _events: Events
    _is_away: Callable[[JID], bool]

    def __attrs_post_init__(self) -> None:
        self._started_at = self._core.now()

    # -- the patron -------------------------------------------------------------------

    async def say(
        self,
        queue_id: int,
        asker: Asker,
        utterance: Utterance,
        *,
        staffed: bool,
        hourly_limit: int = 0,
        stored: Callable[[], None] = lambda: None,
    ) -> asking.Said:
        """Ask a question, or say more in the open one; `stored` is called between the commit and the events.

        Raises `TooManyQuestions`.
        """
        said: asking.Said = await self._core.database.write(
            asking.say,
            queue_id,
            asker,
            utterance,
            now=self._core.now(),
            staffed=staffed,
            hourly_limit=hourly_limit,
            started_at=self._started_at,
        )
        stored()
        if said.new and not said.again:
            self._events.publish(events.Asked(said.question, said.message, said.position))
        elif not said.again:
            self._events.publish(events.Said(said.question, said.message))
        return said

    async def abandon(self, question: Question) -> None:
        """End a question that nobody has claimed, since the patron gave it up. Raises `WrongState`."""
        abandoned = await self._core.database.write(closing.abandon, question.id, now=self._core.now())
        self._events.publish(events.Abandoned(abandoned))

    # -- whose it is --------------------------------------------------------------------

    async def take(self, number: int, librarian: JID) -> None:
        """Claim a question, accept it if it is handed over, or take it from an owner who is away."""
        question = self._open.numbered(number)
        owner = None if question is None else question.owner
        away = owner if owner is not None and self._is_away(owner) else None
        taken = await self._by_number(answering.take, number, librarian, self._core.now(), away)
        self._publish_taken(taken)

    def _publish_taken(self, taken: Taken, reopened: bool = False) -> None:
        question, before = taken.question, taken.before
        if reopened:
            self._events.publish(events.Reopened(question, taken.said))
        elif before is None:
            self._events.publish(events.Claimed(question, taken.said))
        elif taken.from_absent:
            self._events.publish(events.TakenOver(question, taken.said, before))
        else:
            self._events.publish(events.Accepted(question, taken.said, before))

    async def release(self, number: int, librarian: JID, reason: str = "") -> None:
        """Give a question back to its queue."""
        released = await self._by_number(answering.release, number, librarian)
        self._events.publish(events.Released(released, librarian, reason))

    async def give_back(self, question: Question, owner: JID, cause: events.ReturnCause) -> None:
        """Let a question of `owner` wait again, by no act of hers; if it is hers no more, do nothing."""
        try:
            returned = await self._core.database.write(answering.give_back, question.id, owner)
        except WrongState:
            return
        self._events.publish(events.Returned(returned, owner, cause))

    async def hand_over(self, number: int, librarian: JID, nick: str, reason: str = "") -> None:
        """Ask a colleague to take a question over."""
        question, said = await self._by_number(_handed_over, number, librarian, nick)
        self._events.publish(events.HandedOver(question, said, reason))

    async def decline(self, number: int, librarian: JID, reason: str = "") -> None:
        """Do not take a question over; or, as its owner, take the hand-over back."""
        question, asked = await self._by_number(_declined, number, librarian)
        self._events.publish(events.Declined(question, librarian, asked, reason))

    # -- what is said ---------------------------------------------------------------------

    async def answer(self, number: int, librarian: JID, utterance: Utterance) -> None:
        """Say something to the patron; the first to do so takes the question."""
        self._publish_reply(
            await self._by_number(answering.reply, number, librarian, utterance, self._core.now())
        )

    async def answer_canned(self, number: int, librarian: JID, name: str, origin_id: str | None) -> str:
        """Say what the queue keeps under `name`; returns the text."""
        reply: Answered = await self._by_number(
            answering.reply_canned, number, librarian, name, origin_id, self._core.now()
        )
        self._publish_reply(reply)
        return reply.message.body

    def _publish_reply(self, reply: Answered) -> None:
        if reply.taken is not None:
            self._publish_taken(reply.taken)
        if not reply.again:
            self._events.publish(events.Answered(reply.question, reply.message))

    async def note(self, number: int, librarian: JID, utterance: Utterance) -> None:
        """Keep a note for the staff."""
        question, message = await self._by_number(_noted, number, librarian, utterance, self._core.now())
        self._events.publish(events.Noted(question, message))

    # -- the end ----------------------------------------------------------------------------

    async def close(
        self, number: int, librarian: JID, level: int | None, outcome: Outcome, tags: tuple[str, ...]
    ) -> None:
        """End a question with a READ level and an outcome, which may also refer or park it."""
        closed = await self._by_number(
            closing.close, number, librarian, self._core.now(), level=level, outcome=outcome, tags=tags
        )
        self._events.publish(events.Closed(closed, librarian))

    async def park(self, number: int, librarian: JID) -> None:
        """Keep a question for follow-up."""
        parked = await self._by_number(closing.park, number, librarian, self._core.now())
        self._events.publish(events.Closed(parked, librarian))

    async def reopen(self, number: int, librarian: JID) -> None:
        """Undo a close; who was blocked by it as a spammer is let in again."""
        taken = await self._by_number(closing.reopen, number, librarian, self._core.now())
        self._publish_taken(taken, reopened=True)
        if taken.lifted is not None:
            self._core.feature(LibraryAccess).drop(self._domain, taken.lifted)
            self._events.publish(events.SpamLifted(taken.question, librarian))

    async def mark_as_spam(self, number: int, librarian: JID) -> None:
        """Close a question as spam and block who asked it."""
        blocked: closing.Blocked = await self._by_number(closing.spam, number, librarian, self._core.now())
        self._core.feature(LibraryAccess).put(self._domain, blocked.rule, blocked.key)
        self._events.publish(events.MarkedAsSpam(blocked.question, librarian))

    async def lift_spam(self, number: int, librarian: JID) -> None:
        """Let in again who asked a question."""
        question, rule = await self._by_number(_lifted, number, librarian)
        self._core.feature(LibraryAccess).drop(self._domain, rule)
        self._events.publish(events.SpamLifted(question, librarian))

    # -- the dispatcher ---------------------------------------------------------------------

    async def offer(self, question: Question, librarian: JID | None) -> None:
        """Offer a question to one librarian, or (None) to everyone; nothing if somebody has taken it."""
        self._open.plan_offer(question, librarian)
        if librarian is not None:
            self._events.publish(events.OfferPlanned(question, librarian))
        try:
            offered, said = await self._core.database.write(
                _offered, question.id, librarian, self._core.now()
            )
        finally:
            self._open.end_plan(question)
        if offered is not None:
            self._events.publish(events.Offered(offered, said, question.offered_to))
        elif librarian is not None:
            current = self._open.numbered(question.number) or question
            self._events.publish(events.OfferEnded(current, librarian))

    async def widen(self, question: Question) -> None:
        """Offer a question to everyone, since one librarian did not take it."""
        await self._change_offer(question, answering.widen)

    async def withdraw(self, question: Question) -> None:
        """Offer a question to nobody, since nobody is on duty."""
        await self._change_offer(question, answering.withdraw)

    async def _change_offer(self, question: Question, verb: Callable[..., Question | None]) -> None:
        self._open.plan_offer(question, None)
        try:
            changed = await self._core.database.write(verb, question.id)
        finally:
            self._open.end_plan(question)
        if changed is None:
            return
        if changed.state == State.OFFERED:
            self._events.publish(events.Offered(changed, (), question.offered_to))
        elif question.offered_to is not None:
            self._events.publish(events.OfferEnded(changed, question.offered_to))
        else:
            self._open.put(changed)

    # -- what could not be delivered -----------------------------------------------------------

    def failed(self, question: Question, to_staff: bool, condition: Condition) -> None:
        """Something said could not be delivered, and the question stays where it is."""
        self._events.publish(events.DeliveryFailed(question, to_staff, condition))

    def returned(self, question: Question, owner: JID, condition: Condition) -> None:
        """The question waits again, since the patron's words could not be delivered to its owner."""
        self._events.publish(events.Returned(question, owner, events.ReturnCause.UNDELIVERED, condition))

    async def _by_number(
        self, verb: Callable[..., Any], number: int, librarian: JID, *args: object, **kwargs: object
    ) -> Any:
        by_number: Callable[..., Any] = answering.by_number
        return await self._core.database.write(
            by_number, self._domain, number, verb, librarian, *args, **kwargs
        )


def _offered(connection: Any, question_id: int, librarian: JID | None, now: float) -> Any:
    offered = answering.offer(connection, question_id, librarian, now)
    said = conversations.of(connection, question_id) if offered is not None and librarian is not None else ()
    return offered, said


def _handed_over(connection: Any, question_id: int, librarian: JID, nick: str) -> Any:
    question = answering.hand_over(connection, question_id, librarian, nick)
    return question, conversations.of(connection, question_id)


def _declined(connection: Any, question_id: int, librarian: JID) -> Any:
    asked = questions.get(connection, question_id).handed_to
    return answering.decline(connection, question_id, librarian), asked


def _noted(connection: Any, question_id: int, librarian: JID, utterance: Utterance, now: float) -> Any:
    message = answering.note(connection, question_id, librarian, utterance, now=now)
    return questions.get(connection, question_id), message


def _lifted(connection: Any, question_id: int, librarian: JID) -> Any:
    rule = closing.unspam(connection, question_id, librarian)
    return questions.get(connection, question_id), rule
