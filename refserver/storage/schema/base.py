"""Shared by all tables: the metadata, the naming of constraints, the types of columns."""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Integer, MetaData

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
