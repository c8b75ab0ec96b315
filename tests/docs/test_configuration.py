"""conf/refserver.toml is the reference: every key, with its default, explained."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from attrs import fields

from refserver.app.config import load
from refserver.app.settings import Settings

REFERENCE = Path(__file__).parents[2] / "conf" / "refserver.toml"
LINES = REFERENCE.read_text("utf-8").splitlines()
TABLES = {table.name: getattr(Settings(), table.name) for table in fields(Settings)}
KEYS = [(name, key.name) for name, table in TABLES.items() for key in fields(type(table))]


def test_the_reference_says_exactly_the_defaults() -> None:
    assert Settings().relative_to(REFERENCE.parent) == load(REFERENCE)


def test_the_reference_has_no_table_or_key_besides() -> None:
    documented = [(table, key) for table, keys in tomllib.loads("\n".join(LINES)).items() for key in keys]
    assert KEYS == documented


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_each_key_is_explained_above_it(table: str, key: str) -> None:
    start = LINES.index(f"[{table}]")
    index = next(i for i, line in enumerate(LINES[start:], start) if re.match(rf"{key} = ", line))
    above = LINES[index - 1]
    is_second_of_a_pair = re.sub(r"^s2s", "c2s", key) == above.partition(" =")[0]
    assert above.startswith("# ") or is_second_of_a_pair


def test_the_files_that_are_looked_for_are_named() -> None:
    text = "\n".join(LINES)
    assert "./refserver.toml is read, then /etc/refserver/refserver.toml" in text
