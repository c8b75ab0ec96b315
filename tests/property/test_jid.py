"""Whatever is taken for an address has one normal form, which means the same and can be written as XML."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from refserver.jid import JID, InvalidJID

# What a parser of XML can hand over: no surrogates, no control characters.
XML = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")
ODD = st.sampled_from("@/.。．｡-[]:%&'\"<> ßΣςÅﬁ\u0301\u00ad\u200d\u202e\u2488xnXN１")
NAMES = st.text(st.characters(categories=("Ll", "Lu", "Lo", "Nd")), min_size=1, max_size=6)
TEXTS = st.text(XML | ODD, max_size=8)
DOMAINS = st.builds(
    "{}{}".format,
    st.sampled_from(["a", "B.c", "ü", "xn--4ca", "１", "[::1]"]),
    st.text("aß1-.。", max_size=3),
)
ADDRESSES = st.one_of(
    TEXTS,
    st.builds("{}@{}".format, NAMES, DOMAINS),
    st.builds("{}@{}/{}".format, NAMES, DOMAINS, TEXTS),
    st.builds("{}@{}".format, TEXTS, TEXTS),
)


def parsed(text: str) -> JID | None:
    """None for what is no address: of that nothing is said here."""
    try:
        return JID.parse(text)
    except InvalidJID:
        return None


def test_many_of_these_texts_are_addresses() -> None:
    counted = []

    @settings(max_examples=200, database=None)
    @given(ADDRESSES)
    def count(text: str) -> None:
        counted.append(parsed(text) is not None)

    count()
    assert sum(counted) > 30


@given(ADDRESSES)
def test_a_normal_form_is_its_own(text: str) -> None:
    jid = parsed(text)
    if jid is None:
        return
    again = JID.parse(jid.text)
    assert (jid, jid.text, hash(jid)) == (again, again.text, hash(again))


@given(ADDRESSES)
def test_the_parts_make_the_address_again(text: str) -> None:
    jid = parsed(text)
    if jid is None:
        return
    assert jid == JID.of(jid.localpart, jid.domainpart, jid.resourcepart)
    assert jid.bare == JID.of(jid.localpart, jid.domainpart)
    assert all(len(part.encode()) <= 1023 for part in (jid.localpart, jid.domainpart, jid.resourcepart))


@given(ADDRESSES)
def test_in_an_attribute_it_reads_as_itself(text: str) -> None:
    jid = parsed(text)
    if jid is None:
        return
    for quote in "'\"":
        written = f"<a b={quote}{jid.attribute}{quote}/>"
        assert jid.text == ElementTree.fromstring(written).get("b")


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    jid = parsed(text)
    assert jid is None or jid.domainpart
