"""vCards: what an account says of itself to everybody (XEP-0054)."""

from __future__ import annotations

import pytest

from refserver.features.account_data import LARGEST_VCARD, VCard
from refserver.stanza import Stanza
from refserver.xml.write import serialise
from tests.server.harness import Client, Harness, describe

GET = "<vCard xmlns='vcard-temp'/>"
CARD = "<vCard xmlns='vcard-temp'><FN>Mia &amp; Co</FN><PHOTO><TYPE>image/png</TYPE></PHOTO></vCard>"
MIA = "mia@library.example"


@pytest.fixture
def server() -> Harness:
    return Harness([VCard])


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.client(f"{MIA}/desk")


@pytest.fixture
def pat(server: Harness) -> Client:
    return server.client("pat@library.example/phone")


def card(answer: Stanza) -> bytes:
    assert answer.type == "result", describe(answer)
    assert answer.payload is not None
    return serialise(answer.payload, "")


def test_everybody_sees_it_as_it_was_set(server: Harness, mia: Client, pat: Client) -> None:
    assert mia.ask("set", CARD).type == "result"
    assert CARD.encode() == card(mia.ask("get", GET)) == card(mia.ask("get", GET, MIA))
    assert CARD.encode() == card(pat.ask("get", GET, MIA))
    server.arrive(f"<iq type='get' id='1' from='x@elsewhere.example/y' to='{MIA}'>{GET}</iq>")
    assert ["result to x@elsewhere.example/y"] == server.elsewhere.told()


def test_one_that_is_not_there_is_empty_for_its_owner(mia: Client) -> None:
    for to in ("", MIA):
        assert GET.encode() == card(mia.ask("get", GET, to))


def test_to_others_one_that_is_not_there_is_as_no_account(mia: Client, pat: Client) -> None:
    """3.3: service-unavailable in both cases."""
    none = pat.ask("get", GET, MIA)
    nobody = pat.ask("get", GET, "nobody@library.example")
    assert "error service-unavailable" == describe(none)
    assert none.wire() == nobody.wire().replace(b"nobody@", b"mia@")


def test_an_empty_one_is_kept(mia: Client, pat: Client) -> None:
    mia.ask("set", CARD)
    assert mia.ask("set", GET).type == "result"
    assert GET.encode() == card(mia.ask("get", GET)) == card(pat.ask("get", GET, MIA))


@pytest.mark.parametrize("to", [MIA, "nobody@library.example"])
def test_another_s_is_forbidden_to_set(mia: Client, pat: Client, to: str) -> None:
    mia.ask("set", CARD)
    for payload in (GET, CARD.replace("Mia", "Eve")):
        assert "error forbidden" == describe(pat.ask("set", payload, to))
    assert CARD.encode() == card(mia.ask("get", GET))


def test_a_large_one_is_not_acceptable(mia: Client) -> None:
    large = f"<vCard xmlns='vcard-temp'><PHOTO><BINVAL>{'A' * LARGEST_VCARD}</BINVAL></PHOTO></vCard>"
    assert "error not-acceptable" == describe(mia.ask("set", large))
    assert GET.encode() == card(mia.ask("get", GET))
