"""refserverctl queue …, while no server runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.ctl_runner import Ctl

ASK = "ask@library.example"


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", "library.example")
    return ctl


def test_a_queue_has_what_was_given_and_defaults(ctl: Ctl) -> None:
    assert (
        ctl.ok("queue", "add", ASK, "--title", "Ask us", "--hours", "Mon-Fri 09:00-17:00")
        == f"{ASK}: added\n"
    )
    assert ctl.json("queue", "list") == [
        {
            "queue": ASK,
            "title": "Ask us",
            "language": "en",
            "hours": "Mon-Fri 09:00-17:00",
            "librarians": 0,
            "time_zone": "UTC",
            "dispatch": "least-busy",
            "offer_seconds": 30.0,
            "undo_hours": 24,
            "retention_days": 0,
            "return_minutes": 10,
            "practice": False,
            "privacy_url": "",
            "web_page": "",
        }
    ]


def test_each_option_is_a_setting(ctl: Ctl) -> None:
    options = {
        "title": "Frag uns",
        "language": "de",
        "hours": "Sat 10:00-13:00",
        "time_zone": "Europe/Berlin",
        "dispatch": "round-robin",
        "offer_seconds": 45.0,
        "undo_hours": 2.0,
        "retention_days": 30.0,
        "return_minutes": 5.0,
        "privacy_url": "https://library.example/privacy",
        "web_page": "https://library.example/ask",
    }
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    ctl.ok("queue", "add", ASK, *words, "--practice")
    (row,) = ctl.json("queue", "list", "--domain", "library.example")
    assert row == {"queue": ASK, "librarians": 0, "practice": True, **options}


def test_adding_the_same_again_changes_nothing(ctl: Ctl) -> None:
    ctl.ok("queue", "add", ASK, "--title", "Ask us")
    assert ctl.ok("queue", "add", ASK) == f"{ASK}: unchanged\n"
    assert ctl.ok("queue", "add", ASK, "--title", "Ask us") == f"{ASK}: unchanged\n"


def test_adding_it_differently_is_refused(ctl: Ctl) -> None:
    ctl.ok("queue", "add", ASK, "--title", "Ask us")
    assert ctl.refused("queue", "add", ASK, "--title", "Ask me") == (
        f"there is a queue {ASK} already, set up differently: `refserverctl queue set {ASK}` changes it"
    )


def test_set_changes_what_is_given_and_leaves_the_rest(ctl: Ctl) -> None:
    ctl.ok("queue", "add", ASK, "--title", "Ask us", "--undo-hours", "2", "--practice")
    assert ctl.ok("queue", "set", ASK, "--language", "de", "--no-practice") == f"{ASK}: changed\n"
    (row,) = ctl.json("queue", "list")
    assert (row["title"], row["language"], row["undo_hours"], row["practice"]) == ("Ask us", "de", 2, False)
    assert ctl.ok("queue", "set", ASK, "--language", "de") == f"{ASK}: unchanged\n"


def test_hours_can_be_taken_away(ctl: Ctl) -> None:
    ctl.ok("queue", "add", ASK, "--hours", "Mon 09:00-17:00")
    ctl.ok("queue", "set", ASK, "--hours", "")
    assert ctl.json("queue", "list")[0]["hours"] == ""


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (
            ["--hours", "Mon-Fri 9-17"],
            "not opening hours: 'Mon-Fri 9-17'; write for example Mon-Fri 09:00-17:00",
        ),
        (["--time-zone", "Mars/Base"], "unknown time zone 'Mars/Base'"),
        (["--language", "English"], "'English' is no language: write its short code, like en or de"),
        (["--language", "fr"], "there are no texts in 'fr': choose one of de, en"),
        (["--undo-hours", "-1"], "undo_hours is a number from 0 to 8760"),
        (["--return-minutes", "-1"], "return_minutes is a number from 0 to 1440"),
        (["--undo-hours", "1e300"], "undo_hours is a number from 0 to 8760"),
        (["--undo-hours", "nan"], "undo_hours is a number from 0 to 8760"),
        (["--retention-days", "inf"], "retention_days is a number from 0 to 36500"),
        (
            ["--privacy-url", "javascript:alert(1)"],
            "privacy_url is a web address, like https://library.example/privacy_url",
        ),
        (["--web-page", "https://"], "web_page is a web address, like https://library.example/web_page"),
    ],
)
def test_what_makes_no_sense_is_refused(ctl: Ctl, words: list[str], refusal: str) -> None:
    assert ctl.refused("queue", "add", ASK, *words) == refusal
    assert ctl.json("queue", "list") == []


def test_what_is_no_choice_is_a_wrong_call(ctl: Ctl) -> None:
    assert ctl.run("queue", "add", ASK, "--dispatch", "by-lot").exit_code == 2
    assert ctl.run("queue", "add", ASK, "--offer-seconds", "soon").exit_code == 2


def test_a_queue_needs_its_library(ctl: Ctl) -> None:
    assert ctl.refused("queue", "add", "ask@other.example").startswith("there is no library other.example: ")


def test_what_stands_behind_a_plus_is_for_personas_and_questions(ctl: Ctl) -> None:
    assert ctl.refused("queue", "add", "ask+mia@library.example") == (
        "a queue's address holds no +: what follows it names personas and questions"
    )


@pytest.mark.parametrize("local", ["ask", "ask+mia"])
def test_no_queue_takes_an_accounts_address(ctl: Ctl, local: str) -> None:
    ctl.add_account(f"{local}@library.example")
    assert ctl.refused("queue", "add", ASK).startswith(f"there is an account {local}@library.example, ")


def test_the_same_name_in_another_library_is_another_queue(ctl: Ctl) -> None:
    ctl.ok("library", "add", "other.example")
    ctl.add_account("ask@other.example")
    ctl.ok("queue", "add", ASK)


def test_a_removed_queue_is_gone_and_its_address_free(ctl: Ctl) -> None:
    ctl.ok("queue", "add", ASK)
    assert ctl.ok("queue", "remove", ASK, "--yes") == f"{ASK}: removed\n"
    assert ctl.ok("queue", "list") == "no queue yet: refserverctl queue add ask@DOMAIN\n"
    ctl.add_account(ASK)


@pytest.mark.parametrize("verb", ["set", "remove"])
def test_nothing_can_be_done_to_a_queue_that_is_not_there(ctl: Ctl, verb: str) -> None:
    options = ["--yes"] if verb == "remove" else []
    assert ctl.refused("queue", verb, ASK, *options) == (
        f"there is no queue {ASK}: `refserverctl queue list` shows those there are"
    )


def test_no_queue_takes_a_librarians_address(ctl: Ctl) -> None:
    ctl.ok("queue", "add", ASK)
    ctl.run("librarian", "add", ASK, "desk@library.example")
    assert ctl.refused("queue", "add", "desk@library.example") == (
        "desk@library.example is the address of a librarian: choose another one for the queue"
    )


def test_a_queue_is_not_removed_without_a_terminal_unless_it_is_said(ctl: Ctl) -> None:
    ctl.ok("queue", "add", ASK)
    assert ctl.run("queue", "remove", ASK).exit_code == 2
    assert [row["queue"] for row in ctl.json("queue", "list")] == [ASK]
