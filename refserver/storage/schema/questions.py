"""Tables of questions, of what was said in them, and of what is counted about them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from refserver.storage.schema.base import Timestamp, metadata, owned_by

_NOT_HANDED_OVER = text("relay = 0")
_DUE = text("due IS NOT NULL")
_NAMED = text("pseudonym <> ''")
_OPEN = text("patron IS NOT NULL AND state IN ('waiting', 'offered', 'claimed', 'parked')")

questions = Table(
    "questions",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("library", "libraries.id"),
    owned_by("queue", "queues.id"),
    Column("number", Integer, nullable=False),  # counted in the library
    Column("patron", Text),  # bare JID; NULL once the link is deleted
    Column("pseudonym", Text, nullable=False),  # "" once the link is deleted
    Column("channel", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("thread", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("place", Timestamp, nullable=False),  # the order of waiting
    Column("owner", Text),
    Column("offered_to", Text),  # NULL while offered: to everyone
    Column("handed_to", Text),
    Column("asked_at", Timestamp, nullable=False),
    Column("offered_at", Timestamp),
    Column("claimed_at", Timestamp),
    Column("closed_at", Timestamp),
    Column("due", Timestamp),  # when to look what is to be forgotten; NULL while it is open
    Column("read_level", Integer),
    Column("outcome", Text, nullable=False),
    Column("tags", Text, nullable=False),  # separated by blanks
    UniqueConstraint("library", "number"),
    Index("ix_questions_state", "queue", "state"),
    Index("ix_questions_patron", "patron", "queue"),
    Index("ix_questions_owner", "owner"),
    Index("ix_questions_due", "due", sqlite_where=_DUE, postgresql_where=_DUE),
    Index("ix_questions_pseudonym", "library", "pseudonym", sqlite_where=_NAMED, postgresql_where=_NAMED),
    # One conversation a patron and queue at a time.
    Index("uq_questions_open", "queue", "patron", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    sqlite_autoincrement=True,  # statistics outlive a question: its id is never given again
)

question_messages = Table(
    "question_messages",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("question", "questions.id"),
    Column("sequence", Integer, nullable=False),
    Column("direction", Text, nullable=False),  # patron, staff, note, system
    Column("author", Text, nullable=False),  # the nick of a librarian, "" for the patron
    Column("origin_id", Text),  # the stanza's id as its sender gave it
    Column("body", Text, nullable=False),
    Column("extras", Text, nullable=False),  # XML: elements that travel with the body
    Column("sent_at", Timestamp, nullable=False),
    Column("gap", Double),  # seconds since the message before it, where both belong to one claim
    Column("relay", Integer, nullable=False),  # conversations.Relay
    Column("receipt", Boolean, nullable=False),
    UniqueConstraint("question", "sequence"),
    # A repeated message is looked for by the id its sender gave it; an id may be used again.
    Index("ix_question_messages_origin_id", "question", "origin_id"),
    # Few at any time, and looked for whenever another server is tried again.
    Index(
        "ix_question_messages_to_do",
        "question",
        sqlite_where=_NOT_HANDED_OVER,
        postgresql_where=_NOT_HANDED_OVER,
    ),
)

# What the queue itself has said to the patron of a question, until the patron's server has confirmed it.
outbox_lines = Table(
    "outbox_lines",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("question", "questions.id"),
    Column("stanza_id", Text, nullable=False, unique=True),
    Column("body", Text, nullable=False),
    Column("said_at", Timestamp, nullable=False),
    Index("ix_outbox_lines_question", "question"),
)

# Nothing here names a person or repeats a word that was said; it outlives the question.
question_statistics = Table(
    "question_statistics",
    metadata,
    Column("question", Integer, primary_key=True, autoincrement=False),
    Column("domain", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("day", Text, nullable=False),  # ISO date where the queue is
    Column("hour", Integer, nullable=False),
    Column("weekday", Integer, nullable=False),  # Monday is 0
    Column("staffed", Boolean, nullable=False),  # somebody was on duty when it was asked
    Column("wait", Double),  # seconds until it was first claimed
    Column("duration", Double),  # seconds from the first claim to the close
    Column("patron_messages", Integer, nullable=False),
    Column("staff_messages", Integer, nullable=False),
    Column("gaps", Text, nullable=False),  # JSON: seconds between messages while claimed
    Column("transfers", Integer, nullable=False),
    Column("releases", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("read_level", Integer),
    Column("outcome", Text, nullable=False),  # "" while it is open
    Index("ix_question_statistics_queue", "domain", "queue", "day"),
    Index("ix_question_statistics_day", "day"),
)

# The key of this month's pseudonyms, destroyed with the month: no old name can be matched to an address.
pseudonym_keys = Table(
    "pseudonym_keys",
    metadata,
    owned_by("library", "libraries.id", key=True),
    Column("period", Text, nullable=False),  # YYYY-MM, UTC
    Column("value", LargeBinary, nullable=False),
    Index("ix_pseudonym_keys_period", "period"),
)
