"""refserverctl canned …, while no server runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.ctl_runner import Ctl

ASK = "ask@library.example"
HOURS = "We are open from nine to five."


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", "library.example")
    ctl.ok("queue", "add", ASK)
    return ctl


def test_a_reply_is_listed_until_it_is_removed(ctl: Ctl) -> None:
    assert ctl.ok("canned", "set", ASK, "Hours", HOURS) == "hours: added\n"
    assert ctl.json("canned", "list", ASK) == [{"queue": ASK, "name": "hours", "text": HOURS}]
    assert ctl.ok("canned", "remove", ASK, "hours") == "hours: removed\n"
    assert ctl.json("canned", "list", ASK) == []


def test_the_same_again_changes_nothing_and_another_text_takes_its_place(ctl: Ctl) -> None:
    ctl.ok("canned", "set", ASK, "hours", HOURS)
    assert ctl.ok("canned", "set", ASK, "hours", HOURS) == "hours: unchanged\n"
    assert ctl.ok("canned", "set", ASK, "hours", "Always.") == "hours: changed\n"
    assert [row["text"] for row in ctl.json("canned", "list", ASK)] == ["Always."]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set", ASK, "two words", HOURS), "one word"),
        (("set", ASK, "n" * 41, HOURS), "one word"),
        (("set", ASK, "hours", "  "), "from 1 to"),
        (("set", ASK, "hours", "x" * 4001), "from 1 to"),
        (("set", "no@library.example", "hours", HOURS), "no@library.example"),
        (("remove", ASK, "hours"), "has no canned reply hours"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(ctl: Ctl, words: tuple[str, ...], why: str) -> None:
    assert why in ctl.refused("canned", *words)
