"""refserverctl backup and restore: copies of the database.

A copy is a consistent snapshot in one file, made of a running server too, and put back while none runs. It is
made beside its place, checked, synced, and only then given its name.
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

import click

from refserver.app.commands.context import Context, confirm, pass_context, print_json
from refserver.app.commands.late import errors, migrations
from refserver.app.commands.request import Refused
from refserver.app.data import DataInUse, DataLock, give_to_owner

LOCK_SECONDS: Final = 60.0
_SQLITE: Final = b"SQLite format 3\0"


def back_up(database: Path, copy: Path) -> int:
    """Write a snapshot of a database, which others may be using, to a new file; return its size in bytes.

    The file is its owner's only. Raises `Refused`.
    """
    if copy.exists():
        raise Refused(f"{copy} is there already: name a new file")
    with _draft(copy) as draft:
        _snapshot(database, draft)
        draft.replace(copy)
    _sync(copy.parent)
    return copy.stat().st_size


def put_back(copy: Path, database: Path) -> Path | None:
    """Replace a database that nobody uses by a copy; return where the old one is kept.

    It is None if there was none. A copy made by an earlier refserver is brought to this one's schema. Raises
    `Refused`.
    """
    _check_ours(copy)
    with _draft(database) as draft:
        _snapshot(copy, draft)
        try:
            migrations.bring_to_head(draft)
        except errors.DatabaseTooNew as error:
            raise Refused(f"{copy}: {error}") from error
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
        raise Refused(f"{database} cannot be copied: {error}") from error


def _check_whole(connection: sqlite3.Connection, origin: Path) -> None:
    (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise Refused(f"{origin} is damaged: {result}")


def _check_ours(copy: Path) -> None:
    try:
        with copy.open("rb") as stream:
            is_sqlite = stream.read(len(_SQLITE)) == _SQLITE
        with closing(_connect(copy, "ro")) as connection:
            is_ours = is_sqlite and connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name IN ('alembic_version', 'libraries')"
            ).fetchone() == (2,)
    except OSError as error:
        raise Refused(f"{copy} cannot be read: {error.strerror}") from error
    except sqlite3.Error as error:
        raise Refused(f"{copy} is no backup of refserver: {error}") from error
    if not is_ours:
        raise Refused(f"{copy} is no backup of refserver")


def _kept(database: Path) -> Path | None:
    """Give the database a second name, under which it is kept in one file; return that."""
    if not database.exists():
        return None
    try:
        with closing(_connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise Refused(f"{database} cannot be put aside: {error}; move it elsewhere first") from error
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    kept = database.with_name(f"{database.name}.before-restore-{now}")
    try:
        os.link(database, kept)
    except FileExistsError as error:
        raise Refused(f"{kept} is there already: move it elsewhere") from error
    except OSError:  # a file system without links
        shutil.copy2(database, kept)
    return kept


@contextmanager
def _draft(file: Path) -> Iterator[Path]:
    """An empty file beside `file`, its owner's only; removed unless it was given another name."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise Refused(f"nothing can be written to {file.parent}: {error.strerror}") from error
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


# -- what is typed -------------------------------------------------------------------

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@pass_context
def backup(context: Context, file: Path) -> None:
    """Write a consistent copy of the database to FILE. The server may be running."""
    database = context.caller.database
    if not database.exists():
        raise Refused(f"there is no database {database} yet: is this the right configuration file (-c)?")
    size = back_up(database, file)
    if context.json:
        print_json({"file": str(file), "bytes": size, "done": "backed up"})
    else:
        click.echo(f"{file}: backed up ({size} bytes)")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def restore(context: Context, file: Path, yes: bool) -> None:
    """Replace the database, which is kept beside it, by the copy in FILE. No server may run."""
    database = context.caller.database
    if database.exists():
        confirm(f"Replace {database} by {file}?", yes=yes)
    kept = _restore(file, database)
    if context.json:
        print_json({"file": str(file), "kept": None if kept is None else str(kept), "done": "restored"})
    else:
        click.echo(f"{file}: restored")
        if kept is not None:
            click.echo(f"The database as it was is {kept}: remove it when you need it no more.")


def _restore(file: Path, database: Path) -> Path | None:
    folder = database.parent
    lock = DataLock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.take()
        kept = put_back(file, database)
        give_to_owner(folder)
        return kept
    except DataInUse:
        raise Refused("a refserver is running on this data: stop it first") from None
    except OSError as error:
        raise Refused(
            f"{folder}: {error.strerror}: run refserverctl as the user whose server it is"
        ) from error
    finally:
        lock.release()
