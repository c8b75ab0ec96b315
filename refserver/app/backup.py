"""Copies of the database: made while a server runs, put back while none does.

A copy is a consistent snapshot in one file, with nothing half-written in it: it is made beside its place,
checked, synced, and only then given its name. Owns the files; who may, and what is said, is refserverctl's.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from refserver.storage import migrations
from refserver.storage.errors import DatabaseTooNew

__all__ = ["BackupError", "back_up", "restore"]

LOCK_SECONDS: Final = 60.0
_SQLITE: Final = b"SQLite format 3\0"


class BackupError(Exception):
    """The copy cannot be made or used; the text is one line that says why. Nothing was changed."""


def back_up(database: Path, copy: Path) -> int:
    """Write a snapshot of a database, which others may be using, to a new file; its size in bytes.

    The file is its owner's only. Raises `BackupError`.
    """
    if copy.exists():
        raise BackupError(f"{copy} is there already: name a new file")
    with _draft(copy) as draft:
        _snapshot(database, draft)
        draft.replace(copy)
    _sync(copy.parent)
    return copy.stat().st_size


def restore(copy: Path, database: Path) -> Path | None:
    """Put a copy in the place of a database that nobody uses; where the old one is kept, None: none was.

    A copy made by an earlier refserver is brought to this one's schema. Raises `BackupError`.
    """
    _check_ours(copy)
    with _draft(database) as draft:
        _snapshot(copy, draft)
        try:
            migrations.bring_to_head(draft)
        except DatabaseTooNew as error:
            raise BackupError(f"{copy}: {error}") from error
        kept = _kept(database)
        _sync(draft)
        draft.replace(database)
    _sync(database.parent)
    return kept


def _snapshot(database: Path, draft: Path) -> None:
    try:
        with closing(_connect(database)) as source:
            source.execute("VACUUM INTO ?", (str(draft),))
        with closing(_connect(draft)) as made:
            _check_whole(made, database)
        _sync(draft)
    except (sqlite3.Error, OSError) as error:
        raise BackupError(f"{database} cannot be copied: {error}") from error


def _check_whole(connection: sqlite3.Connection, origin: Path) -> None:
    (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise BackupError(f"{origin} is damaged: {result}")


def _check_ours(copy: Path) -> None:
    try:
        with copy.open("rb") as stream:
            is_sqlite = stream.read(len(_SQLITE)) == _SQLITE
        with closing(_connect(copy, "ro")) as connection:
            is_ours = is_sqlite and connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name IN ('alembic_version', 'libraries')"
            ).fetchone() == (2,)
    except OSError as error:
        raise BackupError(f"{copy} cannot be read: {error.strerror}") from error
    except sqlite3.Error as error:
        raise BackupError(f"{copy} is no backup of refserver: {error}") from error
    if not is_ours:
        raise BackupError(f"{copy} is no backup of refserver")


def _kept(database: Path) -> Path | None:
    """Keep the database under another name, too, whole in one file."""
    if not database.exists():
        return None
    try:
        with closing(_connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise BackupError(f"{database} cannot be put aside: {error}; move it elsewhere first") from error
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    kept = database.with_name(f"{database.name}.before-restore-{now}")
    try:
        os.link(database, kept)
    except FileExistsError as error:
        raise BackupError(f"{kept} is there already: move it elsewhere") from error
    except OSError:  # a file system without links
        shutil.copy2(database, kept)
    return kept


@contextmanager
def _draft(file: Path) -> Iterator[Path]:
    """An empty file beside `file`, its owner's only; it goes unless it was given another name."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise BackupError(f"nothing can be written to {file.parent}: {error.strerror}") from error
    try:
        yield draft
    finally:
        for rest in (draft, *(draft.with_name(draft.name + end) for end in ("-wal", "-shm", "-journal"))):
            rest.unlink(missing_ok=True)


def _connect(file: Path, mode: str = "rw") -> sqlite3.Connection:
    uri = f"file:{quote(str(file.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
