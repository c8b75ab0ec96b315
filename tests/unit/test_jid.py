"""Addresses: RFC 7622, its examples among them, and the cache."""

from __future__ import annotations

import pytest

from refserver import jid as module
from refserver.jid import JID, InvalidJID


def parts(text: str) -> tuple[str, str, str]:
    jid = JID.parse(text)
    return jid.localpart, jid.domainpart, jid.resourcepart


@pytest.mark.parametrize(
    "text, expected",
    [
        # RFC 7622 3.5, table 1
        ("juliet@example.com", ("juliet", "example.com", "")),
        ("juliet@example.com/foo", ("juliet", "example.com", "foo")),
        ("juliet@example.com/foo bar", ("juliet", "example.com", "foo bar")),
        ("juliet@example.com/foo@bar", ("juliet", "example.com", "foo@bar")),
        ("foo\\20bar@example.com", ("foo\\20bar", "example.com", "")),
        ("fussball@example.com", ("fussball", "example.com", "")),
        ("fu\u00dfball@example.com", ("fu\u00dfball", "example.com", "")),
        ("\u03c0@example.com", ("\u03c0", "example.com", "")),
        ("\u03a3@example.com/foo", ("\u03c3", "example.com", "foo")),
        ("\u03c3@example.com/foo", ("\u03c3", "example.com", "foo")),
        ("\u03c2@example.com/foo", ("\u03c2", "example.com", "foo")),
        ("king@example.com/\u265a", ("king", "example.com", "\u265a")),
        ("example.com", ("", "example.com", "")),
        ("example.com/foobar", ("", "example.com", "foobar")),
        ("a.example.com/b@example.net", ("", "a.example.com", "b@example.net")),
        # and more
        ("JULIET@EXAMPLE.COM/Foo", ("juliet", "example.com", "Foo")),
        ("a@b/c/d", ("a", "b", "c/d")),
        ("a@b//", ("a", "b", "/")),
        ("a@b/ c ", ("a", "b", " c ")),
        ("a@b/c\u00a0d", ("a", "b", "c d")),
        ("a@b/e\u0301", ("a", "b", "\u00e9")),
        ("e\u0301@b", ("\u00e9", "b", "")),
        ("\uff41@b", ("a", "b", "")),
        ("example.com.", ("", "example.com", "")),
        ("a@b\u00fccher.example", ("a", "b\u00fccher.example", "")),
        ("a@B\u00dcCHER.Example", ("a", "b\u00fccher.example", "")),
        ("a@xn--bcher-kva.example", ("a", "b\u00fccher.example", "")),
        ("a@b\u3002example", ("a", "b.example", "")),
        ("a@192.0.2.1", ("a", "192.0.2.1", "")),
        ("a@[2001:DB8::0:1]", ("a", "[2001:db8::1]", "")),
        ("a@localhost", ("a", "localhost", "")),
        (f"{'a' * 1023}@b/{'c' * 1023}", ("a" * 1023, "b", "c" * 1023)),
        ("ask+417@library.example", ("ask+417", "library.example", "")),
        ("\u05d0\u05d1@library.example", ("\u05d0\u05d1", "library.example", "")),
    ],
)
def test_an_address_has_three_prepared_parts(text: str, expected: tuple[str, str, str]) -> None:
    assert expected == parts(text)


