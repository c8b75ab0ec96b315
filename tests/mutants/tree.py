"""A copy of the source tree, in which one mutant at a time takes the place of the true text.

Compiled files are made here and not by Python's import: to it two texts of the same length,
written within the same second, look alike.
"""

from __future__ import annotations

import py_compile
import shutil
from pathlib import Path
from typing import Final

from tests.mutants.mutant import Mutant

__all__ = ["PROJECT", "StaleMutant", "Tree", "mutated"]

PROJECT: Final = Path(__file__).resolve().parents[2]
_COPIED: Final = ("refserver", "tests", "twisted", "certs", "conf", "pyproject.toml")


class StaleMutant(Exception):
    """The text of a mutant does not stand exactly once in its file, or its replacement is none."""


def mutated(true_text: str, mutant: Mutant) -> str:
    """The file with the mutant in it. Raises `StaleMutant`."""
    count = true_text.count(mutant.text)
    if count != 1:
        raise StaleMutant(f"{mutant.name}: its text stands {count} times in {mutant.file}, not once")
    if mutant.replacement == mutant.text:
        raise StaleMutant("it changes nothing")
    return true_text.replace(mutant.text, mutant.replacement)


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
        file = self.root / mutant.file
        true_text = file.read_text()
        text = mutated(true_text, mutant)
        self._changed = file, true_text
        try:
            _write(file, text)
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
