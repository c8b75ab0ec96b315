"""Tables of libraries and accounts, and of what belongs to one account."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table, Text, false

from refserver.storage.schema.base import Timestamp, metadata, owned_by

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
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
