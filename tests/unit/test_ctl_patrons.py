"""refserverctl patron forget and transcript purge: words and links are gone, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from refserver.jid import JID
from refserver.reference.asking import Asker, Utterance, say
from refserver.reference.closing import abandon
from refserver.storage import Database, queues
from tests.unit.ctl_runner import Ctl

ASK, PAT = "ask@library.example", "pat@patrons.example"
WORDS = "an unmistakable canary"


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", "library.example")
    ctl.ok("queue", "add", ASK, "--retention-days", "30")
    return ctl


def asked(ctl: Ctl, *, over: bool = False) -> None:
    """A patron has asked, in November 2023; `over`: and gone."""
    now = 1_700_000_000.0
    database = Database.open(ctl.database)
    try:
        queue = database.read_now(queues.find, JID.parse(ASK))
        assert queue is not None
        asker = Asker(JID.parse(PAT), thread="t")
        said = database.write_now(say, queue.id, asker, Utterance(WORDS), now=now)
        if over:
            database.write_now(abandon, said.question.id, now=now)
    finally:
        database.close_now()


def kept(ctl: Ctl) -> bytes:
    return b"".join(path.read_bytes() for path in ctl.database.parent.iterdir())


def test_a_forgotten_patron_leaves_neither_words_nor_address(ctl: Ctl) -> None:
    asked(ctl)
    assert WORDS.encode() in kept(ctl)
    assert ctl.json("patron", "forget", PAT, "--yes") == {
        "jid": PAT,
        "questions": 1,
        "ended": 1,
        "messages": 1,
        "subscriptions": 0,
        "done": "forgotten",
    }
    assert WORDS.encode() not in kept(ctl)
    assert PAT.encode() not in kept(ctl)
    assert ctl.json("patron", "forget", PAT, "--yes")["questions"] == 0


def test_what_is_over_since_before_a_day_is_purged(ctl: Ctl) -> None:
    asked(ctl, over=True)
    purge = ("transcript", "purge", ASK, "--yes", "--before")
    assert ctl.json(*purge, "2023-01-01") == {"of": ASK, "messages": 0, "done": "purged"}
    assert WORDS.encode() in kept(ctl)
    assert ctl.json(*purge, "2024-01-01") == {"of": ASK, "messages": 1, "done": "purged"}
    assert WORDS.encode() not in kept(ctl)


def test_what_is_open_is_not_purged(ctl: Ctl) -> None:
    asked(ctl)
    assert ctl.ok("transcript", "purge", "*", "--before", "2024-01-01", "--yes") == "*: purged\n"
    assert WORDS.encode() in kept(ctl)


@pytest.mark.parametrize(
    "words", [("patron", "forget", PAT), ("transcript", "purge", ASK, "--before", "2030-01-01")]
)
def test_without_a_terminal_nothing_is_lost_unless_it_is_said(ctl: Ctl, words: tuple[str, ...]) -> None:
    assert ctl.run(*words).exit_code == 2


def test_only_queues_and_libraries_can_be_purged(ctl: Ctl) -> None:
    purge = ("transcript", "purge", "other.example", "--before", "2030-01-01", "--yes")
    assert ctl.refused(*purge).startswith("there is no library other.example: ")
