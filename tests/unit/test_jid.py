"""Addresses are prepared as RFC 7622 says, and all that is none is refused."""

from __future__ import annotations

import pytest

from refserver import jid as module
from refserver.jid import JID, InvalidJID


@pytest.mark.parametrize(
    "text, parts",
    [
        ("library.example", ("", "library.example", "")),
        ("mia@library.example", ("mia", "library.example", "")),
        ("mia@library.example/desk", ("mia", "library.example", "desk")),
        ("library.example/desk", ("", "library.example", "desk")),
        ("ask+417@library.example", ("ask+417", "library.example", "")),
        ("mia@library.example/a@b/c", ("mia", "library.example", "a@b/c")),
        ("mia@[::1]/desk", ("mia", "[::1]", "desk")),
        ("mia@127.0.0.1", ("mia", "127.0.0.1", "")),
    ],
)
def test_an_address_has_up_to_three_parts(text: str, parts: tuple[str, str, str]) -> None:
    jid = JID.parse(text)
    assert parts == (jid.localpart, jid.domainpart, jid.resourcepart)
    assert text == str(jid) == jid.text


@pytest.mark.parametrize(
    "text, normal",
    [
        ("Mia@Library.Example", "mia@library.example"),
        ("mia@library.example/Desk", "mia@library.example/Desk"),
        ("library.example.", "library.example"),
        ("library.example。", "library.example"),
        ("mia@library．example", "mia@library.example"),
        ("ＭＩＡ@library.example", "mia@library.example"),
        ("MÜLLER@BÜCHEREI.example", "müller@bücherei.example"),
        ("mia@xn--bcherei-n2a.example", "mia@bücherei.example"),
        ("mia@[0:0::1]", "mia@[::1]"),
        ("mia@library.example/e\u0301", "mia@library.example/\u00e9"),
        ("mia@library.example/a\u00a0b", "mia@library.example/a b"),
    ],
)
def test_an_address_is_brought_into_its_normal_form(text: str, normal: str) -> None:
    assert normal == JID.parse(text).text
    assert JID.parse(text) == JID.parse(normal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@library.example",
        "mia@",
        "mia@library.example/",
        "/desk",
        "a b@library.example",
        "a'b@library.example",
        "a&b@library.example",
        "<a>@library.example",
        "a:b@library.example",
        "mia@library@example",
        "mia@lib rary.example",
        "mia@-library.example",
        "mia@lib_rary.example",
        "mia@library..example",
        "mia@library.example..",
        "mia@.example",
        "mia@xn--a",
        "mia@[::1",
        "mia@[::1%eth0]",
        "mia@[library]",
        "mia@library.example/\u0007",
        "\u202emia@library.example",
        "mi\u2060a@library.example",
        "ﬁ@library.example",
        "mia@" + "d" * 64,
        "mia@" + ".".join(["d" * 60] * 5),
        "l" * 1024 + "@library.example",
        "mia@library.example/" + "r" * 1024,
        "mia@library.example/" + "ü" * 512,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidJID) as caught:
        JID.parse(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("text", ["l" * 1023 + "@library.example", "library.example/" + "ü" * 511 + "r"])
def test_the_longest_parts_are_taken(text: str) -> None:
    assert text == JID.parse(text).text


def test_what_looks_alike_to_people_may_be_somebody_else() -> None:
    assert JID.parse("mia@library.example") != JID.parse("miа@library.example")  # a Cyrillic а


def test_an_address_is_made_of_its_parts() -> None:
    assert JID.parse("mia@library.example/Desk") == JID.of("Mia", "Library.example", "Desk")
    assert JID.parse("library.example") == JID.of("", "library.example")
    with pytest.raises(InvalidJID):
        JID.of("mia/desk", "library.example")


def test_the_bare_address_is_without_resource() -> None:
    full = JID.parse("mia@library.example/desk")
    assert "mia@library.example" == full.bare.text
    assert (False, True) == (full.is_bare, full.bare.is_bare)
    assert full.bare.bare is full.bare


def test_another_resource_of_the_same_account() -> None:
    assert "mia@library.example/phone" == JID.parse("mia@library.example/desk").with_resource("phone").text
    with pytest.raises(InvalidJID):
        JID.parse("mia@library.example").with_resource("\u0000")


def test_addresses_are_equal_by_their_normal_form_and_serve_as_keys() -> None:
    one, other = JID.parse("MIA@library.example"), JID.parse("mia@library.example")
    assert (one, hash(one)) == (other, hash(other))
    assert {one: 1} == {other: 1}
    assert one != "mia@library.example"
    assert "JID('mia@library.example')" == repr(one)


def test_an_address_can_stand_in_an_attribute() -> None:
    assert "library.example/&lt;&amp;&apos;&quot;>" == JID.parse("library.example/<&'\">").attribute.replace(
        "&gt;", ">"
    )
    assert "library.example/desk" == JID.parse("library.example/desk").attribute


def test_the_cache_forgets_the_older_half_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cache", {})
    monkeypatch.setattr(module, "CACHE_SIZE", 4)
    for number in range(10):
        JID.parse(f"a{number}.example")
        assert len(module._cache) <= 4
    assert "a9.example" in module._cache
    assert "a0.example" not in module._cache


def test_long_addresses_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cache", {})
    JID.parse("library.example/" + "r" * 500)
    assert ["library.example"] == list(module._cache)


def test_an_address_that_was_parsed_before_is_the_same_object() -> None:
    assert JID.parse("mia@library.example/desk") is JID.parse("mia@library.example/desk")
    assert JID.parse("mia@library.example/desk").bare is JID.parse("mia@library.example/phone").bare
