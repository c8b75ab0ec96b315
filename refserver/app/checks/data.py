"""Checks of the data folder and the database in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from refserver.app.checks.finding import Finding
from refserver.storage import migrations, sqlite

__all__ = ["check_data"]

LEAST_FREE: Final = 64 * 1024 * 1024  # bytes

_ABOUT_FOLDER, _ABOUT_DATABASE = "data", "database"


def check_data(database: Path) -> Iterator[Finding]:
    """Findings on a database's file and its folder, as this process' user sees them."""
    folder = database.parent
    if not folder.exists():
        yield _without_folder(folder)
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding.wrong(
            _ABOUT_FOLDER,
            f"{folder} is not ours to write to",
            "give it to the user the server runs as (chown), and run refserverctl as that user or as root",
        )
        return
    if folder.stat().st_mode & 0o002:
        yield Finding.wrong(_ABOUT_FOLDER, f"everybody may write to {folder}", f"chmod o-w {folder}")
    elif shutil.disk_usage(folder).free < LEAST_FREE:
        yield Finding.wrong(_ABOUT_FOLDER, f"the disk under {folder} is full", "make room on it")
    else:
        yield Finding.good(_ABOUT_FOLDER, f"{folder} can be written to")
    yield _database(database)


def _without_folder(folder: Path) -> Finding:
    above = next(parent for parent in folder.parents if parent.exists())
    if os.access(above, os.W_OK | os.X_OK):
        return Finding.note(_ABOUT_FOLDER, f"{folder} is not there yet: the first start makes it")
    return Finding.wrong(
        _ABOUT_FOLDER,
        f"{folder} is not there, and {above} is not ours to write to",
        f"make {folder} for the user the server runs as, or set server.data to another folder",
    )


def _database(database: Path) -> Finding:
    if not database.exists():
        return Finding.note(_ABOUT_DATABASE, f"{database} is not there yet: the first start makes it")
    if database.stat().st_mode & 0o077:
        return Finding.wrong(
            _ABOUT_DATABASE, f"others than its owner may read {database}", f"chmod 600 {database}"
        )
    try:
        found, known = _revision(database), migrations.head()
    except SQLAlchemyError:
        return Finding.wrong(
            _ABOUT_DATABASE,
            f"{database} cannot be read as a database",
            "put a backup in its place: refserverctl restore FILE",
        )
    if found is None or found < known:
        return Finding.note(_ABOUT_DATABASE, f"schema {found or 'none'}, the next start brings it to {known}")
    if found > known:
        return Finding.wrong(
            _ABOUT_DATABASE,
            f"schema {found}, written by a newer refserver; this one knows {known}",
            "install the refserver that wrote it, or a newer one",
        )
    return Finding.good(_ABOUT_DATABASE, f"{database}, schema {found}")


def _revision(database: Path) -> str | None:
    engine = sqlite.read_engine(database)
    try:
        with engine.connect() as connection:
            return migrations.current(connection)
    finally:
        engine.dispose()
