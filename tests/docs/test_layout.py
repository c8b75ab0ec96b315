"""The shape of the source, as docs/contributing.md promises it."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "refserver").rglob("*.py"))

LONGEST_FILE, LONGEST_FUNCTION = 600, 60
USUAL_FILE, USUAL_FUNCTION = 200, 10
SHAPELESS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}


def functions(file: Path) -> list[tuple[str, int]]:
    """Names and lengths of the functions of a file, in lines; a migration is a list, however long."""
    if "migrations" in file.parts:
        return []
    tree = ast.parse(file.read_text("utf-8"))
    return [
        (f"{file.relative_to(ROOT)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def lines(file: Path) -> int:
    return len(file.read_text("utf-8").splitlines())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long(file: Path) -> None:
    assert lines(file) <= LONGEST_FILE
    assert [] == [(name, length) for name, length in functions(file) if length > LONGEST_FUNCTION]


def test_the_usual_file_and_function_are_short() -> None:
    assert median(lines(file) for file in FILES) <= USUAL_FILE
    assert median(length for file in FILES for _, length in functions(file)) <= USUAL_FUNCTION


def test_modules_are_named_by_what_they_own() -> None:
    names = {part for file in FILES for part in file.relative_to(ROOT).with_suffix("").parts}
    assert set() == names & SHAPELESS


def test_no_package_is_named_twisted() -> None:
    """It would hide Twisted itself, in a checkout and where the wheel is installed."""
    assert [] == list((ROOT / "twisted").rglob("__init__.py"))
