"""refserverctl library …, on a data folder of its own, while no server runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.ctl_runner import Ctl


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    return Ctl(tmp_path)


def test_a_library_is_added_with_its_domain_in_normal_form(ctl: Ctl) -> None:
    assert ctl.ok("library", "add", "Library.Example", "--name", "City Library") == "library.example: added\n"
    assert ctl.json("library", "list") == [{"domain": "library.example", "name": "City Library"}]


def test_adding_the_same_again_changes_nothing(ctl: Ctl) -> None:
    ctl.ok("library", "add", "library.example", "--name", "City Library")
    assert ctl.ok("library", "add", "library.example") == "library.example: unchanged\n"
    assert ctl.json("library", "list") == [{"domain": "library.example", "name": "City Library"}]


def test_adding_with_another_name_renames(ctl: Ctl) -> None:
    ctl.ok("library", "add", "library.example", "--name", "City Library")
    assert ctl.json("library", "add", "library.example", "--name", "")["done"] == "renamed"
    assert ctl.json("library", "list") == [{"domain": "library.example", "name": ""}]


def test_lists_are_tables_for_people(ctl: Ctl) -> None:
    assert ctl.ok("library", "list") == "no library yet: refserverctl library add DOMAIN\n"
    ctl.ok("library", "add", "b.example", "--name", "B")
    ctl.ok("library", "add", "a.example")
    assert ctl.ok("library", "list") == "domain     name\na.example  -\nb.example  B\n"


def test_an_empty_list_is_json_too(ctl: Ctl) -> None:
    assert ctl.json("library", "list") == []


@pytest.mark.parametrize("domain", ["mia@library.example", "library.example/desk", "", "li brary", "a..b"])
def test_what_is_no_domain_is_refused(ctl: Ctl, domain: str) -> None:
    assert ctl.refused("library", "add", domain) == (
        f"{domain!r} is no domain: write it like library.example"
    )


def test_a_library_cannot_be_where_another_has_its_rooms(ctl: Ctl) -> None:
    ctl.ok("library", "add", "library.example")
    assert ctl.refused("library", "add", "rooms.library.example") == (
        "rooms.library.example is a service of the library library.example: choose another domain"
    )


def test_a_library_cannot_have_its_rooms_where_another_library_is(ctl: Ctl) -> None:
    ctl.ok("library", "add", "rooms.library.example")
    assert ctl.refused("library", "add", "library.example") == (
        "the library rooms.library.example is where library.example would have its own service"
    )


def test_removing_a_library_removes_its_accounts_and_queues_and_no_others(ctl: Ctl) -> None:
    for domain in ("a.example", "b.example"):
        ctl.ok("library", "add", domain)
        ctl.add_account(f"mia@{domain}")
        ctl.ok("queue", "add", f"ask@{domain}")
    removed = ctl.json("library", "remove", "a.example", "--yes")
    assert removed == {"domain": "a.example", "accounts": 1, "queues": 1, "done": "removed"}
    assert [row["jid"] for row in ctl.json("account", "list")] == ["mia@b.example"]
    assert [row["queue"] for row in ctl.json("queue", "list")] == ["ask@b.example"]


def test_what_is_not_there_cannot_be_removed(ctl: Ctl) -> None:
    assert ctl.refused("library", "remove", "library.example", "--yes").startswith(
        "there is no library library.example: "
    )


def test_a_wrong_call_has_status_2(ctl: Ctl) -> None:
    for words in (["library", "add"], ["library", "list", "--frob"], ["frob"], ["library", "frob"]):
        assert ctl.run(*words).exit_code == 2
