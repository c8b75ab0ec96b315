"""Every table has a policy on what is kept."""

from __future__ import annotations

import re
from pathlib import Path

from refserver.storage import schema

PAGE = Path(__file__).parents[2] / "docs/decisions/0013-retention.md"


def test_every_table_has_a_policy_an_index_and_a_bound() -> None:
    rows = re.findall(r"^\| (\w+) \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    documented = {name for name, *cells in rows if all(cell.strip(" -") for cell in cells)} - {"table"}
    assert documented == set(schema.metadata.tables)
