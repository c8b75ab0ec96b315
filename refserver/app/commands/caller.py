"""How refserverctl has a request executed: by the running server if there is one, else by itself.

A running server has the data locked and listens on a socket in the data folder. Without one, this process
takes the lock, opens the database and executes the same transaction.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from refserver.app.commands.request import Refused, Request, ServerRequest, encode, late, read_answer, to_json
from refserver.app.data import DATABASE, SOCKET, DataInUse, DataLock, OpenData, UnixPath
from refserver.app.settings import Settings

if TYPE_CHECKING:
    from refserver.storage import migrations, sqlite
else:
    migrations, sqlite = late("refserver.storage", "migrations", "sqlite")

ANSWER_SECONDS: Final = 60.0  # for one request to a running server
STARTING_SECONDS: Final = 15.0  # a server that starts or stops has the lock and no socket
PAUSE_SECONDS: Final = 0.1


@frozen
class Caller:
    """Has requests executed on the data that `settings` name."""

    settings: Settings

    def call(self, request: Request) -> Any:
        """Return the request's data, as JSON has them. Raises `Refused`."""
        deadline = time.monotonic() + STARTING_SECONDS
        while True:
            line = self._ask_server(request)
            if line is not None:
                return read_answer(line)
            try:
                return self._execute(request)
            except DataInUse:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"a process holds the data in {self.folder} and does not answer: "
                        "is a refserver just starting or ending? Try again, or look for its process"
                    ) from None
                time.sleep(PAUSE_SECONDS)

    def ask_running(self, request: Request) -> Any:
        """Return the request's data from a running server; None if none runs. Raises `Refused`."""
        line = self._ask_server(request)
        return None if line is None else read_answer(line)

    def look(self, request: Request) -> Any:
        """Return the data of a request that only reads, from a running server or the unchanged store.

        None if there is no store yet, or one of another version. Raises `Refused`.
        """
        data = self.ask_running(request)
        if data is not None or not self.database.exists():
            return data
        with _database_errors_refused(f"the database {self.database} cannot be read"):
            engine = sqlite.read_engine(self.database)
            with closing(engine.connect()) as connection:
                if migrations.current(connection) == migrations.head():
                    data = to_json(request.run(connection, time.time()).data)
            engine.dispose()
        return data

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.settings.server.data

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.folder / DATABASE

    @property
    def has_data(self) -> bool:
        """True if there is a database, or the socket of a running server."""
        return self.database.exists() or (self.folder / SOCKET).exists()

    def is_locked(self) -> bool:
        """Return True if some process works on the data."""
        lock = DataLock(self.folder)
        try:
            lock.take()
        except DataInUse:
            return True
        except OSError:
            return False
        lock.release()
        return False

    def open_data(self) -> OpenData:
        """Open and lock the data for this process alone. Raises `DataInUse` or `Refused`."""
        with _database_errors_refused(f"the database in {self.folder} cannot be used"):
            try:
                return OpenData.at(self.folder)
            except OSError as error:
                raise Refused(
                    f"the data in {self.folder} cannot be opened ({error.strerror}): "
                    "run refserverctl as the user whose server it is, or as root"
                ) from error

    def _execute(self, request: Request) -> Any:
        """Execute a request in this process. Raises `DataInUse` or `Refused`."""
        if isinstance(request, ServerRequest):
            if self.is_locked():
                raise DataInUse
            raise Refused(f"{request.words} needs a running server, and none runs: start it, and ask again")
        data = self.open_data()
        try:
            with _database_errors_refused("this failed in the database"):
                work = data.database.write_now if request.writes else data.database.read_now
                return to_json(work(request.run, time.time()).data)
        finally:
            data.close()

    def _ask_server(self, request: Request) -> bytes | None:
        """Return the line that a running server answers; None if none is there. Raises `Refused`."""
        path = self.folder / SOCKET
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
                connection.sendall(encode(request))
                return _read_line(connection)
            except OSError as error:
                raise Refused(
                    f"the server did not answer ({error.strerror or error}): "
                    "ask it for its status, and look into its log, before you try again"
                ) from error


def _read_line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("it went away")
    return line


@contextmanager
def _database_errors_refused(what: str) -> Iterator[None]:
    """Turn the database's errors into refusals, with the driver's own words on one line."""
    import sqlite3

    from sqlalchemy.exc import SQLAlchemyError  # late: it takes long to import

    from refserver.storage.errors import StorageError

    try:
        yield
    except (StorageError, SQLAlchemyError, sqlite3.Error) as error:
        raise Refused(f"{what}: {getattr(error, 'orig', None) or error}") from error
