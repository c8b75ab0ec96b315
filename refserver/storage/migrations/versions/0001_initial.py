"""The first schema. Until the first release it follows the tables of the code; from then on it is frozen."""

from __future__ import annotations

from alembic import op

from refserver.storage.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    metadata.create_all(op.get_bind())
