"""Tables of whom libraries let in and keep out, and of what their desks reported as spam."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from refserver.storage.schema.base import Timestamp, metadata, owned_by

_EXPIRES = text("expires_at IS NOT NULL")

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
    Index("ix_sender_rules_expires_at", "expires_at", sqlite_where=_EXPIRES, postgresql_where=_EXPIRES),
)

# Libraries that let in nobody but whom they allow.
allow_only_libraries = Table(
    "allow_only_libraries",
    metadata,
    owned_by("library", "libraries.id", key=True),
)

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
