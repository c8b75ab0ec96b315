"""All mutants, read from the tables beside this file: one TOML file for each part of the server."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS", "TABLES"]

TABLES: Final = sorted(Path(__file__).with_name("tables").glob("*.toml"))


def _mutant(entry: dict[str, Any]) -> Mutant:
    return Mutant(**{**entry, "tests": tuple(entry["tests"])})


MUTANTS: Final = tuple(
    _mutant(entry) for table in TABLES for entry in tomllib.loads(table.read_text())["mutant"]
)
