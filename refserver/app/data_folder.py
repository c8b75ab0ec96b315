"""The data folder as refserverctl finds it: the names in it, and how it is had alone while no server runs.

The server's own way into it is `parts.Storage`; this one needs none of the server's parts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from refserver.app.data_lock import DataLock

if TYPE_CHECKING:
    from refserver.storage.engine import Database

__all__ = ["DATABASE", "SOCKET", "OpenData", "give_to_owner"]

DATABASE: Final = "refserver.sqlite"
"""The database's name."""
SOCKET: Final = "control.sock"
"""The name of the socket on which a running server takes verbs."""


@frozen
class OpenData:
    """The data, locked for this process."""

    lock: DataLock
    database: Database

    @classmethod
    def at(cls, folder: Path) -> OpenData:
        """Make the folder and the database if need be, lock them and open. Raises as `Storage.open` does."""
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
        """Let others have it."""
        self.database.close_now()
        self.lock.release()


def give_to_owner(folder: Path) -> None:
    """What root has made in another user's folder becomes that user's: else no server could open it."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    if owner.st_uid:
        for file in folder.iterdir():
            if file.name == "lock" or file.name.startswith(DATABASE):
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
