"""Tables of persistent rooms (XEP-0045)."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text

from refserver.storage.schema.base import Timestamp, metadata, owned_by

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
