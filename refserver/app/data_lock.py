"""The lock on a data folder: one process at a time works on the data."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

__all__ = ["DataInUse", "DataLock"]


class DataInUse(RuntimeError):
    """Another refserver works on the same data."""


class DataLock:
    """Keeps a second server away from a data folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises `DataInUse`. The kernel gives the lock back however the process ends."""
        self._file = self._path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataInUse(f"another refserver is running with the data in {self._path.parent}") from error

    def release(self) -> None:
        """Let others have the data."""
        if self._file is not None:
            self._file.close()
            self._file = None
