"""Runs tests on copies of the source tree with a mutant in each, and says which mutants nobody noticed.

Every run is a fork of this process, which has loaded the libraries but none of refserver, so that
a run costs its tests and no start. A run that used a module of refserver, or of the tests, from
anywhere but its copy counts as broken, whatever its tests said.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NoReturn

import pytest
from attrs import define, field, frozen

from tests.mutants.telling import PROJECT, Mutant, StaleMutant, Tree

__all__ = ["Fate", "Result", "UselessTests", "check"]

SECONDS: Final = 60
"""The time for the tests of one mutant. One that makes them hang is noticed, too."""

_PASSED, _FAILED = int(pytest.ExitCode.OK), int(pytest.ExitCode.TESTS_FAILED)
_ELSEWHERE: Final = 99  # none of pytest's exit codes
_OURS: Final = ("refserver", "tests")
_LIBRARIES: Final = (
    "cryptography.x509",
    "hypothesis",
    "OpenSSL.SSL",
    "pytest_timeout",
    "pytest_twisted",
    "sqlalchemy.dialects.sqlite",
    "twisted.internet.task",
    "twisted.logger",
)


class UselessTests(Exception):
    """The tests do not pass without any mutant, so nothing follows from their failing with one."""


class Fate(Enum):
    """The fate of a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    STALE = "STALE"
    BROKEN = "BROKEN"


@frozen
class Result:
    """The fate of a mutant; `output` explains any fate but death."""

    mutant: Mutant
    fate: Fate
    output: str = ""


@define
class _Lane:
    """One copy, on which one run after the other takes place."""

    root: Path
    tree: Tree = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tree = Tree(self.root)

    @property
    def log(self) -> Path:
        """The output of the tests."""
        return self.root.with_suffix(".log")

    def run(self, tests: Sequence[str]) -> int:
        """Start `tests` in a fork; its process id."""
        process = os.fork()
        if not process:
            _be_the_run(self.root, self.log, tests)
        return process


def check(
    mutants: Iterable[Mutant], lanes: int = 1, tell: Callable[[Result], object] = lambda _: None
) -> list[Result]:
    """Try every mutant, `lanes` at a time; `tell` hears each result as it comes. Raises `UselessTests`."""
    waiting = deque(mutants)
    for name in _LIBRARIES:
        importlib.import_module(name)
    results = []
    with TemporaryDirectory(prefix="refserver-mutants-") as folder:
        free = [_Lane(Path(folder, f"copy{number}")) for number in range(lanes)]
        _check_true_text(free[0], waiting)
        for result in _results(free, waiting):
            tell(result)
            results.append(result)
    return results


def _check_true_text(lane: _Lane, mutants: Iterable[Mutant]) -> None:
    lane.run(sorted({test for mutant in mutants for test in mutant.tests}))
    _, status = os.wait()
    if os.waitstatus_to_exitcode(status) != _PASSED:
        raise UselessTests(lane.log.read_text())


def _results(free: list[_Lane], waiting: deque[Mutant]) -> Iterator[Result]:
    running: dict[int, tuple[_Lane, Mutant]] = {}
    while waiting or running:
        if waiting and free:
            mutant, lane = waiting.popleft(), free.pop()
            try:
                lane.tree.plant(mutant)
            except StaleMutant as error:
                free.append(lane)
                yield Result(mutant, Fate.STALE, str(error))
            else:
                running[lane.run(mutant.tests)] = lane, mutant
            continue
        process, status = os.wait()
        lane, mutant = running.pop(process)
        yield _judged(mutant, os.waitstatus_to_exitcode(status), lane.log)
        lane.tree.restore()
        free.append(lane)


def _judged(mutant: Mutant, code: int, log: Path) -> Result:
    if code in (_FAILED, -signal.SIGALRM):
        return Result(mutant, Fate.KILLED)
    return Result(mutant, Fate.SURVIVED if code == _PASSED else Fate.BROKEN, log.read_text())


# -- in the fork ------------------------------------------------------------------


def _be_the_run(root: Path, log: Path, tests: Sequence[str]) -> NoReturn:
    code = _ELSEWHERE
    try:
        signal.alarm(SECONDS)
        _move_to(root, log)
        code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:cov", *tests]))
        strays = _strays(root)
        if strays:
            code = _ELSEWHERE
            print("not from the copy:", *strays)
    except BaseException:  # nothing of the fork may go on with the parent's work
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _move_to(root: Path, log: Path) -> None:
    """Forget where the project was, and be in its copy."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(root)
    os.environ["PYTHONPATH"] = str(root)
    sys.path[:] = [str(root), *(path for path in sys.path if Path(path).resolve() != PROJECT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]


def _strays(root: Path) -> list[str]:
    files = (
        getattr(module, "__file__", None)
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] in _OURS
    )
    return [file for file in files if file is not None and not Path(file).is_relative_to(root)]
