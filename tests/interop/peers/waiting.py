"""Waiting for something another process does: always with a deadline, and saying what was waited for.

A screen, a log file or a port cannot announce a change, so they are looked at every few milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_BETWEEN_LOOKS = 0.02

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], what: str, timeout: float, last_words: Callable[[], str]) -> T:
    """Call `look` until it returns something true, and return that.

    After `timeout` seconds AssertionError says `what` was waited for, and ends with `last_words()`: what was
    there instead.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; there was:\n{last_words()}")
        time.sleep(_BETWEEN_LOOKS)
