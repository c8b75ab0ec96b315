"""The tables, all in one `metadata`. After the first release a change needs a migration."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Unix seconds, UTC, as `clock.seconds()` gives them; a double holds them to the microsecond.
Timestamp: Double[float] = Double()


def owned_by(name: str, target: str, *, key: bool = False) -> Column[int]:
    """A column `name` referring to `target` ("table.column"); the row goes with its owner.

    With `key` it is (part of) the primary key.
    """
    return Column(
        name,
        Integer,
        ForeignKey(target, ondelete="CASCADE"),
        primary_key=key,
        autoincrement=False,
        nullable=False,
    )


def _where(condition: str) -> dict[str, Any]:
    """The arguments of an index of those rows only for which `condition` holds."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# -- libraries, accounts, and what belongs to one account ----------------------

libraries = Table(
    "libraries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("domain", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("last_number", Integer, nullable=False, server_default="0"),  # of the library's questions
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("library", "libraries.id"),
    Column("jid", Text, nullable=False, unique=True),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("created", Timestamp, nullable=False),
    Column("last_logout", Timestamp),
    Column("last_status", Text, nullable=False, server_default=""),
    Column("roster_version", Integer, nullable=False),
    Index("ix_accounts_library", "library"),
)

verifiers = Table(
    "verifiers",
    metadata,
    owned_by("account", "accounts.id", key=True),
    Column("hash_name", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("stored_key", LargeBinary, nullable=False),
    Column("server_key", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

roster_items = Table(
    "roster_items",
    metadata,
    owned_by("account", "accounts.id", key=True),
    Column("contact", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("subscription", Text, nullable=False),
    Column("ask", Boolean, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("groups", Text, nullable=False),  # JSON: a sorted list of strings
    Column("pending_in", LargeBinary),  # the subscription request, until it is answered
    Column("listed", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Index("ix_roster_items_contact", "contact"),  # who knows an account that is removed
)

roster_removals = Table(
    "roster_removals",
    metadata,
    owned_by("account", "accounts.id", key=True),
    Column("contact", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    sqlite_with_rowid=False,
)

offline_messages = Table(
    "offline_messages",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("account", "accounts.id"),
    Column("received_at", Timestamp, nullable=False),
    Column("stanza", LargeBinary, nullable=False),
    Index("ix_offline_messages_account", "account"),
    sqlite_autoincrement=True,  # an id is never used twice: deleting by id twice must not hit another message
)

vcards = Table(
    "vcards",
    metadata,
    owned_by("account", "accounts.id", key=True),
    Column("element", LargeBinary, nullable=False),
)

private_elements = Table(
    "private_elements",
    metadata,
    owned_by("account", "accounts.id", key=True),
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("element", LargeBinary, nullable=False),
)

# The server's own keys.
secrets = Table(
    "secrets", metadata, Column("name", Text, primary_key=True), Column("value", LargeBinary, nullable=False)
)


# -- whom libraries let in and keep out, and what their desks reported as spam -

# One rule a sender and library. Whom a desk has blocked is not named, only recognised: by a keyed hash.
sender_rules = Table(
    "sender_rules",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("library", Integer, ForeignKey("libraries.id", ondelete="CASCADE")),  # NULL: in every library
    Column("domain", Text, nullable=False),
    Column("localpart", Text, nullable=False),  # "": the whole domain, or whom `fingerprint` recognises
    Column("fingerprint", Text, nullable=False),  # of a bare JID, or ""
    Column("allowed", Boolean, nullable=False),  # else blocked
    Column("reason", Text, nullable=False),
    Column("librarian", Text, nullable=False),  # who blocked it at the desk; "": an operator
    Column("queue", Text, nullable=False),  # with `number`: the question in which it was blocked, or ""
    Column("number", Integer),
    Column("made_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp),
    UniqueConstraint("library", "domain", "localpart", "fingerprint"),
    Index("ix_sender_rules_question", "library", "queue", "number"),
    Index("ix_sender_rules_expires_at", "expires_at", **_where("expires_at IS NOT NULL")),
)

# Libraries that let in nobody but whom they allow.
allow_only_libraries = Table("allow_only_libraries", metadata, owned_by("library", "libraries.id", key=True))

spam_reports = Table(
    "spam_reports",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("library", "libraries.id"),
    Column("queue", Text, nullable=False),  # its localpart: a report outlives the queue
    Column("number", Integer, nullable=False),
    Column("reported_at", Timestamp, nullable=False),
    Column("librarian", Text, nullable=False),
    Column("domain", Text, nullable=False),  # the sender's server; nothing of the sender
    Index("ix_spam_reports_library", "library", "reported_at"),
    Index("ix_spam_reports_reported_at", "reported_at"),
)


# -- queues: who staffs them, and what they say again and again ----------------

queues = Table(
    "queues",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("library", "libraries.id"),
    Column("localpart", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("hours", Text, nullable=False),  # refserver/reference/settings.py
    Column("settings", Text, nullable=False),  # JSON object
    UniqueConstraint("library", "localpart"),
)

librarians = Table(
    "librarians",
    metadata,
    owned_by("queue", "queues.id", key=True),
    Column("jid", Text, primary_key=True),
    Column("nick", Text, nullable=False),
    Column("max_chats", Integer, nullable=False),
    UniqueConstraint("queue", "nick"),
    Index("ix_librarians_jid", "jid"),
)

canned_replies = Table(
    "canned_replies",
    metadata,
    owned_by("queue", "queues.id", key=True),
    Column("name", Text, primary_key=True),
    Column("text", Text, nullable=False),
)

# Whom the queue's presence goes to: contacts by their own choice (RFC 6121 3.1), until they leave.
queue_subscribers = Table(
    "queue_subscribers",
    metadata,
    owned_by("queue", "queues.id", key=True),
    Column("jid", Text, primary_key=True),
    Column("since", Timestamp, nullable=False),
    Index("ix_queue_subscribers_jid", "jid"),
    sqlite_with_rowid=False,
)


# -- questions, what was said in them, and what is counted about them ----------

_OPEN = _where("patron IS NOT NULL AND state IN ('waiting', 'offered', 'claimed', 'parked')")

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
    Index("ix_questions_due", "due", **_where("due IS NOT NULL")),
    Index("ix_questions_pseudonym", "library", "pseudonym", **_where("pseudonym <> ''")),
    # One conversation a patron and queue at a time.
    Index("uq_questions_open", "queue", "patron", unique=True, **_OPEN),
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
    Index("ix_question_messages_to_do", "question", **_where("relay = 0")),
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


# -- persistent rooms (XEP-0045) -----------------------------------------------

rooms = Table(
    "rooms",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("service", Text, nullable=False),  # the domainpart: rooms.DOMAIN
    Column("jid", Text, nullable=False, unique=True),
    Column("creator", Text, nullable=False, server_default=""),  # bare JID; "" once that account has ended
    Column("config", Text, nullable=False),  # JSON object
    Column("subject", Text),
    Column("subject_nick", Text, nullable=False, server_default=""),
    Column("subject_at", Timestamp),
    Index("ix_rooms_service", "service"),
    Index("ix_rooms_creator", "creator"),
)

room_affiliations = Table(
    "room_affiliations",
    metadata,
    owned_by("room", "rooms.id", key=True),
    Column("jid", Text, primary_key=True),
    Column("affiliation", Text, nullable=False),
    Column("nick", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_room_affiliations_jid", "jid"),
    sqlite_with_rowid=False,
)

room_history = Table(
    "room_history",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("room", "rooms.id"),
    Column("sent_at", Timestamp, nullable=False),
    Column("stanza", LargeBinary, nullable=False),
    Index("ix_room_history_room_id", "room", "id"),
    sqlite_autoincrement=True,
)
