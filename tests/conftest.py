"""Order of the suite, and how an asynchronous test that hangs ends.

Fast tests run first, real peers last; within a folder files with slow tests, so that no process is left
alone with one in the end. An asynchronous test that does not end is cancelled and fails alone;
all else that hangs (a loop, a fixture) ends the whole run, with the stacks of all threads: pytest-timeout.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred

ORDER = ("unit", "property", "docs", "server", "mutants", "interop")

# Of the time after which pytest-timeout ends the run, how much an asynchronous test may take.
SHARE_OF_TIMEOUT = 0.8


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rounds`: for the tests that go through the same again and again, see docs/contributing.md."""
    parser.addoption(
        "--rounds", type=int, default=0, help="how often a peer is killed and comes back (0: as in the suite)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the collected tests by folder and slowness; else they stay in their order."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (_rank(item.path), item.path not in slow))


def _rank(path: Path) -> int:
    folders = set(path.parts)
    return next((rank for rank, name in enumerate(ORDER) if name in folders), -1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Give an `async def` test its deadline before pytest-twisted starts it."""
    test = pyfuncitem.obj
    if inspect.iscoroutinefunction(test) and not hasattr(test, "hypothesis"):
        marker = pyfuncitem.get_closest_marker("timeout")
        limit = float(marker.args[0] if marker else pyfuncitem.config.getini("timeout"))
        pyfuncitem.obj = pytest_twisted.ensureDeferred(_within(limit * SHARE_OF_TIMEOUT, test))
    return (yield)


def _within(seconds: float, test: Any) -> Any:
    @functools.wraps(test)
    async def limited(*args: Any, **fixtures: Any) -> None:
        from twisted.internet import reactor

        running = ensureDeferred(test(*args, **fixtures))
        await running.addTimeout(seconds, reactor, onTimeoutCancel=_fail)

    return limited


def _fail(_: object, seconds: float) -> None:
    pytest.fail(f"the test has not ended within {seconds:g} seconds")