@pytest.mark.parametrize(
    "text",
    [
        # RFC 7622 3.5, table 2
        '"juliet"@example.com',
        "foo bar@example.com",
        "juliet@example.com/",
        "@example.com/",
        "henry\u2163@example.com",
        "\u265a@example.com",
        "juliet@",
        "/foobar",
        # and more
        "",
        "@",
        "/",
        "@/",
        ".",
        "..",
        "a@",
        "a@.",
        "a@b@c",
        "a@b..c",
        "a@-b.example",
        "a@b-.example",
        "a@b_c.example",
        "a@b c",
        "a@b\u2028c",
        f"a@{'b' * 64}.example",
        "a@xn--a",
        "a@xn--\u00fc",
        "a@[::1",
        "a@[::g]",
        "a@::1",
        f"{'a' * 1024}@b",
        "\u00fc" * 512 + "@b",
        f"a@b/{'c' * 1024}",
        f"a@{'b.' * 512}c",
        "a&b@c",
        "a'b@c",
        "a:b@c",
        "a<b@c",
        "a>b@c",
        "a\tb@c",
        "a\x00b@c",
        "a@b/c\x00",
        "a@b/c\n",
        "a@b/\u0378",
        "\u202ea@b",
        "a\u200d@b",
        "a\u05d0@b",
        "\ud800@b",
        "a@b/\ud800",
        "a@\ud800",
        "\u2460@b",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidJID) as refused:
        JID.parse(text)
    assert not text.strip("@/.") or text not in str(refused.value)
    with pytest.raises(InvalidJID):
        JID.parse(text)  # nothing of it was kept


def test_texts_of_the_same_address_are_equal_and_of_others_not() -> None:
    assert JID.parse("Mia@Library.Example/desk") == JID.parse("mia@library.example/desk")
    assert hash(JID.parse("Mia@Library.Example/desk")) == hash(JID.parse("mia@library.example/desk"))
    assert JID.parse("mia@library.example/desk") != JID.parse("mia@library.example/Desk")
    assert JID.parse("mia@library.example") != "mia@library.example"
    assert {JID.parse("MIA@library.example"): 1}[JID.parse("mia@library.example")] == 1


def test_the_bare_address_is_one_object_without_resource() -> None:
    full = JID.parse("mia@library.example/desk")
    assert "mia@library.example" == str(full.bare)
    assert full.bare.is_bare
    assert not full.is_bare
    assert full.bare.bare is full.bare
    assert full.bare is JID.parse("mia@library.example")


def test_a_resource_is_prepared_when_it_is_put_to_an_account() -> None:
    mia = JID.parse("mia@library.example/desk")
    assert "mia@library.example/a b" == str(mia.with_resource("a\u00a0b"))
    assert "mia@library.example/a/b@c" == str(mia.with_resource("a/b@c"))
    for resource in ("", "\u0378", "a" * 1024):
        with pytest.raises(InvalidJID):
            mia.with_resource(resource)


def test_parts_are_prepared_when_put_together() -> None:
    assert JID.parse("mia@library.example/Desk") == JID.of("MIA", "Library.Example", "Desk")
    assert JID.parse("library.example") == JID.of("", "library.example")
    for local, domain in (("a@b", "c"), ("a/b", "c"), ("a", "b/c"), ("a", "b@c"), ("a", "")):
        with pytest.raises(InvalidJID):
            JID.of(local, domain)


def test_an_attribute_is_escaped_for_either_quote() -> None:
    assert "a@b/&lt;&apos;&quot;&amp;&gt;" == JID.parse("a@b/<'\"&>").attribute
    assert "a@b/c" == JID.parse("a@b/c").attribute


def test_it_reads_well_in_a_debugger() -> None:
    assert "JID('mia@library.example')" == repr(JID.parse("mia@library.example"))


# -- the cache ---------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> dict[str, JID]:
    empty: dict[str, JID] = {}
    monkeypatch.setattr(module, "_cache", empty)
    return empty


def test_an_address_is_prepared_once(cache: dict[str, JID]) -> None:
    assert JID.parse("mia@library.example/desk") is JID.parse("mia@library.example/desk")
    assert JID.parse("Mia@library.example") is JID.parse("Mia@library.example")


def test_the_cache_is_bounded_and_keeps_the_newest(
    cache: dict[str, JID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 100)
    for number in range(1000):
        JID.parse(f"A{number}@library.example/X")
        assert len(cache) <= 103
    assert "A999@library.example/X" in cache
    assert "A0@library.example/X" not in cache


def test_long_texts_and_malformed_ones_are_not_kept(cache: dict[str, JID]) -> None:
    for number in range(100):
        JID.parse(f"{number}{'a' * 300}@library.example/x")
        with pytest.raises(InvalidJID):
            JID.parse(f"@{number}")
    assert {} == cache
