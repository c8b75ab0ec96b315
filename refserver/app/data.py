"""The data folder: the names in it, the lock on it, and how refserverctl opens it while no server runs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from attrs import define, field, frozen

if TYPE_CHECKING:
    from refserver.storage.engine import Database

DATABASE: Final = "refserver.sqlite"
"""The database's name."""
SOCKET: Final = "control.sock"
"""The name of the socket on which a running server takes requests."""

LONGEST_SOCKET_PATH: Final = 107  # bytes (unix(7))


class DataInUse(RuntimeError):
    """Another refserver works on the same data."""


class DataLock:
    """The lock on a data folder: one process at a time works on the data."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock; the kernel gives it back however the process ends. Raises `DataInUse` or OSError."""
        self._file = self._path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataInUse(f"another refserver is running with the data in {self._path.parent}") from error

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


@frozen
class OpenData:
    """The data, locked for this process."""

    lock: DataLock
    database: Database

    @classmethod
    def at(cls, folder: Path) -> OpenData:
        """Lock the folder and open the database, and make both if need be. Raises as `Storage.open` does."""
        from refserver.storage.engine import Database  # late: SQLAlchemy takes long to import

        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = DataLock(folder)
        lock.take()
        try:
            database = Database.open(folder / DATABASE)
            give_to_owner(folder)
        except BaseException:
            lock.release()
            raise
        return cls(lock, database)

    def close(self) -> None:
        """Close the database and give the lock back."""
        self.database.close_now()
        self.lock.release()


def give_to_owner(folder: Path) -> None:
    """Give files that root made in another user's folder to that user, whose server must open them."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    if owner.st_uid:
        for file in folder.iterdir():
            if file.name == "lock" or file.name.startswith(DATABASE):
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)


@define(eq=False)
class UnixPath:
    """A name for the socket at `path` to bind or connect to; close it when the name is needed no more.

    If the path is longer than a socket's address holds, the folder is named by a descriptor of it:
    /proc/self/fd/N/control.sock (Linux).
    """

    path: Path
    _folder: int | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """A path short enough. Raises OSError if the folder cannot be opened."""
        if len(os.fsencode(self.path)) <= LONGEST_SOCKET_PATH:
            return str(self.path)
        if self._folder is None:
            self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self.path.name}"

    def close(self) -> None:
        """Close the descriptor."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
