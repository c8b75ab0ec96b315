"""Forgetting patrons: retention, `patron forget`, `transcript purge`.

Each function is one database transaction. What stays of a question at the end is its row in the
statistics, which names nobody. docs/decisions/0013-retention.md lists every table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.asking import period
from refserver.reference.closing import BLOCKED_SECONDS, end
from refserver.reference.settings import Settings
from refserver.reference.states import OPEN
from refserver.storage import (
    NoSuchAccount,
    access_rules,
    conversations,
    offline,
    outbox,
    questions,
    queues,
    rosters,
    secrets,
    statistics,
)
from refserver.storage.questions import Question

RECORD_SECONDS: Final = BLOCKED_SECONDS
"""A question's row is kept so long after its end: `!unspam` finds it as long as a block lasts."""
STATISTICS_DAYS: Final = 3653
REPORT_SECONDS: Final = 366 * 86_400.0
"""A report of spam is counted so long."""
GRACE_SECONDS: Final = 7200.0
"""Within this time after the last attempt somebody is told that it was in vain."""
LOOK_AGAIN_SECONDS: Final = 600.0
AT_ONCE: Final = 200
"""The questions that one transaction forgets: claims and receipts wait for it."""


@frozen
class Forgotten:
    """The number of links to patrons, messages and rows of questions deleted; `more`: not all is done."""

    links: int = 0
    messages: int = 0
    rows: int = 0
    more: bool = False


@frozen
class Unlinked:
    """The questions of a patron that were open and have ended, and the numbers of what was deleted."""

    ended: tuple[Question, ...]
    questions: int
    messages: int
    subscriptions: int


# -- retention -----------------------------------------------------------------


def is_due(connection: Connection, now: float) -> bool:
    """Return True if `forget_due` has anything to do. Costs one look into each of four indexes."""
    return (
        questions.is_due(connection, now)
        or statistics.is_older(connection, _oldest_day(now))
        or secrets.is_older(connection, period(now))
        or access_rules.has_reports_before(connection, now - REPORT_SECONDS)
    )


def forget_due(connection: Connection, now: float, limit: int = AT_ONCE) -> Forgotten:
    """Delete what the queues' policies no longer keep, of at most `limit` questions.

    The link to the patron (address, thread, pseudonym) goes at the end of the undo window. Words go
    with it, or later if the queue's policy retains them. While an answer is still being tried to
    deliver, both wait for that. At the end the question's row goes; the statistics stay ten years.
    """
    secrets.destroy_older(connection, period(now))
    old = statistics.delete_older(connection, _oldest_day(now), limit)
    reports = access_rules.delete_reports_before(connection, now - REPORT_SECONDS, limit)
    found = questions.due(connection, now, limit)
    owing = outbox.unsettled(connection, [q.id for q in found], now - outbox.OWED_SECONDS - GRACE_SECONDS)
    policies = {id: Settings.of(queues.get(connection, id).settings) for id in {q.queue_id for q in found}}
    unlink: list[int] = []
    silence: list[int] = []
    gone: list[int] = []
    later: dict[int, float] = {}
    for question in found:
        policy, ended = policies[question.queue_id], question.closed_at or now
        undone, silent = ended + policy.undo_seconds, ended + policy.retention_seconds
        ends = max(silent, ended + RECORD_SECONDS)
        if question.id in owing:
            later[question.id] = now + LOOK_AGAIN_SECONDS
        elif now >= ends:
            gone.append(question.id)
        else:
            if now >= undone and question.patron is not None:
                unlink.append(question.id)
            if now >= silent:
                silence.append(question.id)
            later[question.id] = min(moment for moment in (undone, silent, ends) if moment > now)
    questions.unlink(connection, unlink)
    outbox.delete_of(connection, unlink)
    messages = conversations.delete_of(connection, [*silence, *gone])
    questions.delete(connection, gone)
    questions.postpone(connection, later)
    return Forgotten(len(unlink), messages, len(gone), limit in (len(found), old, reports))


def _oldest_day(now: float) -> str:
    return (datetime.fromtimestamp(now, UTC).date() - timedelta(STATISTICS_DAYS)).isoformat()


# -- forgetting at once --------------------------------------------------------


def forget_patron(connection: Connection, jid: JID, now: float) -> Unlinked:
    """Delete all words and links of a patron, at every queue, at once.

    Her open questions end first. Words go from the questions, from what is still to be delivered, from
    offline messages and from librarians' rosters. The numbers in the
    statistics stay, and a block on her stays until it expires.
    """
    asked = questions.all_of_patron(connection, jid.bare)
    ended = _ended(connection, asked, now)
    _delete_traces(connection, asked)
    ids = [question.id for question in asked]
    messages = conversations.delete_of(connection, ids)
    outbox.delete_of(connection, ids)
    questions.unlink(connection, ids, tags=True)
    subscriptions = access_rules.unsubscribe(connection, access_rules.EVERYWHERE, [jid.bare])
    return Unlinked(ended, len(asked), messages, subscriptions)


def unlink_patron(connection: Connection, jid: JID, now: float) -> tuple[Question, ...]:
    """End a patron's open questions and delete the links to her, since her account is no more.

    Who gets the name next is somebody else. What was said stays as long as policy keeps it.
    """
    asked = questions.all_of_patron(connection, jid.bare)
    ended = _ended(connection, asked, now)
    ids = [question.id for question in asked]
    outbox.delete_of(connection, ids)
    questions.unlink(connection, ids)
    access_rules.unsubscribe(connection, access_rules.EVERYWHERE, [jid.bare])
    return ended


def _ended(connection: Connection, asked: Sequence[Question], now: float) -> tuple[Question, ...]:
    return tuple(end(connection, question.id, now) for question in asked if question.state in OPEN)


def _delete_traces(connection: Connection, asked: Sequence[Question]) -> None:
    """Delete copies of what was said, in offline messages and librarians' rosters; desks keep no history."""
    for question in asked:
        queue = queues.get(connection, question.queue_id)
        chat = JID.of(f"{queue.jid.localpart}+{question.number}", queue.jid.domainpart)
        for librarian in queues.librarians_of(connection, queue.id):
            _delete_offline(connection, librarian.jid, chat)
            try:
                rosters.delete(connection, librarian.jid, chat)
            except NoSuchAccount:  # her account is on another server
                continue
        if question.patron is not None:
            _delete_offline(connection, question.patron, queue.jid)


def _delete_offline(connection: Connection, account: JID, sender: JID) -> None:
    """Delete the messages from a bare JID that are kept for an account."""
    from_ = re.compile(rb"""["']%s(?:/|["'])""" % re.escape(sender.text.encode()))
    found = [kept.id for kept in offline.fetch(connection, account) if from_.search(kept.stanza)]
    offline.delete(connection, account, found)


def purge_transcripts(connection: Connection, where: JID | None, before: float, limit: int = AT_ONCE) -> int:
    """Delete what was said in questions that ended before a time; how many messages that was.

    `where` is a queue's address, a library's domain, or None for all. Takes at most `limit` questions:
    call it until it returns 0.
    """
    ids = conversations.with_words(connection, where, before, limit)
    outbox.delete_of(connection, ids)
    return conversations.delete_of(connection, ids)
