"""Order of the suite: fast tests first, real peers last."""

from __future__ import annotations

from pathlib import Path

import pytest

ORDER = ("unit", "property", "docs", "server", "interop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the collected tests by folder; within a folder the order stays."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    folders = set(path.parts)
    return next((rank for rank, name in enumerate(ORDER) if name in folders), -1)
