"""The verbs of librarians and of the dispatcher: offer, claim, answer, note, release, hand over.

Each is one database transaction over the id of a question; `by_number` runs one over the number that
people use. A claim is one compare-and-set: of all who try exactly one wins, the others learn from
`AlreadyClaimed` who did. How a question ends is in closing.py. A librarian's verb raises
`NotALibrarian` for an address that does not work at the question's queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import evolve, frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.asking import Utterance, keep
from refserver.reference.states import (
    AlreadyClaimed,
    NoSuchCannedReply,
    NoSuchLibrarian,
    NoSuchQuestion,
    NotALibrarian,
    NotOffered,
    NotYours,
    PatronGone,
    State,
    Verb,
    WrongState,
    after,
    sources,
)
from refserver.storage import conversations, questions, queues, statistics
from refserver.storage.access_rules import Rule
from refserver.storage.conversations import Direction, Message
from refserver.storage.questions import Question
from refserver.storage.queues import Librarian

T = TypeVar("T")


@frozen
class Taken:
    """A question with a new owner, its previous owner, and what was said until then.

    `from_absent`: the previous owner was away, and was not asked. `lifted`: a reopening has let in again who
    was blocked by this rule.
    """

    question: Question
    before: JID | None
    said: list[Message]
    from_absent: bool = False
    lifted: Rule | None = None


@frozen
class Answered:
    """The result of a librarian's message to the patron.

    `taken` is set if it took the question. `again`: it repeats `message`, nothing has changed.
    """

    question: Question
    message: Message
    again: bool
    taken: Taken | None = None


# -- the dispatcher ------------------------------------------------------------
# All three return None if the question has moved on meanwhile (somebody claimed it): no error here.


def offer(connection: Connection, question_id: int, librarian: JID | None, now: float) -> Question | None:
    """Offer a question to one librarian, or (None) to everyone on duty."""
    offered = {"state": State.OFFERED, "offered_to": librarian, "offered_at": now}
    return questions.compare_and_set(connection, question_id, sources(Verb.OFFER), None, **offered)


def widen(connection: Connection, question_id: int) -> Question | None:
    """Offer a question to everyone, since the librarian it was offered to did not take it."""
    return questions.compare_and_set(connection, question_id, sources(Verb.WIDEN), None, offered_to=None)


def withdraw(connection: Connection, question_id: int) -> Question | None:
    """Let a question wait again, since nobody is on duty any more."""
    waiting = {"state": State.WAITING, "offered_to": None, "offered_at": None}
    return questions.compare_and_set(connection, question_id, sources(Verb.WITHDRAW), None, **waiting)


# -- whose it is ---------------------------------------------------------------


def claim(connection: Connection, question_id: int, librarian: JID, now: float) -> Question:
    """Take a question. Raises `AlreadyClaimed` (by herself, too) or `WrongState`."""
    question = questions.get(connection, question_id)
    colleague(connection, question.queue_id, librarian)
    claimed = questions.compare_and_set(
        connection,
        question_id,
        sources(Verb.CLAIM),
        None,
        state=State.CLAIMED,
        owner=librarian,
        offered_to=None,
        claimed_at=now,
        outcome="",
    )
    if claimed is None:
        raise _not_claimable(connection, questions.get(connection, question_id))
    count_wait(connection, question, now)
    return claimed


def count_wait(connection: Connection, question: Question, now: float, **more: object) -> None:
    """Count the wait for the first claim, and that the question is open; `more` are other counts."""
    counted = statistics.of(connection, question.id)
    if counted is not None:
        wait = round(max(0.0, now - question.asked_at), 3) if counted.wait is None else counted.wait
        statistics.change(connection, question.id, wait=wait, outcome="", **more)


def take(
    connection: Connection, question_id: int, librarian: JID, now: float, away: JID | None = None
) -> Taken:
    """Claim a question, accept it if it is handed to this librarian, or take it from the owner `away`."""
    question = questions.get(connection, question_id)
    from_absent = away is not None and question.owner == away != librarian and question.handed_to != librarian
    if from_absent:
        taken = take_over(connection, question_id, librarian, now)
    else:
        verb = accept if question.handed_to == librarian else claim
        taken = verb(connection, question_id, librarian, now)
    return Taken(taken, question.owner, conversations.of(connection, question_id), from_absent)


def take_over(connection: Connection, question_id: int, librarian: JID, now: float) -> Question:
    """Take a question from its owner, who is away. Raises `WrongState`."""
    question = questions.get(connection, question_id)
    colleague(connection, question.queue_id, librarian)
    return _transfer(connection, question, Verb.TAKE_OVER, librarian, now)


def give_back(connection: Connection, question_id: int, owner: JID) -> Question:
    """Let a question of `owner` wait again, by no act of hers. Raises `WrongState` if it is hers no more."""
    question = questions.get(connection, question_id)
    if question.owner != owner:
        raise WrongState(question.state, Verb.GIVE_BACK)
    return _return(connection, question, Verb.GIVE_BACK)


def release(connection: Connection, question_id: int, librarian: JID) -> Question:
    """Give a question back: it waits again, at its old place. Raises `NotYours` or `WrongState`."""
    question = owned(connection, question_id, librarian, Verb.RELEASE)
    return _return(connection, question, Verb.RELEASE)


def _return(connection: Connection, question: Question, verb: Verb) -> Question:
    waiting = change(connection, question.id, question.owner, verb, owner=None, handed_to=None)
    statistics.count(connection, question.id, "releases")
    return waiting


def dismiss(connection: Connection, queue_id: int, librarian: JID) -> list[Question]:
    """Give back what a librarian has at a queue, since she works there no more; the questions given back."""
    questions.pass_over(connection, queue_id, librarian)
    theirs = questions.owned_by(connection, librarian, sources(Verb.GIVE_BACK))
    return [
        give_back(connection, question.id, librarian) for question in theirs if question.queue_id == queue_id
    ]


def hand_over(connection: Connection, question_id: int, librarian: JID, nick: str) -> Question:
    """Ask a colleague to take a question over; until she accepts nothing changes.

    Raises `NotYours`, `WrongState`, or `NoSuchLibrarian` (for oneself, too).
    """
    question = owned(connection, question_id, librarian, Verb.HAND_OVER)
    wanted = nick.casefold()
    for other in queues.librarians_of(connection, question.queue_id):
        if other.nick.casefold() == wanted and other.jid != librarian:
            return change(connection, question_id, librarian, Verb.HAND_OVER, handed_to=other.jid)
    raise NoSuchLibrarian(nick)


def accept(connection: Connection, question_id: int, librarian: JID, now: float) -> Question:
    """Take over what a colleague handed over. Raises `NotOffered` or `WrongState`."""
    question = _handed(connection, question_id, librarian, Verb.ACCEPT)
    return _transfer(connection, question, Verb.ACCEPT, librarian, now)


def _transfer(connection: Connection, question: Question, verb: Verb, to: JID, now: float) -> Question:
    taken = change(connection, question.id, question.owner, verb, owner=to, handed_to=None, claimed_at=now)
    statistics.count(connection, question.id, "transfers")
    return taken


def decline(connection: Connection, question_id: int, librarian: JID) -> Question:
    """Do not take over; or, by the owner, take the hand-over back. Raises `NotOffered` or `WrongState`."""
    question = questions.get(connection, question_id)
    if question.handed_to is None or question.owner != librarian:
        question = _handed(connection, question_id, librarian, Verb.DECLINE)
    return change(connection, question_id, question.owner, Verb.DECLINE, handed_to=None)


# -- what is said --------------------------------------------------------------


def answer(
    connection: Connection, question_id: int, librarian: JID, utterance: Utterance, now: float
) -> Answered:
    """Store what the owner says to the patron. Raises `NotYours`, `WrongState`, or `PatronGone`."""
    question = owned(connection, question_id, librarian, Verb.ANSWER)
    repeated = conversations.repeated(
        connection, question_id, Direction.STAFF, utterance.origin_id, utterance.body, now
    )
    if repeated is not None:
        return Answered(question, repeated, True)
    if question.patron is None:
        raise PatronGone(question.number)
    author = nick_of(connection, question.queue_id, librarian)
    message = keep(connection, question, Direction.STAFF, utterance, now, author)
    return Answered(question, message, False)


def reply(
    connection: Connection, question_id: int, librarian: JID, utterance: Utterance, now: float
) -> Answered:
    """Store a plain message in the question's chat: the first one takes the question and answers it.

    Raises what `take` and `answer` raise; then nothing was stored.
    """
    taken = None
    if questions.get(connection, question_id).owner != librarian:
        taken = take(connection, question_id, librarian, now)
    return evolve(answer(connection, question_id, librarian, utterance, now), taken=taken)


def reply_canned(
    connection: Connection, question_id: int, librarian: JID, name: str, origin_id: str | None, now: float
) -> Answered:
    """Answer with what the queue keeps under `name`. Raises `NoSuchCannedReply` and what `answer` raises."""
    queue_id = questions.get(connection, question_id).queue_id
    text = queues.canned(connection, queue_id).get(name.casefold())
    if text is None:
        raise NoSuchCannedReply(name)
    return answer(connection, question_id, librarian, Utterance(text, origin_id), now)


def note(
    connection: Connection, question_id: int, librarian: JID, utterance: Utterance, now: float
) -> Message:
    """Keep a remark for the staff. Raises `WrongState` once the question is finished."""
    question = questions.get(connection, question_id)
    author = colleague(connection, question.queue_id, librarian).nick
    after(question.state, Verb.NOTE)
    repeated = conversations.repeated(
        connection, question_id, Direction.NOTE, utterance.origin_id, utterance.body, now
    )
    if repeated is not None:
        return repeated
    return conversations.add(
        connection,
        question_id,
        Direction.NOTE,
        utterance.body,
        now=now,
        author=author,
        origin_id=utterance.origin_id,
    )


# -- who is who ----------------------------------------------------------------


def numbered(connection: Connection, library: str, number: int) -> Question:
    """Return the question of that number in a library (its domain). Raises `NoSuchQuestion`."""
    question = questions.find(connection, library, number)
    if question is None:
        raise NoSuchQuestion(number)
    return question


def by_number(
    connection: Connection, library: str, number: int, verb: Callable[..., T], /, *args: Any, **kwargs: Any
) -> T:
    """Run a verb on the question of that number in a library. Raises `NoSuchQuestion` and what it raises."""
    return verb(connection, numbered(connection, library, number).id, *args, **kwargs)


def colleague(connection: Connection, queue_id: int, jid: JID) -> Librarian:
    """The librarian with that bare JID. Raises `NotALibrarian`."""
    found = queues.librarian(connection, queue_id, jid)
    if found is None:
        raise NotALibrarian(jid)
    return found


def nick_of(connection: Connection, queue_id: int, jid: JID) -> str:
    """Return a librarian's nick, or the localpart of one who works here no more."""
    found = queues.librarian(connection, queue_id, jid)
    return jid.localpart if found is None else found.nick


