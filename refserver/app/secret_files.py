"""The files with the secrets of components: reading one, and what is wrong with it.

No message holds what is in a file, nor its name: somebody may have written a secret where the
name should be.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

__all__ = ["KEY", "SHORTEST", "UnusableSecret", "is_open", "is_short", "read_secret"]

KEY: Final = "components.secret_files"
"""Where the configuration names the files."""

SHORTEST: Final = 8  # characters; a shorter secret works, with a warning


class UnusableSecret(ValueError):
    """There is no secret to be had from the file of a component; the text says why."""


def read_secret(domain: str, file: Path) -> str:
    """The secret of the component at `domain`, without the white space around it. Raises `UnusableSecret`."""
    try:
        secret = file.read_text("utf-8").strip()
    except OSError as error:
        raise UnusableSecret(f"the file of {domain} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UnusableSecret(f"the file of {domain} is not UTF-8") from error
    if not secret:
        raise UnusableSecret(f"the file of {domain} is empty")
    return secret


def is_short(secret: str) -> bool:
    """True if the secret can be guessed because of its length."""
    return len(secret) < SHORTEST


def is_open(file: Path) -> bool:
    """Whether everybody on this machine may read or write a file that is there."""
    return bool(file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
