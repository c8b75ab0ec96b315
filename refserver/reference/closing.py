"""The verbs that end a question or open it again: close, refer, park, abandon, end, reopen, spam, unspam.

Each verb is one database transaction. At a close the statistics row is completed; it holds
no name and no word. What is then forgotten, and when: privacy.py.

Who asked spam is recognised by a fingerprint that is good for half a year (storage/access_rules.py):
nobody's name stays behind, neither at the desk nor in the store. What is counted is the question, and the
server it came from.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.answering import Taken, change, colleague, count_wait, owned, take
from refserver.reference.states import (
    OPEN,
    NotBlockable,
    NotBlocked,
    Outcome,
    PatronBusy,
    PatronGone,
    Verb,
    after,
    closing_verb,
)
from refserver.storage import access_rules, conversations, outbox, questions, queues, statistics
from refserver.storage.access_rules import Rule
from refserver.storage.conversations import Direction
from refserver.storage.questions import Question

KINDS: Final = ("reference", "directional", "technical")
"""Tags that say what type of question it was."""

BLOCKED_SECONDS: Final = 183 * 86_400.0
"""The time for which whoever asked spam is not let in."""
MOST_OWED: Final = 10_000


def close(
    connection: Connection,
    question_id: int,
    librarian: JID,
    now: float,
    *,
    level: int | None = None,
    outcome: Outcome = Outcome.ANSWERED,
    tags: tuple[str, ...] = (),
) -> Question:
    """End a question with a READ level (1-6, None: not rated) and an outcome.

    `Outcome.REFERRED` refers it, `Outcome.FOLLOW_UP` parks it: then it is not finished, and
    nobody owns it. Raises `NotYours` or `WrongState`.
    """
    verb = closing_verb(outcome)
    question = owned(connection, question_id, librarian, verb)
    parked = verb is Verb.PARK
    closed = change(
        connection,
        question_id,
        librarian,
        verb,
        owner=None if parked else librarian,
        handed_to=None,
        closed_at=None if parked else now,
        read_level=level,
        outcome=outcome,
        tags=tags,
    )
    _count(connection, question, now, level, outcome, tags)
    return closed


def park(connection: Connection, question_id: int, librarian: JID, now: float) -> Question:
    """Keep a question for follow-up. Raises `NotYours` or `WrongState`."""
    question = owned(connection, question_id, librarian, Verb.PARK)
    return close(
        connection,
        question_id,
        librarian,
        now,
        level=question.read_level,
        outcome=Outcome.FOLLOW_UP,
        tags=question.tags,
    )


def abandon(connection: Connection, question_id: int, *, now: float) -> Question:
    """End a question nobody has claimed, since the patron said bye. Raises `WrongState`."""
    over = {"offered_to": None, "closed_at": now, "outcome": Outcome.ABANDONED}
    abandoned = change(connection, question_id, None, Verb.ABANDON, **over)
    said = conversations.counts(connection, question_id)[Direction.PATRON]
    statistics.change(connection, question_id, outcome=Outcome.ABANDONED, patron_messages=said)
    return abandoned


def end(connection: Connection, question_id: int, now: float) -> Question:
    """End an open question that nobody will go on with: its patron, queue or library is no more.

    It is abandoned, and keeps its owner if it had one. Raises `WrongState`.
    """
    question = questions.get(connection, question_id)
    verb, outcome = Verb.END, Outcome.ABANDONED
    over = {"offered_to": None, "handed_to": None, "closed_at": now, "outcome": outcome}
    ended = change(connection, question_id, question.owner, verb, **over)
    _count(connection, question, now, question.read_level, outcome, question.tags)
    return ended


def reopen(connection: Connection, question_id: int, librarian: JID, now: float) -> Taken:
    """Undo a close: the question is then `librarian`'s; if it was spam, who asked is let in again.

    Raises `WrongState`, `PatronGone` once the link to the patron is deleted, `PatronBusy` when
    the patron has asked another question meanwhile.
    """
    question = questions.get(connection, question_id)
    colleague(connection, question.queue_id, librarian)
    after(question.state, Verb.REOPEN)
    if question.patron is None:
        raise PatronGone(question.number)
    other = questions.of_patron(connection, question.queue_id, question.patron, OPEN)
    if other is not None:
        raise PatronBusy(other.number)
    hers = {"owner": librarian, "claimed_at": now, "closed_at": None, "outcome": ""}
    reopened = change(connection, question_id, question.owner, Verb.REOPEN, **hers)
    count_wait(connection, question, now, duration=None)
    rule = _lift(connection, question) if question.outcome == Outcome.SPAM else None
    return Taken(reopened, None, conversations.of(connection, question_id), lifted=rule)


def _count(
    connection: Connection,
    question: Question,
    now: float,
    level: int | None,
    outcome: Outcome,
    tags: tuple[str, ...],
) -> None:
    counted = statistics.of(connection, question.id)
    if counted is None:
        return
    said = conversations.counts(connection, question.id)
    statistics.change(
        connection,
        question.id,
        duration=None if counted.wait is None else round(max(0.0, now - question.asked_at - counted.wait), 3),
        patron_messages=said[Direction.PATRON],
        staff_messages=said[Direction.STAFF],
        gaps=conversations.gaps(connection, question.id),
        kind=next((tag for tag in tags if tag in KINDS), ""),
        read_level=level,
        outcome=outcome,
    )


# -- spam ----------------------------------------------------------------------


@frozen
class Blocked:
    """A question whose patron is blocked by `rule`; `key` is that of the library's fingerprints."""

    question: Question
    rule: Rule
    key: bytes


