"""The shape of the source, as docs/contributing.md promises it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "refserver").rglob("*.py"))

SHAPELESS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}


def test_modules_are_named_by_what_they_own() -> None:
    names = {part for file in FILES for part in file.relative_to(ROOT).with_suffix("").parts}
    assert set() == names & SHAPELESS


def test_no_package_is_named_twisted() -> None:
    """It would hide Twisted itself, in a checkout and where the wheel is installed."""
    assert [] == list((ROOT / "twisted").rglob("__init__.py"))
