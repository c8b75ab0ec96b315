"""The table of the server's own keys."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table, Text

from refserver.storage.schema.base import metadata

__all__ = ["secrets"]

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