def spam(connection: Connection, question_id: int, librarian: JID, now: float) -> Blocked:
    """Close a question as spam, taking it first if it is nobody's, and block who asked it in this library.

    Raises what `take` and `close` raise, `PatronGone`, and `NotBlockable` for a colleague or somebody whom
    the library allows by name.
    """
    question = questions.get(connection, question_id)
    patron, number, queue_id = question.patron, question.number, question.queue_id
    queue = queues.get(connection, queue_id)
    if patron is None:
        raise PatronGone(number)
    library = queue.jid.domainpart
    if _is_protected(connection, library, patron):
        raise NotBlockable(number)
    if question.owner != librarian:
        take(connection, question.id, librarian, now)
    closed = close(connection, question.id, librarian, now, outcome=Outcome.SPAM)
    key = access_rules.fingerprint_key(connection, library)
    rule = Rule(
        patron.domainpart,
        fingerprint=access_rules.fingerprint(key, patron),
        librarian=librarian.text,
        queue=queue.jid.localpart,
        number=number,
        made_at=now,
        expires_at=now + BLOCKED_SECONDS,
    )
    access_rules.put(connection, library, rule)
    access_rules.unsubscribe(connection, library, [patron])
    outbox.drop(connection, [due.key for due in outbox.of_patron(connection, queue_id, patron, MOST_OWED)])
    access_rules.add_report(
        connection,
        library,
        queue.jid.localpart,
        number,
        librarian=librarian,
        domain=patron.domainpart,
        now=now,
    )
    return Blocked(closed, rule, key)


def unspam(connection: Connection, question_id: int, librarian: JID) -> Rule:
    """Let in again who asked a question, and do not count it as spam; the rule that held.

    Works as long as the block does, also when nobody knows any more who asked. Raises `NotBlocked`.
    """
    question = questions.get(connection, question_id)
    colleague(connection, question.queue_id, librarian)
    rule = _lift(connection, question)
    if rule is None:
        raise NotBlocked(question.number)
    return rule


def _lift(connection: Connection, question: Question) -> Rule | None:
    queue = queues.get(connection, question.queue_id)
    library, name = queue.jid.domainpart, queue.jid.localpart
    rule = access_rules.of_question(connection, library, name, question.number) or _newer(
        connection, library, question
    )
    access_rules.remove_report(connection, library, name, question.number)
    if rule is not None:
        access_rules.remove(connection, library, rule)
    return rule


def _newer(connection: Connection, library: str, question: Question) -> Rule | None:
    """The rule by which who asked was blocked again, because of a later question."""
    if question.patron is None:
        return None
    mark = access_rules.fingerprint(access_rules.fingerprint_key(connection, library), question.patron)
    rules = access_rules.rules(connection, library, question.patron.domainpart)
    return next((rule for rule in rules if rule.fingerprint == mark), None)


def _is_protected(connection: Connection, library: str, patron: JID) -> bool:
    desks = queues.desks_of(connection, patron)
    if any(queue.jid.domainpart == library for queue, _ in desks) or queues.find(connection, patron):
        return True
    rules = access_rules.rules(connection, library, patron.domainpart)
    return any(rule.allowed and rule.localpart == patron.localpart for rule in rules)
