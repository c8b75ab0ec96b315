"""Alembic runs this for each command; it loads the file by its path."""

from __future__ import annotations

from alembic import context

from refserver.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by building it anew
)
with context.begin_transaction():
    context.run_migrations()
