"""The patron's verbs: ask and add. Each function is one database transaction.

`say` is what every patron's message comes to: a new question, or more to the open one; a
repeated message (its sender's client lost the connection) changes nothing. Who may ask how
often is checked here; who is told what is the adapters' business.

Staff know a patron by a name like "lomi-taru". It comes from a keyed hash of the bare JID. The key belongs to
the library and the month, and is destroyed with the month; the name is deleted with the link to the patron.
So the same patron has unlinkable names in two libraries, and no old name can be matched to an address.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.settings import Settings, zone
from refserver.reference.states import (
    FINISHED,
    OPEN,
    UNCLAIMED,
    State,
    TooManyQuestions,
    Verb,
    after,
)
from refserver.storage import conversations, questions, queues, secrets, statistics
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.questions import Question
from refserver.storage.queues import Queue
from refserver.storage.statistics import Statistics

HOUR: Final = 3600.0
_SYLLABLES: Final = [consonant + vowel for consonant in "bdhklmnrstvz" for vowel in "aeiou"]


def pseudonym(connection: Connection, library: str, patron: JID, now: float) -> str:
    """Return the patron's name in a library; no other patron whom the library still knows has it."""
    key = secrets.pseudonym_key(connection, library, period(now))
    names = (_name(key, patron, attempt) for attempt in count())
    return next(name for name in names if not questions.is_named(connection, library, name, patron))


def period(now: float) -> str:
    """Return the month that a key is for: YYYY-MM, in UTC."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def _name(key: bytes, patron: JID, attempt: int) -> str:
    digest = hmac.digest(key, f"{patron.bare.text} {attempt}".encode(), sha256)
    number = int.from_bytes(digest[:8], "big")
    syllables = []
    for _ in range(4):
        number, syllable = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[syllable])
    return "{}{}-{}{}".format(*syllables)


@frozen
class Utterance:
    """A message with words: the text, the id of its stanza (None: none), XML that travels with it.

    `receipt`: the sender's client wants to know when it was delivered.
    """

    body: str
    origin_id: str | None = None
    extras: str = ""
    receipt: bool = False


@frozen
class Asker:
    """A patron: the bare JID, the channel, the language and thread of the stanza."""

    jid: JID
    channel: str = "xmpp"
    language: str = ""
    thread: str = ""


@frozen
class Said:
    """The result of a patron's message.

    `new`: it made a question. `again`: it repeats `message`, nothing has changed. `position`
    is the question's place in the line, 0 once it is claimed or finished.
    """

    question: Question
    message: Message
    new: bool
    again: bool
    position: int


def say(
    connection: Connection,
    queue_id: int,
    asker: Asker,
    utterance: Utterance,
    *,
    now: float,
    staffed: bool = True,
    hourly_limit: int = 0,
    started_at: float = 0.0,
) -> Said:
    """Take a patron's message: ask a question, or add to the open one.

    `staffed`: somebody is on duty. `hourly_limit` is how many questions a patron may ask in an
    hour (0: any number). `started_at` is when the server started. Raises `TooManyQuestions`.
    """
    open_one = questions.of_patron(connection, queue_id, asker.jid, OPEN)
    repeated = _repeated(connection, open_one, queue_id, asker, utterance, now, started_at)
    if repeated is not None:
        return repeated
    if open_one is None:
        question = _ask(connection, queue_id, asker, now, staffed, hourly_limit)
    else:
        question = _add(connection, open_one, now)
    message = keep(connection, question, Direction.PATRON, utterance, now)
    return Said(question, message, open_one is None, False, place_in_line(connection, question))


def keep(
    connection: Connection,
    question: Question,
    direction: Direction,
    utterance: Utterance,
    now: float,
    author: str = "",
) -> Message:
    """Store what a patron or a librarian says to the other; it is owed from now on."""
    return conversations.add(
        connection,
        question.id,
        direction,
        utterance.body,
        now=now,
        author=author,
        origin_id=utterance.origin_id,
        extras=utterance.extras,
        gap=_seconds_since_last(connection, question, now),
        relay=Relay.TO_DO,
        receipt=utterance.receipt,
    )


def place_in_line(connection: Connection, question: Question) -> int:
    """The question's position among those that wait, from 1; 0 when it does not wait."""
    if question.state not in UNCLAIMED:
        return 0
    return questions.position(connection, question, UNCLAIMED)


def _seconds_since_last(connection: Connection, question: Question, now: float) -> float | None:
    """Seconds since somebody last said something, if that was within the claim that still holds."""
    if question.state != State.CLAIMED or question.claimed_at is None:
        return None
    last = conversations.last_spoken(connection, question.id)
    return None if last is None or last < question.claimed_at else round(max(0.0, now - last), 3)


def _repeated(
    connection: Connection,
    open_one: Question | None,
    queue_id: int,
    asker: Asker,
    utterance: Utterance,
    now: float,
    started_at: float,
) -> Said | None:
    """Return what was said before, if this repeats a message of the open question.

    Words of an ended question are repeated only if they were said before the server started: a crash may
    have taken their receipt, and then the patron's client says them again.
    """
    ended = questions.of_patron(connection, queue_id, asker.jid, FINISHED)
    for question in (open_one, ended):
        if question is None:
            continue
        said = conversations.repeated(
            connection, question.id, Direction.PATRON, utterance.origin_id, utterance.body, now
        )
        if said is not None and (question is open_one or said.sent_at < started_at):
            return Said(question, said, False, True, place_in_line(connection, question))
    return None


def _ask(
    connection: Connection, queue_id: int, asker: Asker, now: float, staffed: bool, hourly_limit: int
) -> Question:
    if hourly_limit and questions.asked_since(connection, queue_id, asker.jid, now - HOUR) >= hourly_limit:
        raise TooManyQuestions(hourly_limit)
    queue = queues.get(connection, queue_id)
    question = questions.add(
        connection,
        queue_id,
        patron=asker.jid,
        pseudonym=pseudonym(connection, queue.jid.domainpart, asker.jid, now),
        channel=asker.channel,
        language=_language(asker.language) or queue.language,
        thread=asker.thread,
        state=State.WAITING,
        now=now,
    )
    settings = Settings.of(queue.settings)
    if not settings.practice:
        statistics.add(connection, _first_count(question, queue, settings, staffed))
    return question


def _language(tag: str) -> str:
    """The primary language of a tag that a patron's client sent; "" for what is none."""
    primary = tag.partition("-")[0].lower()
    return primary if 2 <= len(primary) <= 3 and primary.isascii() and primary.isalpha() else ""


def _first_count(question: Question, queue: Queue, settings: Settings, staffed: bool) -> Statistics:
    local = datetime.fromtimestamp(question.asked_at, zone(settings.time_zone))
    return Statistics(
        question=question.id,
        domain=queue.jid.domainpart,
        queue=queue.jid.localpart,
        channel=question.channel,
        language=question.language,
        day=local.date().isoformat(),
        hour=local.hour,
        weekday=local.weekday(),
        staffed=staffed,
        patron_messages=1,
    )


def _add(connection: Connection, question: Question, now: float) -> Question:
    """The patron writes more: what was parked waits again, at the end of the line."""
    state = after(question.state, Verb.ADD)
    if state == question.state:
        return question
    changed = questions.compare_and_set(
        connection, question.id, {question.state}, question.owner, state=state, place=now
    )
    assert changed is not None  # the state was read in this transaction
    return changed
