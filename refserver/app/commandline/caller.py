"""How refserverctl gets a verb done: by the running server if there is one, else by itself.

A running server has the data locked and listens on a socket in the data folder. Without one, this process
takes the lock, opens the database and runs the same transaction.
"""

from __future__ import annotations

import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from sqlalchemy.exc import SQLAlchemyError

from refserver.app.data_folder import DATABASE, SOCKET, OpenData
from refserver.app.server import DataInUse, DataLock
from refserver.app.settings import Settings
from refserver.app.unix_path import UnixPath
from refserver.app.verbs import Refused, Verb
from refserver.app.verbs.wire import encode, plain, read_answer
from refserver.storage import migrations, sqlite
from refserver.storage.errors import StorageError

__all__ = ["Caller"]

ANSWER_SECONDS: Final = 60.0
"""How long a running server may take for one verb."""
BETWEEN_SECONDS: Final = 15.0
"""How long a server may take to start or to end: then it has the lock and no socket."""
PAUSE_SECONDS: Final = 0.1

_DATABASE_ERRORS: Final = (StorageError, SQLAlchemyError, sqlite3.Error)


@frozen
class Caller:
    """Gets verbs done on the data that `settings` name."""

    settings: Settings

    def call(self, verb: Verb) -> Any:
        """The verb's data, as JSON has them. Raises `Refused`."""
        deadline = time.monotonic() + BETWEEN_SECONDS
        while True:
            line = self._ask_server(verb)
            if line is not None:
                return read_answer(line)
            try:
                data = self.open_data()
            except DataInUse:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"a process holds the data in {self.settings.server.data} and does not answer: "
                        "is a refserver just starting or ending? Try again, or look for its process"
                    ) from None
                time.sleep(PAUSE_SECONDS)
            else:
                return _run(verb, data)

    def ask_running(self, verb: Verb) -> Any:
        """The verb's data from a running server; None if none runs. Raises `Refused`."""
        line = self._ask_server(verb)
        return None if line is None else read_answer(line)

    def look(self, verb: Verb) -> Any:
        """The data of a verb that only reads, from a running server or the store, which stays as it is.

        None if there is no store yet, or one of another version's. Raises `Refused`.
        """
        data = self.ask_running(verb)
        return self._read_store(verb) if data is None else data

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.settings.server.data / DATABASE

    def is_locked(self) -> bool:
        """Whether some process works on the data."""
        lock = DataLock(self.settings.server.data)
        try:
            lock.take()
        except DataInUse:
            return True
        except OSError:
            return False
        lock.release()
        return False

    def open_data(self) -> OpenData:
        """The data, locked, for this process alone. Raises `DataInUse` or `Refused`."""
        folder = self.settings.server.data
        try:
            return OpenData.at(folder)
        except _DATABASE_ERRORS as error:
            raise Refused(f"the database in {folder} cannot be used: {_reason(error)}") from error
        except OSError as error:
            raise Refused(
                f"the data in {folder} cannot be opened ({error.strerror}): "
                "run refserverctl as the user whose server it is, or as root"
            ) from error

    def _read_store(self, verb: Verb) -> Any:
        if not self.database.exists():
            return None
        engine = sqlite.read_engine(self.database)
        try:
            with engine.connect() as connection:
                if migrations.current(connection) != migrations.head():
                    return None
                return plain(verb.run(connection, time.time()).data)
        except _DATABASE_ERRORS as error:
            raise Refused(f"the database {self.database} cannot be read: {_reason(error)}") from error
        finally:
            engine.dispose()

    def _ask_server(self, verb: Verb) -> bytes | None:
        """The line that a running server answers; None if none is there. Raises `Refused`."""
        path = self.settings.server.data / SOCKET
        with closing(UnixPath(path)) as address, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            try:
                connection.connect(address.name)
            except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
                return None
            except OSError as error:
                raise Refused(
                    f"the server cannot be reached through {path} ({error.strerror}): "
                    "run refserverctl as the user whose server it is, or as root"
                ) from error
            try:
                connection.sendall(encode(verb))
                return _read_line(connection)
            except OSError as error:
                raise Refused(
                    f"the server did not answer ({error.strerror or error}): "
                    "ask it for its status, and look into its log, before you try again"
                ) from error


def _run(verb: Verb, data: OpenData) -> Any:
    try:
        work = data.database.write_now if verb.writes else data.database.read_now
        return plain(work(verb.run, time.time()).data)
    except _DATABASE_ERRORS as error:
        raise Refused(f"this failed in the database: {_reason(error)}") from error
    finally:
        data.close()


def _read_line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("it went away")
    return line


def _reason(error: Exception) -> str:
    """The driver's own words; what SQLAlchemy adds fills several lines."""
    return str(getattr(error, "orig", None) or error)
