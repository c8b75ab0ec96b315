"""The checks of `refserverctl check`: one module an area, each with functions that return findings.

Checks change nothing. A finding says in plain words what is, and, where it is wrong, how to mend it.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from pwd import getpwuid
from typing import Final

from attrs import frozen

READ: Final = os.R_OK
WRITE: Final = os.W_OK
ENTER: Final = os.X_OK


class Result(StrEnum):
    """GOOD needs nothing, NOTE is worth knowing, WRONG keeps something from working."""

    GOOD = "good"
    NOTE = "note"
    WRONG = "wrong"


@frozen
class Finding:
    """One thing looked at: about what, what was found, and how to mend it ("" where nothing is to do)."""

    result: Result
    about: str
    found: str
    mend: str = ""

    @classmethod
    def good(cls, about: str, found: str) -> Finding:
        """It is as it should be."""
        return cls(Result.GOOD, about, found)

    @classmethod
    def note(cls, about: str, found: str, mend: str = "") -> Finding:
        """It works, but is worth knowing."""
        return cls(Result.NOTE, about, found, mend)

    @classmethod
    def wrong(cls, about: str, found: str, mend: str) -> Finding:
        """It does not work."""
        return cls(Result.WRONG, about, found, mend)


@frozen
class ServerUser:
    """The user that the server runs as, and what the modes of files let that user do.

    Checks judge by this user, whoever runs them: root may do everything, and the server may not.
    """

    name: str
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, folder: Path) -> ServerUser:
        """Return the owner of the data folder, or this process' user if there is no such folder yet."""
        uid = folder.stat().st_uid if folder.exists() else os.geteuid()
        try:
            known = getpwuid(uid)
        except KeyError:
            return cls(str(uid), uid, frozenset())
        return cls(known.pw_name, uid, frozenset(os.getgrouplist(known.pw_name, known.pw_gid)))

    def may(self, path: Path, wanted: int) -> bool:
        """Return True if nothing keeps this user from doing what is `wanted`: READ, WRITE, ENTER together."""
        return self.obstacle(path, wanted) is None

    def obstacle(self, path: Path, wanted: int) -> Path | None:
        """Return the file or folder that keeps this user from doing what is `wanted` with `path`."""
        above = dict.fromkeys((*reversed(path.absolute().parents), *reversed(path.resolve().parents)))
        for folder in above:
            if not self._has(folder, ENTER):
                return folder
        return None if self._has(path, wanted) else path

    def _has(self, path: Path, wanted: int) -> bool:
        if self.uid == os.geteuid():
            return os.access(path, wanted)
        try:
            found = path.stat()
        except OSError:
            return False
        if self.uid == 0:
            return True
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in self.groups else 0
        return (found.st_mode >> shift) & wanted == wanted
