"""How refserverctl does a verb itself, where no server runs: the same transaction, in this process.

Imported only then: SQLAlchemy takes longer to import than a running server takes to answer.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from refserver.app.data_folder import OpenData
from refserver.app.data_lock import DataLock
from refserver.app.verbs import LiveVerb, Refused, Verb
from refserver.app.verbs.plain import plain
from refserver.storage import migrations, sqlite
from refserver.storage.errors import StorageError

__all__ = ["do", "look", "open_data"]

_DATABASE_ERRORS: Final = (StorageError, SQLAlchemyError, sqlite3.Error)


def open_data(folder: Path) -> OpenData:
    """The data in `folder`, locked, for this process alone. Raises `DataInUse` or `Refused`."""
    try:
        return OpenData.at(folder)
    except _DATABASE_ERRORS as error:
        raise Refused(f"the database in {folder} cannot be used: {_reason(error)}") from error
    except OSError as error:
        raise Refused(
            f"the data in {folder} cannot be opened ({error.strerror}): "
            "run refserverctl as the user whose server it is, or as root"
        ) from error


def do(verb: Verb, folder: Path) -> Any:
    """The verb's data. Raises `DataInUse` or `Refused`."""
    if isinstance(verb, LiveVerb):
        _make_sure_that_nobody_is_there(folder)
        raise Refused(f"{verb.verb} needs a running server, and none runs: start it, and ask again")
    data = open_data(folder)
    try:
        work = data.database.write_now if verb.writes else data.database.read_now
        return plain(work(verb.run, time.time()).data)
    except _DATABASE_ERRORS as error:
        raise Refused(f"this failed in the database: {_reason(error)}") from error
    finally:
        data.close()


def _make_sure_that_nobody_is_there(folder: Path) -> None:
    """Raises `DataInUse` where a server is just starting or ending."""
    lock = DataLock(folder)
    try:
        lock.take()
    except OSError:  # there is no folder yet, or it is not ours: then no server of ours is there
        return
    lock.release()


def look(verb: Verb, database: Path) -> Any:
    """The data of a verb that only reads, from a database that stays as it is, whoever has it open.

    None if there is none yet, or one of another version's. Raises `Refused`.
    """
    if not database.exists():
        return None
    engine = sqlite.read_engine(database)
    try:
        with engine.connect() as connection:
            if migrations.current(connection) != migrations.head():
                return None
            return plain(verb.run(connection, time.time()).data)
    except _DATABASE_ERRORS as error:
        raise Refused(f"the database {database} cannot be read: {_reason(error)}") from error
    finally:
        engine.dispose()


def _reason(error: Exception) -> str:
    """The driver's own words; what SQLAlchemy adds fills several lines."""
    return str(getattr(error, "orig", None) or error)
