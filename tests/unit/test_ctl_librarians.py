"""refserverctl librarian …, while no server runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from refserver import ns
from refserver.jid import JID
from refserver.storage import Database, account_data
from tests.unit.ctl_runner import Ctl

ASK = "ask@library.example"
MIA = "mia@library.example"


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", "library.example")
    ctl.ok("queue", "add", ASK)
    ctl.add_account(MIA)
    return ctl


def bookmarks(ctl: Ctl) -> bytes:
    """Mia's bookmarks, as XML."""
    database = Database.open(ctl.database)
    try:
        kept = database.read_now(account_data.private, JID.parse(MIA), ns.BOOKMARKS_LEGACY, "storage")
    finally:
        database.close_now()
    return kept or b""


def test_a_librarian_is_called_by_the_first_part_of_her_address(ctl: Ctl) -> None:
    assert ctl.ok("librarian", "add", ASK, MIA) == f"{MIA}: added\n"
    assert ctl.json("librarian", "list") == [{"queue": ASK, "jid": MIA, "nick": "mia", "max_chats": 3}]


def test_each_option_is_kept_until_it_is_given_again(ctl: Ctl) -> None:
    ctl.ok("librarian", "add", ASK, MIA, "--nick", "Mia", "--max-chats", "5")
    assert ctl.ok("librarian", "add", ASK, MIA) == f"{MIA}: unchanged\n"
    assert ctl.ok("librarian", "add", ASK, MIA, "--nick", "Mina") == f"{MIA}: changed\n"
    (row,) = ctl.json("librarian", "list", "--queue", ASK)
    assert (row["nick"], row["max_chats"]) == ("Mina", 5)


def test_the_desk_room_is_in_her_bookmarks(ctl: Ctl) -> None:
    ctl.ok("librarian", "add", ASK, MIA)
    assert b"ask@rooms.library.example" in bookmarks(ctl)
    ctl.ok("librarian", "remove", ASK, MIA)
    assert b"ask@rooms.library.example" not in bookmarks(ctl)


def test_the_desk_room_leaves_her_bookmarks_with_the_queue(ctl: Ctl) -> None:
    ctl.ok("librarian", "add", ASK, MIA)
    ctl.ok("queue", "remove", ASK, "--yes")
    assert b"ask@rooms.library.example" not in bookmarks(ctl)


def test_a_librarian_may_get_her_account_later(ctl: Ctl) -> None:
    ctl.ok("account", "remove", MIA, "--yes")
    result = ctl.run("librarian", "add", ASK, MIA)
    assert (result.exit_code, result.stdout) == (0, f"{MIA}: added\n")
    assert (
        result.stderr == f"note: there is no account {MIA} yet: `refserverctl account add {MIA}` makes it\n"
    )
    ctl.add_account(MIA)
    assert b"ask@rooms.library.example" in bookmarks(ctl)


def test_a_librarian_may_have_her_account_on_another_server(ctl: Ctl) -> None:
    assert ctl.ok("librarian", "add", ASK, "mia@elsewhere.example") == "mia@elsewhere.example: added\n"


def test_with_her_account_a_librarian_loses_her_desks(ctl: Ctl) -> None:
    ctl.ok("librarian", "add", ASK, MIA)
    ctl.ok("account", "remove", MIA, "--yes")
    assert ctl.ok("librarian", "list") == "no librarian yet: refserverctl librarian add QUEUE JID\n"


@pytest.mark.parametrize("nick", ["mia", "MIA", "\uff4dia"])  # the last is full-width
def test_two_colleagues_have_two_nicks(ctl: Ctl, nick: str) -> None:
    ctl.ok("librarian", "add", ASK, MIA)
    assert ctl.refused("librarian", "add", ASK, "mia@elsewhere.example", "--nick", nick) == (
        f"{MIA} is called mia already: choose another nick with --nick"
    )


@pytest.mark.parametrize("nick", ["two words", "", "!close", "tab\tbed"])
def test_a_nick_is_one_word(ctl: Ctl, nick: str) -> None:
    assert ctl.refused("librarian", "add", ASK, MIA, "--nick", nick) == (
        f"{nick!r} is no nick: it is one word, choose one with --nick"
    )


@pytest.mark.parametrize("nick", ["queue", "Partner", "ask", "\uff41sk"])
def test_a_nick_is_no_word_that_the_desk_uses(ctl: Ctl, nick: str) -> None:
    assert ctl.refused("librarian", "add", ASK, MIA, "--nick", nick) == (
        f"the desk uses the name {nick} otherwise: choose another with --nick"
    )


@pytest.mark.parametrize("number", ["0", "101", "-1"])
def test_there_is_a_limit_to_what_one_can_do_at_a_time(ctl: Ctl, number: str) -> None:
    assert ctl.refused("librarian", "add", ASK, MIA, "--max-chats", number) == (
        "a librarian may have from 1 to 100 chats at a time"
    )


@pytest.mark.parametrize("local", ["ask", "desk", "ask+417"])
def test_a_queue_is_no_librarian(ctl: Ctl, local: str) -> None:
    ctl.ok("queue", "add", "desk@library.example")
    jid = f"{local}@library.example"
    assert ctl.refused("librarian", "add", ASK, jid) == (
        f"{jid} belongs to a queue: a librarian is a person, with an address of her own"
    )


def test_a_room_is_no_librarian(ctl: Ctl) -> None:
    assert ctl.refused("librarian", "add", ASK, "tea@rooms.library.example") == (
        "rooms.library.example is a service of library.example, where nobody has an account"
    )


def test_who_is_no_librarian_cannot_be_removed(ctl: Ctl) -> None:
    assert ctl.refused("librarian", "remove", ASK, MIA) == (
        f"{MIA} is no librarian of {ASK}: `refserverctl librarian list --queue {ASK}` shows who is"
    )


def test_a_librarian_needs_a_queue(ctl: Ctl) -> None:
    refusal = ctl.refused("librarian", "add", "desk@library.example", MIA)
    assert refusal.startswith("there is no queue desk@library.example: ")
