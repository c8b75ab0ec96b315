"""Tables of queues: who staffs them, and what they say again and again."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text, UniqueConstraint

from refserver.storage.schema.base import Timestamp, metadata, owned_by

queues = Table(
    "queues",
    metadata,
    Column("id", Integer, primary_key=True),
    owned_by("library", "libraries.id"),
    Column("localpart", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("hours", Text, nullable=False),  # refserver/reference/hours.py
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
