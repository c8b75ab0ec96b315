"""Private XML: stored and given back to its owner alone (XEP-0049)."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.features import account_data
from refserver.features.account_data import LARGEST, PrivateData
from refserver.stanza import Stanza
from refserver.xml.write import serialise
from tests.server.harness import Client, Harness, describe

BOOKMARKS = "<storage xmlns='storage:bookmarks'><conference jid='a@b'><nick>n</nick></conference></storage>"


def query(content: str) -> str:
    return f"<query xmlns='{ns.PRIVATE}'>{content}</query>"


def stored(answer: Stanza) -> bytes:
    assert answer.type == "result", describe(answer)
    assert answer.payload is not None
    assert f"{{{ns.PRIVATE}}}query" == answer.payload.tag
    return serialise(answer.payload[0], "")


@pytest.fixture
def server() -> Harness:
    return Harness([PrivateData])


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.client("mia@library.example/desk")


def test_an_element_is_given_back_as_it_was_stored(server: Harness, mia: Client) -> None:
    assert mia.ask("set", query(BOOKMARKS)).type == "result"
    again = server.client("mia@library.example/phone")
    for to in ("", "mia@library.example"):
        found = stored(again.ask("get", query("<storage xmlns='storage:bookmarks'/>"), to))
        assert BOOKMARKS.encode() == found


def test_the_newest_counts_and_names_are_apart(mia: Client) -> None:
    for content in ("<x xmlns='urn:a'>1</x>", "<x xmlns='urn:b'>2</x>", "<y xmlns='urn:a'>3</y>"):
        mia.ask("set", query(content))
    mia.ask("set", query("<x xmlns='urn:a'>4</x>"))
    for name, space, text in (("x", "urn:a", "4"), ("x", "urn:b", "2"), ("y", "urn:a", "3")):
        found = stored(mia.ask("get", query(f"<{name} xmlns='{space}'/>")))
        assert f"<{name} xmlns='{space}'>{text}</{name}>".encode() == found


def test_what_was_never_stored_is_empty(mia: Client) -> None:
    assert b"<x xmlns='urn:a'/>" == stored(mia.ask("get", query("<x xmlns='urn:a'>ignored</x>")))


def test_accounts_are_apart(server: Harness, mia: Client) -> None:
    mia.ask("set", query("<x xmlns='urn:a'>hers</x>"))
    other = server.client("mia@other.example/desk")
    assert b"<x xmlns='urn:a'/>" == stored(other.ask("get", query("<x xmlns='urn:a'/>")))


@pytest.mark.parametrize("type", ["get", "set"])
@pytest.mark.parametrize("to", ["pat@library.example", "nobody@library.example"])
def test_another_s_data_are_forbidden(server: Harness, mia: Client, type: str, to: str) -> None:
    server.account("pat@library.example")
    assert "error forbidden" == describe(mia.ask(type, query("<x xmlns='urn:a'/>"), to))


@pytest.mark.parametrize("type", ["get", "set"])
@pytest.mark.parametrize("content", ["", "<x xmlns='urn:a'/><y xmlns='urn:a'/>"])
def test_one_element_at_a_time(mia: Client, type: str, content: str) -> None:
    assert "error bad-request" == describe(mia.ask(type, query(content)))


@pytest.mark.parametrize(
    "space", ["", "jabber:iq:private", "jabber:client", "vcard-temp", "http://jabber.org/protocol/x"]
)
def test_reserved_namespaces_are_not_acceptable(mia: Client, space: str) -> None:
    assert "error not-acceptable" == describe(mia.ask("set", query(f"<x xmlns='{space}'/>")))


def test_a_large_element_is_not_acceptable(mia: Client) -> None:
    large = f"<x xmlns='urn:a'>{'a' * LARGEST}</x>"
    assert "error not-acceptable" == describe(mia.ask("set", query(large)))


def test_the_number_of_elements_is_limited_and_they_can_still_be_replaced(
    mia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_data, "MOST_ELEMENTS", 3)
    for number in range(3):
        assert mia.ask("set", query(f"<x xmlns='urn:{number}'/>")).type == "result"
    assert "error resource-constraint" == describe(mia.ask("set", query("<x xmlns='urn:3'/>")))
    assert mia.ask("set", query("<x xmlns='urn:2'>changed</x>")).type == "result"


def test_the_bytes_of_an_account_are_limited(mia: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_data, "MOST_BYTES", 200)
    assert mia.ask("set", query(f"<x xmlns='urn:a'>{'a' * 150}</x>")).type == "result"
    assert "error resource-constraint" == describe(mia.ask("set", query(f"<x xmlns='urn:b'>{'a' * 50}</x>")))
    assert mia.ask("set", query(f"<x xmlns='urn:a'>{'b' * 152}</x>")).type == "result"
    assert mia.ask("set", query(f"<x xmlns='urn:b'>{'a' * 5}</x>")).type == "result"
