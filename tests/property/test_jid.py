"""Addresses: what any text may become."""

from __future__ import annotations

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from refserver.jid import JID, InvalidJID

LETTERS = st.characters(codec="utf-8")
MOSTLY_PLAIN = st.one_of(st.sampled_from("abcXYZ019.-_+ßſıİσςΣÅ\u00a0\u3000é\u0301ﬁ@/"), LETTERS)
TEXTS = st.text(MOSTLY_PLAIN, min_size=1, max_size=30)
LABELS = st.text(st.sampled_from("abcXYZ019-üßéΣςﬀ・ا۱ｅ"), min_size=1, max_size=12)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PARTS = st.tuples(st.one_of(st.just(""), TEXTS), st.one_of(DOMAINS, TEXTS), st.one_of(st.just(""), TEXTS))


def text_of(parts: tuple[str, str, str]) -> str:
    local, domain, resource = parts
    return (f"{local}@" if local else "") + domain + (f"/{resource}" if resource else "")


@settings(max_examples=500, deadline=None)
@given(st.one_of(PARTS.map(text_of), TEXTS))
@example("\u1e9e@b")
@example("\u0130@b")
@example("a@\u1e9e.example")
@example("a@xn--zca.example")
@example("\u037a@b")
def test_what_is_prepared_is_its_own_preparation(text):
    """Or two parts of the server would know one account by two names."""
    with contextlib.suppress(InvalidJID):
        jid = JID.parse(text)
        again = JID.of(jid.localpart, jid.domainpart, jid.resourcepart)
        assert (jid.text, jid.localpart, jid.domainpart, jid.resourcepart) == (
            again.text,
            again.localpart,
            again.domainpart,
            again.resourcepart,
        )
        assert JID.parse(str(jid)) == jid
        assert hash(JID.parse(str(jid))) == hash(jid)


@settings(max_examples=300, deadline=None)
@given(PARTS.map(text_of))
def test_parts_are_within_their_limits_and_hold_nothing_forbidden(text):
    with contextlib.suppress(InvalidJID):
        jid = JID.parse(text)
        assert all(len(part.encode()) <= 1023 for part in (jid.localpart, jid.domainpart, jid.resourcepart))
        assert jid.domainpart
        assert not set(jid.localpart) & set("\"&'/:<>@ ")
        assert not set(jid.domainpart) & set("@/ \"&'<>")
        assert jid.domainpart == jid.domainpart.rstrip(".")
        assert jid.text == text_of((jid.localpart, jid.domainpart, jid.resourcepart))
        assert jid.bare.text == text_of((jid.localpart, jid.domainpart, ""))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text):
    with contextlib.suppress(InvalidJID):
        JID.parse(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_a_resource_survives_being_put_to_an_account(resource):
    account = JID.parse("mia@library.example")
    with contextlib.suppress(InvalidJID):
        full = account.with_resource(resource)
        assert full.bare is account
        assert account.with_resource(full.resourcepart) == full
