"""Whom libraries let in and keep out, and what they reported as spam, in the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import evolve
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.storage import NoSuchLibrary, access_rules, libraries, queues, schema, sqlite
from refserver.storage.access_rules import EVERYWHERE, Rule, SpamCount

HERE, THERE = "library.example", "other.example"
EVE = JID.parse("eve@spam.example")
MIA = JID.parse("mia@library.example")
RULE = Rule("spam.example", "eve", reason="adverts", made_at=5.0)


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A database with two libraries, each with a queue."""
    engine = sqlite.memory_engine()
    schema.metadata.create_all(engine)
    with engine.begin() as connection:
        for domain in (HERE, THERE):
            libraries.add(connection, domain, "A Library")
            queues.add(connection, JID.parse(f"ask@{domain}"))
        yield connection
    engine.dispose()


def test_a_rule_is_read_as_it_was_written(connection: Connection) -> None:
    desk = Rule("spam.example", "", "f00", False, "", MIA.text, "ask", 417, 5.0, 9.0)
    for rule in (RULE, desk, Rule("spam.example", allowed=True)):
        access_rules.put(connection, HERE, rule)
    assert {rule.key: rule for rule in access_rules.rules(connection, HERE)} == {
        "eve@spam.example": RULE,
        "f00": desk,
        "spam.example": Rule("spam.example", allowed=True),
    }
    assert access_rules.of_question(connection, HERE, "ask", 417) == desk
    assert access_rules.of_question(connection, THERE, "ask", 417) is None


def test_libraries_have_rules_of_their_own_and_there_are_some_for_all(connection: Connection) -> None:
    access_rules.put(connection, HERE, RULE)
    access_rules.put(connection, EVERYWHERE, Rule("worse.example"))
    assert access_rules.rules(connection, THERE) == []
    assert access_rules.rules(connection, HERE) == [RULE]
    assert access_rules.rules(connection, EVERYWHERE) == [Rule("worse.example")]


@pytest.mark.parametrize("library", [HERE, EVERYWHERE])
def test_there_is_one_rule_a_sender(connection: Connection, library: str) -> None:
    access_rules.put(connection, library, RULE)
    access_rules.put(connection, library, evolve(RULE, allowed=True))
    assert access_rules.rules(connection, library) == [evolve(RULE, allowed=True)]
    assert access_rules.remove(connection, library, RULE)
    assert not access_rules.remove(connection, library, RULE)
    assert access_rules.rules(connection, library) == []


def test_the_rules_about_one_domain_are_read_alone(connection: Connection) -> None:
    for rule in (RULE, Rule("spam.example"), Rule("spam.example.org")):
        access_rules.put(connection, HERE, rule)
    found = access_rules.rules(connection, HERE, "spam.example")
    assert [rule.key for rule in found] == ["spam.example", "eve@spam.example"]


def test_what_is_over_is_removed(connection: Connection) -> None:
    for number, expires_at in enumerate((None, 9.0, 10.0, 11.0)):
        access_rules.put(connection, HERE, Rule("spam.example", f"eve{number}", expires_at=expires_at))
    assert access_rules.drop_expired(connection, 10.0) == 2
    assert [rule.localpart for rule in access_rules.rules(connection, HERE)] == ["eve0", "eve3"]


def test_rules_go_with_their_library(connection: Connection) -> None:
    access_rules.put(connection, HERE, RULE)
    access_rules.put(connection, EVERYWHERE, RULE)
    access_rules.set_allow_only(connection, HERE, True)
    access_rules.add_report(connection, HERE, "ask", 1, librarian=MIA, domain="spam.example", now=1.0)
    libraries.remove(connection, HERE)
    libraries.add(connection, HERE, "Another Library")
    assert access_rules.rules(connection, HERE) == []
    assert access_rules.reports(connection, HERE) == []
    assert not access_rules.is_allow_only(connection, HERE)
    assert access_rules.rules(connection, EVERYWHERE) == [RULE]
    with pytest.raises(NoSuchLibrary):
        access_rules.put(connection, "nowhere.example", RULE)


def test_a_library_may_let_in_only_whom_it_allows(connection: Connection) -> None:
    assert not access_rules.is_allow_only(connection, HERE)
    for _ in range(2):
        access_rules.set_allow_only(connection, HERE, True)
        assert access_rules.is_allow_only(connection, HERE)
    assert not access_rules.is_allow_only(connection, THERE)
    access_rules.set_allow_only(connection, HERE, False)
    assert not access_rules.is_allow_only(connection, HERE)


def test_a_fingerprint_recognises_a_bare_jid_with_the_key_of_one_library(connection: Connection) -> None:
    here, there = (access_rules.fingerprint_key(connection, domain) for domain in (HERE, THERE))
    assert here == access_rules.fingerprint_key(connection, HERE)
    known = access_rules.fingerprint(here, EVE)
    assert known == access_rules.fingerprint(here, EVE.with_resource("phone"))
    assert known != access_rules.fingerprint(there, EVE)
    assert known != access_rules.fingerprint(here, JID.parse("eva@spam.example"))
    assert "eve" not in known


def test_subscribers_at_a_domain_are_found_and_unsubscribed(connection: Connection) -> None:
    subscribers = [
        JID.parse(text)
        for text in ("eve@spam.example", "adam@spam.example", "pat@notspam.example", "spam.example")
    ]
    for queue in queues.all_queues(connection):
        for jid in subscribers:
            queues.subscribe(connection, queue.id, jid, 1.0)
    here, there = queues.all_queues(connection)
    there_now = set(subscribers) - {subscribers[2]}
    assert access_rules.subscribers_at(connection, HERE, "spam.example") == {HERE: there_now}
    everywhere = access_rules.subscribers_at(connection, EVERYWHERE, "spam.example")
    assert everywhere == {HERE: there_now, THERE: there_now}
    access_rules.unsubscribe(connection, HERE, [EVE])
    assert queues.subscribers(connection, here.id) == set(subscribers) - {EVE}
    assert queues.subscribers(connection, there.id) == set(subscribers)
    access_rules.unsubscribe(connection, EVERYWHERE, [EVE])
    assert queues.subscribers(connection, there.id) == set(subscribers) - {EVE}


def test_spam_is_counted_by_domain_newest_first(connection: Connection) -> None:
    for number, domain in enumerate(("spam.example", "worse.example", "spam.example")):
        access_rules.add_report(
            connection, HERE, "ask", number, librarian=MIA, domain=domain, now=float(number)
        )
    access_rules.add_report(connection, THERE, "ask", 1, librarian=MIA, domain="spam.example", now=9.0)
    both = [SpamCount("spam.example", 2, 2.0), SpamCount("worse.example", 1, 1.0)]
    assert access_rules.reports(connection, HERE) == both
    assert access_rules.reports(connection, HERE, 2.0) == [SpamCount("spam.example", 1, 2.0)]
    assert access_rules.reports(connection, EVERYWHERE)[0] == SpamCount("spam.example", 3, 9.0)
    assert access_rules.remove_report(connection, HERE, "ask", 1)
    assert not access_rules.remove_report(connection, HERE, "ask", 1)
    assert access_rules.reports(connection, HERE) == both[:1]
