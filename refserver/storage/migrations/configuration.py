"""Alembic's configuration, made in code: an installed refserver has no alembic.ini."""

from __future__ import annotations

from alembic.config import Config
from sqlalchemy import Connection

from refserver.storage import migrations

__all__ = ["configuration"]


def configuration(connection: Connection) -> Config:
    """A configuration that runs in the transaction of `connection`."""
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