def owned(connection: Connection, question_id: int, librarian: JID, verb: Verb) -> Question:
    """The question, if `librarian` owns it and it allows `verb`. Raises `NotYours` or `WrongState`."""
    question = questions.get(connection, question_id)
    colleague(connection, question.queue_id, librarian)
    after(question.state, verb)
    if question.owner != librarian:
        by = "" if question.owner is None else nick_of(connection, question.queue_id, question.owner)
        raise NotYours(question.number, by)
    return question


def _handed(connection: Connection, question_id: int, librarian: JID, verb: Verb) -> Question:
    question = questions.get(connection, question_id)
    colleague(connection, question.queue_id, librarian)
    after(question.state, verb)
    if question.handed_to != librarian:
        raise NotOffered(question.number)
    return question


def change(
    connection: Connection, question_id: int, owner: JID | None, verb: Verb, /, **values: object
) -> Question:
    """Move a question along the table, from an owner who was checked in this transaction."""
    question = questions.get(connection, question_id)
    state = after(question.state, verb)
    changed = questions.compare_and_set(connection, question_id, sources(verb), owner, state=state, **values)
    if changed is None:  # somebody else was faster, on another node
        raise WrongState(question.state, verb)
    return changed


def _not_claimable(connection: Connection, question: Question) -> AlreadyClaimed | WrongState:
    if question.state == State.CLAIMED and question.owner is not None:
        by = nick_of(connection, question.queue_id, question.owner)
        return AlreadyClaimed(question.number, question.owner, by)
    return WrongState(question.state, Verb.CLAIM)
