"""Faults put into refserver on purpose are noticed by its tests (see docs/contributing.md).

All mutants are checked to be of the present source; the telling ones are tried. `make mutants` tries all.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.tree import PROJECT, StaleMutant, mutated

ENCODING = "refserver/sasl/encoding.py"
ENCODING_TEST = "tests/unit/test_sasl_encoding.py"
FOUR_FATES = f"""
from tests.mutants.mutant import Mutant
from tests.mutants.runner import check

def mutant(name, text, replacement):
    return Mutant(name, {ENCODING!r}, text, replacement, "", ({ENCODING_TEST!r},))

check([
    mutant("noticed", 'if text == "=":', 'if text == "-":'),
    mutant("harmless", "missing or superfluous padding", "superfluous or missing padding"),
    mutant("no Python", "import base64", "import import"),
    mutant("not importable", "import base64", "import base46"),
    mutant("elsewhere", "not in the file", ""),
], tell=lambda result: print(result.mutant.name, result.fate.name, sep=": "))
"""


def run(*arguments: str) -> tuple[int, str]:
    """Run Python in the project's folder, unmeasured: a copy's coverage is nobody's. Status and output."""
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=unmeasured, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@cache
def meaning(text: str) -> str:
    """What Python reads in it, without layout and comments."""
    return ast.dump(ast.parse(text))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_of_the_present_source(mutant: Mutant) -> None:
    true_text = (PROJECT / mutant.file).read_text()
    assert meaning(true_text) != meaning(mutated(true_text, mutant))


@pytest.mark.parametrize("test", sorted({test for mutant in MUTANTS for test in mutant.tests}))
def test_the_tests_of_a_mutant_are_there(test: str) -> None:
    file, *names = test.split("::")
    found = {node.name for node in ast.walk(ast.parse((PROJECT / file).read_text())) if hasattr(node, "name")}
    assert names
    assert set(names) <= found


def test_no_two_mutants_have_one_name() -> None:
    names = Counter(mutant.name for mutant in MUTANTS)
    assert [] == [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("text, replacement", [("5", "6"), ("x", "y"), ("z", "z")])
def test_a_text_that_is_not_there_once_or_that_stays_is_refused(text: str, replacement: str) -> None:
    with pytest.raises(StaleMutant):
        mutated("x = x + z\n", Mutant("name", "x.py", text, replacement, "why", ()))


def test_every_fate_is_told_from_the_others() -> None:
    status, output = run("-c", FOUR_FATES)
    assert (0, ["noticed: KILLED", "harmless: SURVIVED", "no Python: STALE"]) == (
        status,
        output.split("\n")[:3],
    )
    assert ["not importable: BROKEN", "elsewhere: STALE", ""] == output.split("\n")[3:]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_telling_mutants_are_noticed() -> None:
    status, output = run("-m", "tests.mutants", "--telling")
    assert status == 0, output
