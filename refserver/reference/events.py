"""The events that a committed verb publishes about a question, and their subscribers.

`ReferenceService` publishes. Chats, desk rooms, roster entries, presence and offers are subscribers; they do
not know each other. A new one is one file, and one line in queue.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver.errors import Condition
from refserver.jid import JID
from refserver.reference.open_questions import OpenQuestions
from refserver.storage.conversations import Message
from refserver.storage.questions import Question

log = Logger()


@frozen
class QuestionEvent:
    """Something has happened to `question`, which is given as it is now."""

    question: Question


@frozen
class Asked(QuestionEvent):
    """A patron has asked a new question. `position` is its place in the line, from 1."""

    message: Message
    position: int


@frozen
class Said(QuestionEvent):
    """A patron has written more in an open question."""

    message: Message


@frozen
class OfferPlanned(QuestionEvent):
    """An offer to `librarian` is being stored: the only event that comes before its commit."""

    librarian: JID


@frozen
class Offered(QuestionEvent):
    """A question is offered: to `question.offered_to`, or to everyone on duty (None).

    `said` is what the patron has said so far. `before` is who had the offer until now.
    """

    said: Sequence[Message] = ()
    before: JID | None = None


@frozen
class OfferEnded(QuestionEvent):
    """`librarian` is offered the question no more, and nobody has taken it by that."""

    librarian: JID


@frozen
class AllBusy(QuestionEvent):
    """Everybody on duty has enough to do: nobody is offered the question, and whoever wants may take it."""


@frozen
class Taken(QuestionEvent):
    """A question has another owner than before."""

    said: Sequence[Message]


@frozen
class Claimed(Taken):
    """A question that nobody owned has an owner. `said` is everything said before."""


@frozen
class Accepted(Taken):
    """A librarian has accepted a question that `before` handed over to her."""

    before: JID


@frozen
class TakenOver(Taken):
    """A librarian has taken a question whose owner `before` was away."""

    before: JID


@frozen
class Reopened(Taken):
    """A finished question is open again; `question.owner` has reopened it."""


@frozen
class Released(QuestionEvent):
    """`librarian` has given the question back: it waits again."""

    librarian: JID
    reason: str = ""


class ReturnCause(Enum):
    """Why a question waits again although its owner has not released it."""

    ABSENT = "absent"
    """She has been away for longer than the queue allows."""
    OFFICE_ENDED = "office ended"
    """She is no librarian of this queue any more, or her account was removed."""
    UNDELIVERED = "undelivered"
    """The patron's words could not be delivered to her."""


@frozen
class Returned(QuestionEvent):
    """The question of `librarian` waits again, by no act of hers. `condition` says why UNDELIVERED."""

    librarian: JID
    cause: ReturnCause
    condition: Condition | None = None


@frozen
class OwnerAway(QuestionEvent):
    """The owner is away from her question: the desk should know."""


@frozen
class HandedOver(QuestionEvent):
    """The owner has asked `question.handed_to` to take the question over."""

    said: Sequence[Message]
    reason: str = ""


@frozen
class Declined(QuestionEvent):
    """`librarian` does not take the question over; or, being the owner, takes the hand-over back."""

    librarian: JID
    asked: JID
    reason: str = ""


@frozen
class Answered(QuestionEvent):
    """The owner has said something to the patron."""

    message: Message


@frozen
class Noted(QuestionEvent):
    """A librarian has left a note for the staff."""

    message: Message


@frozen
class Closed(QuestionEvent):
    """`librarian` has closed, referred or parked the question (see its state)."""

    librarian: JID


@frozen
class MarkedAsSpam(Closed):
    """`librarian` has closed the question as spam and blocked who asked."""


@frozen
class SpamLifted(QuestionEvent):
    """`librarian` lets in again who asked the question."""

    librarian: JID


@frozen
class Abandoned(QuestionEvent):
    """The patron has given the question up before anybody took it."""


@frozen
class Ended(QuestionEvent):
    """The question has ended by no verb of the desk: its queue, or the patron's account, was removed.

    `owner` is who had it.
    """

    owner: JID | None


@frozen
class DeliveryFailed(QuestionEvent):
    """Something said could not be delivered: to the owner (`to_staff`), else to the patron."""

    to_staff: bool
    condition: Condition


Handler = Callable[[QuestionEvent], Deferred[None] | None]
"""Reacts to an event. If it returns a Deferred, later handlers are told when that has fired."""


class Events:
    """Tells the subscribers of one library what has happened, the events of one question in order.

    `open_questions` is brought up to date first, at once.
    """

    def __init__(self, open_questions: OpenQuestions) -> None:
        self._open = open_questions
        self._handlers: list[tuple[int | None, Handler]] = []
        self._waiting: dict[int, deque[QuestionEvent]] = {}

    def subscribe(self, handler: Handler, queue_id: int | None = None) -> None:
        """Tell `handler`, behind all others, the events of a queue's questions; None: of all queues."""
        self._handlers.append((queue_id, handler))

    def unsubscribe(self, handlers: Sequence[Handler]) -> None:
        """Tell these nothing any more."""
        self._handlers = [pair for pair in self._handlers if pair[1] not in handlers]

    def publish(self, event: QuestionEvent) -> None:
        """Tell everybody, when they have been told the earlier events of the same question."""
        question = event.question
        if not isinstance(event, OfferPlanned):
            self._open.put(question, event.message.body if isinstance(event, Asked) else None)
        waiting = self._waiting.get(question.id)
        if waiting is not None:
            waiting.append(event)
            return
        self._waiting[question.id] = deque([event])
        told = Deferred.fromCoroutine(self._tell(question.id))
        told.addErrback(lambda failure: log.failure("an event could not be told", failure=failure))

    async def _tell(self, question_id: int) -> None:
        waiting = self._waiting[question_id]
        try:
            while waiting:
                event = waiting.popleft()
                for queue_id, handler in list(self._handlers):
                    if queue_id in (None, event.question.queue_id):
                        await _handled(handler, event)
        finally:
            del self._waiting[question_id]


async def _handled(handler: Handler, event: QuestionEvent) -> None:
    """One handler that fails keeps none of the others from hearing."""
    try:
        waited_for = handler(event)
        if waited_for is not None:
            await waited_for
    except Exception:
        log.failure("{event} could not be handled", event=type(event).__name__)
