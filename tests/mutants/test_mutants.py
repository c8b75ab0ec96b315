"""Faults put into refserver on purpose are noticed by its tests (see docs/contributing.md)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.mutants.telling import PROJECT

ENCODING_TEST = "tests/unit/test_sasl_encoding.py"
FOUR_FATES = f"""
from tests.mutants.telling import Mutant
from tests.mutants.runner import check

def mutant(name, text, replacement):
    return Mutant(name, text, replacement, "", ({ENCODING_TEST!r},))

check([
    mutant("noticed", 'if text == "=":', 'if text == "-":'),
    mutant("harmless", "missing or superfluous padding", "superfluous or missing padding"),
    mutant("no Python", 'if text == "=":', "import import"),
    mutant("not importable", "import base64\\nimport binascii", "import base46"),
    mutant("elsewhere", "not in any file", ""),
], tell=lambda result: print(result.mutant.name, result.fate.name, sep=": "))
"""


def run(*arguments: str) -> tuple[int, str]:
    """Run Python in the project's folder, unmeasured: a copy's coverage is nobody's. Status and output."""
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=unmeasured, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_every_fate_is_told_from_the_others() -> None:
    status, output = run("-c", FOUR_FATES)
    fates = ["noticed: KILLED", "harmless: SURVIVED", "no Python: STALE", "not importable: BROKEN"]
    assert (0, [*fates, "elsewhere: STALE", ""]) == (status, output.split("\n"))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_telling_mutants_are_noticed() -> None:
    status, output = run("-m", "tests.mutants")
    assert status == 0, output
