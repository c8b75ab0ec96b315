"""The telling mutants (telling.toml), and copies of the project in which one at a time is planted.

A mutant is one place in refserver made wrong on purpose, and the tests that must notice. Its text is looked
for in the whole of refserver/, so that a file may be renamed.

Compiled files are made here and not by Python's import: to it two texts of the same length, written within
the same second, look alike.
"""

from __future__ import annotations

import py_compile
import shutil
import tomllib
from pathlib import Path
from typing import Final

from attrs import frozen

__all__ = ["MUTANTS", "PROJECT", "Mutant", "StaleMutant", "Tree"]

PROJECT: Final = Path(__file__).resolve().parents[2]
_COPIED: Final = ("refserver", "tests", "twisted", "certs", "conf", "docs", "pyproject.toml")


@frozen
class Mutant:
    """`text`, which stands exactly once in refserver/, becomes `replacement`; one of `tests` must fail then.

    `tests` are pytest's node ids. `why` says what a server with this fault would do.
    """

    name: str
    text: str
    replacement: str
    why: str
    tests: tuple[str, ...]


MUTANTS: Final = tuple(
    Mutant(**{**entry, "tests": tuple(entry["tests"])})
    for entry in tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["mutant"]
)


class StaleMutant(Exception):
    """The text of a mutant does not stand exactly once in refserver/, or its replacement is no Python."""


class Tree:
    """A copy of the project at `root`, which must not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._changed: tuple[Path, str] | None = None
        root.mkdir()
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        for name in _COPIED:
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=ignored)
            else:
                shutil.copy2(source, root / name)

    def plant(self, mutant: Mutant) -> None:
        """Put a mutant into the copy. Raises `StaleMutant`, with the copy as it was."""
        texts = {file: file.read_text() for file in (self.root / "refserver").rglob("*.py")}
        found = [file for file, text in texts.items() for _ in range(text.count(mutant.text))]
        if len(found) != 1:
            raise StaleMutant(f"its text stands {len(found)} times in refserver/, not once")
        file = found[0]
        self._changed = file, texts[file]
        try:
            _write(file, texts[file].replace(mutant.text, mutant.replacement))
        except py_compile.PyCompileError as error:
            self.restore()
            raise StaleMutant(f"it is no Python: {error.msg}") from None

    def restore(self) -> None:
        """Put the true text back."""
        if self._changed is not None:
            _write(*self._changed)
            self._changed = None


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    py_compile.compile(str(file), doraise=True)
