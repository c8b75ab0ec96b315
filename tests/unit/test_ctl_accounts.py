"""refserverctl account …, while no server runs: of passwords nothing is kept but verifiers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from refserver.jid import JID
from refserver.sasl.verifier import Verifier, check_password
from refserver.storage import Database, accounts
from tests.unit.ctl_runner import Ctl

MIA = "mia@library.example"
PASSWORD = ("--password-stdin",)


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", "library.example")
    return ctl


def verifiers(ctl: Ctl, jid: str = MIA) -> Mapping[str, Verifier] | None:
    """The stored verifiers of an account that may log in."""
    database = Database.open(ctl.database)
    try:
        return database.read_now(accounts.verifiers, JID.parse(jid))
    finally:
        database.close_now()


def fits(ctl: Ctl, password: str) -> bool:
    stored = verifiers(ctl)
    assert stored is not None
    return all(check_password(verifier, password) for verifier in stored.values())


def test_an_account_can_log_in_with_the_first_line_of_standard_input(ctl: Ctl) -> None:
    added = ctl.ok("account", "add", "Mia@library.example", *PASSWORD, stdin="pass word \nsecond\n")
    assert added == f"{MIA}: added\n"
    assert fits(ctl, "pass word ")
    assert {"SHA-1", "SHA-256"} == set(verifiers(ctl) or ())


def test_the_list_says_who_is_there(ctl: Ctl) -> None:
    ctl.ok("library", "add", "other.example")
    ctl.add_account(MIA)
    ctl.add_account("mia@other.example")
    (row,) = ctl.json("account", "list", "--domain", "library.example")
    assert (row["jid"], row["disabled"]) == (MIA, False)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["created"])
    assert [row["jid"] for row in ctl.json("account", "list")] == [MIA, "mia@other.example"]


def test_adding_the_same_again_changes_nothing(ctl: Ctl) -> None:
    ctl.add_account(MIA)
    before = verifiers(ctl)
    assert ctl.ok("account", "add", MIA, *PASSWORD, stdin="a secret\n") == f"{MIA}: unchanged\n"
    assert ctl.json("account", "add", MIA, *PASSWORD, stdin="a secret\n") == {"jid": MIA, "done": "unchanged"}
    assert before == verifiers(ctl)


def test_adding_with_another_password_is_refused_and_changes_nothing(ctl: Ctl) -> None:
    ctl.add_account(MIA)
    assert ctl.refused("account", "add", MIA, *PASSWORD, stdin="another one\n") == (
        f"there is an account {MIA} already, with another password: "
        f"`refserverctl account password {MIA}` changes that"
    )
    assert fits(ctl, "a secret")


def test_adding_one_that_is_disabled_is_refused(ctl: Ctl) -> None:
    ctl.add_account(MIA)
    ctl.ok("account", "disable", MIA)
    assert ctl.refused("account", "add", MIA, *PASSWORD, stdin="a secret\n") == (
        f"there is an account {MIA} already, disabled: `refserverctl account enable {MIA}` changes that"
    )


def test_a_password_is_changed(ctl: Ctl) -> None:
    ctl.add_account(MIA)
    assert (
        ctl.ok("account", "password", MIA, *PASSWORD, stdin="another one\n") == f"{MIA}: password changed\n"
    )
    assert fits(ctl, "another one")
    assert not fits(ctl, "a secret")


def test_a_disabled_account_cannot_log_in_until_it_is_enabled(ctl: Ctl) -> None:
    ctl.add_account(MIA)
    assert ctl.ok("account", "disable", MIA) == f"{MIA}: disabled\n"
    assert ctl.ok("account", "disable", MIA) == f"{MIA}: unchanged\n"
    assert verifiers(ctl) is None
    assert ctl.json("account", "list")[0]["disabled"] is True
    assert ctl.ok("account", "enable", MIA) == f"{MIA}: enabled\n"
    assert ctl.ok("account", "enable", MIA) == f"{MIA}: unchanged\n"
    assert fits(ctl, "a secret")


def test_nothing_is_removed_without_a_terminal_unless_it_is_said(ctl: Ctl) -> None:
    ctl.add_account(MIA)
    result = ctl.run("account", "remove", MIA)
    assert result.exit_code == 2
    assert "There is no terminal to ask for a confirmation: use --yes." in result.stderr
    assert [row["jid"] for row in ctl.json("account", "list")] == [MIA]


def test_a_removed_account_is_gone(ctl: Ctl) -> None:
    ctl.add_account(MIA)
    assert ctl.ok("account", "remove", MIA, "--yes") == f"{MIA}: removed\n"
    assert ctl.ok("account", "list") == "no accounts\n"


@pytest.mark.parametrize("verb", ["remove", "disable", "enable"])
def test_nothing_can_be_done_to_an_account_that_is_not_there(ctl: Ctl, verb: str) -> None:
    options = ["--yes"] if verb == "remove" else []
    assert ctl.refused("account", verb, MIA, *options) == (
        f"there is no account {MIA}: `refserverctl account list` shows those there are"
    )


def test_no_password_can_be_set_where_there_is_no_account(ctl: Ctl) -> None:
    assert ctl.refused("account", "password", MIA, *PASSWORD, stdin="a secret\n").startswith(
        "there is no account"
    )


@pytest.mark.parametrize(
    "jid", ["library.example", f"{MIA}/desk", "@library.example", "mi a@library.example"]
)
def test_what_is_no_address_is_refused(ctl: Ctl, jid: str) -> None:
    assert ctl.refused("account", "add", jid, *PASSWORD, stdin="a secret\n") == (
        f"{jid!r} is no address: write it like mia@library.example"
    )


def test_an_account_needs_its_library(ctl: Ctl) -> None:
    refusal = ctl.refused("account", "add", "mia@other.example", *PASSWORD, stdin="a secret\n")
    assert refusal.startswith("there is no library other.example: ")


@pytest.mark.parametrize("local", ["ask", "ask+mia", "ask+417", "ask+"])
def test_no_account_shadows_a_queue_a_persona_or_a_question(ctl: Ctl, local: str) -> None:
    ctl.ok("queue", "add", "ask@library.example")
    jid = f"{local}@library.example"
    assert ctl.refused("account", "add", jid, *PASSWORD, stdin="a secret\n") == (
        f"{jid} belongs to the queue ask@library.example: choose another address"
    )


@pytest.mark.parametrize("local", ["asking", "mia+ask", "a+ask"])
def test_other_addresses_are_free(ctl: Ctl, local: str) -> None:
    ctl.ok("queue", "add", "ask@library.example")
    ctl.add_account(f"{local}@library.example")


# -- passwords -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (b"\n", "the password is empty: choose another one"),
        (b"", "the password is empty: choose another one"),
        (b"\x07\n", "the password holds a prohibited character: choose another one"),
        (b"\xff\n", "the password on standard input is not UTF-8: encode it so"),
        (b"x\n", "the password has fewer than 8 characters: choose a longer one"),
        (b"x" * 1024, "the password is longer than 1023 bytes: choose a shorter one"),
    ],
)
def test_an_impossible_password_is_refused(ctl: Ctl, given: bytes, refusal: str) -> None:
    assert ctl.refused("account", "add", MIA, *PASSWORD, stdin=given) == refusal
    assert ctl.json("account", "list") == []


def test_without_a_terminal_the_option_is_needed(ctl: Ctl) -> None:
    result = ctl.run("account", "add", MIA)
    assert result.exit_code == 2
    assert "use --password-stdin" in result.stderr


def test_a_password_is_no_argument(ctl: Ctl) -> None:
    assert ctl.run("account", "add", MIA, "secret").exit_code == 2
    assert ctl.run("account", "add", MIA, "--password", "secret").exit_code == 2


def test_a_person_is_asked_for_the_password_twice(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def prompt(text: str, **how: object) -> str:
        asked.append(how)
        return "a secret"

    monkeypatch.setattr("refserver.app.commands.accounts._is_terminal", lambda: True)
    monkeypatch.setattr("click.prompt", prompt)
    ctl.ok("account", "add", MIA)
    assert asked == [{"hide_input": True, "confirmation_prompt": True}]
    assert fits(ctl, "a secret")


def test_no_password_is_in_the_data_folder(ctl: Ctl) -> None:
    ctl.ok("account", "add", MIA, *PASSWORD, stdin="Unmistakable-7\n")
    kept = b"".join(path.read_bytes() for path in ctl.database.parent.iterdir())
    assert b"Unmistakable-7" not in kept
