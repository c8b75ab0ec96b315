"""Random tests are left out of the coverage, because counting takes longer than they do.

They go through the same lines ten thousand times. What they reach is reached by other tests, too.
"""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Stop counting during the test.

    pytest-cov's `no_cover` does not: in a process of pytest-xdist it stops its own measuring, and what
    coverage has every process begin with (`patch` in pyproject.toml) goes on.
    """
    trace = sys.gettrace()
    if not type(trace).__module__.startswith("coverage"):
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(trace)
