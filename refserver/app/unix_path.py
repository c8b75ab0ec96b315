"""Unix sockets under paths of any length.

A socket's address holds 107 bytes of path (unix(7)), and data folders may lie deeper. On Linux the folder is
then named by a descriptor of it: /proc/self/fd/N/control.sock.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from attrs import define, field

__all__ = ["UnixPath"]

LONGEST: Final = 107


@define(eq=False)
class UnixPath:
    """How to name the socket at `path` when binding or connecting; closed when the name is needed no more."""

    path: Path
    _folder: int | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """A path short enough. Raises OSError if the folder cannot be opened."""
        if len(os.fsencode(self.path)) <= LONGEST:
            return str(self.path)
        if self._folder is None:
            self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self.path.name}"

    def close(self) -> None:
        """Give the descriptor back."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
