"""Spam: a librarian closes a question as such, and who asked it is not let in any more; and the way back.

Each verb is one database transaction. Who asked is recognised by a fingerprint that is good for half a
year (storage/access_rules.py): nobody's name stays behind, neither at the desk nor in the store. What is
counted is the question, and the server it came from.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference import answering, closing
from refserver.reference.answering import Taken, colleague
from refserver.reference.refusals import NotBlockable, NotBlocked, PatronGone
from refserver.reference.states import Outcome
from refserver.storage import access_rules, outbox, questions, queues
from refserver.storage.access_rules import Rule
from refserver.storage.questions import Question

BLOCKED_SECONDS: Final = 183 * 86_400.0
MOST_OWED: Final = 10_000


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
        answering.take(connection, question.id, librarian, now)
    closed = closing.close(connection, question.id, librarian, now, outcome=Outcome.SPAM)
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


def reopen(connection: Connection, question_id: int, librarian: JID, now: float) -> tuple[Taken, Rule | None]:
    """Undo a close; if it was one as spam, who asked is let in again, and the rule that held is returned."""
    was = questions.get(connection, question_id)
    taken = closing.reopen(connection, question_id, librarian, now)
    return taken, _lift(connection, was) if was.outcome == Outcome.SPAM else None


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
