"""How refserverctl gets a verb done: by the running server if there is one, else by itself.

A running server has the data locked and listens on a socket in the data folder. Without one, this process
takes the lock, opens the database and runs the same transaction (store.py).
"""

from __future__ import annotations

import socket
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from refserver.app.data_folder import DATABASE, SOCKET
from refserver.app.data_lock import DataInUse, DataLock
from refserver.app.settings import Settings
from refserver.app.unix_path import UnixPath
from refserver.app.verbs import Refused, Verb
from refserver.app.verbs.wish import Wish, read_answer

if TYPE_CHECKING:
    from refserver.app.data_folder import OpenData

__all__ = ["Caller"]

ANSWER_SECONDS: Final = 60.0
"""How long a running server may take for one verb."""
BETWEEN_SECONDS: Final = 15.0
"""How long a server may take to start or to end: then it has the lock and no socket."""
PAUSE_SECONDS: Final = 0.1


@frozen
class Caller:
    """Gets verbs done on the data that `settings` name. A wish is as good as the verb that it asks for."""

    settings: Settings

    def call(self, wish: Wish | Verb) -> Any:
        """The verb's data, as JSON has them. Raises `Refused`."""
        deadline = time.monotonic() + BETWEEN_SECONDS
        while True:
            line = self._ask_server(wish)
            if line is not None:
                return read_answer(line)
            try:
                return self._do(wish)
            except DataInUse:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"a process holds the data in {self.settings.server.data} and does not answer: "
                        "is a refserver just starting or ending? Try again, or look for its process"
                    ) from None
                time.sleep(PAUSE_SECONDS)

    def ask_running(self, wish: Wish | Verb) -> Any:
        """The verb's data from a running server; None if none runs. Raises `Refused`."""
        line = self._ask_server(wish)
        return None if line is None else read_answer(line)

    def look(self, wish: Wish | Verb) -> Any:
        """The data of a verb that only reads, from a running server or the store, which stays as it is.

        None if there is no store yet, or one of another version's. Raises `Refused`.
        """
        data = self.ask_running(wish)
        if data is not None:
            return data
        from refserver.app.commandline import store

        return store.look(_verb(wish), self.database)

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
        from refserver.app.commandline import store

        return store.open_data(self.settings.server.data)

    def _do(self, wish: Wish | Verb) -> Any:
        from refserver.app.commandline import store

        return store.do(_verb(wish), self.settings.server.data)

    def _ask_server(self, wish: Wish | Verb) -> bytes | None:
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
                connection.sendall(_line(wish))
                return _read_line(connection)
            except OSError as error:
                raise Refused(
                    f"the server did not answer ({error.strerror or error}): "
                    "ask it for its status, and look into its log, before you try again"
                ) from error


def _line(wish: Wish | Verb) -> bytes:
    if isinstance(wish, Wish):
        return wish.line
    from refserver.app.verbs.wire import encode  # late: all verbs, and SQLAlchemy with them

    return encode(wish)


def _verb(wish: Wish | Verb) -> Verb:
    """What the wish asks for. Raises `Refused`."""
    if isinstance(wish, Verb):
        return wish
    from refserver.app.verbs.wire import decode  # late, as above

    return decode(wish.line)


def _read_line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("it went away")
    return line
