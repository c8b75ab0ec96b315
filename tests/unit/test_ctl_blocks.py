"""refserverctl block …, allow … and spam …, while no server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refserver.features.library_access import load
from refserver.jid import JID
from refserver.reference import asking, closing
from refserver.reference.asking import Asker, Utterance
from refserver.storage import Database, access_rules, queues
from refserver.storage.access_rules import EVERYWHERE
from tests.unit.ctl_runner import Ctl

HERE, SPAM = "library.example", "spam.example"
ASK, EVE, MIA = f"ask@{HERE}", f"eve@{SPAM}", f"mia@{HERE}"
NOW = 1_750_000_000.0


class Store:
    """What the tests put into the store besides."""

    def __init__(self, path: Path) -> None:
        self.database = Database.open(path)

    def __enter__(self) -> Store:
        self.queue = self.database.read_now(queues.all_queues, HERE)[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close_now()

    def spam(self, sender: str = EVE, now: float = NOW) -> int:
        """A question, and a librarian who calls it spam; its number."""
        said = self.database.write_now(
            asking.say, self.queue.id, Asker(JID.parse(sender)), Utterance("Watches"), now=now
        )
        self.database.write_now(closing.spam, said.question.id, JID.parse(MIA), now)
        return said.question.number

    def subscribe(self, *jids: str) -> None:
        for jid in jids:
            self.database.write_now(queues.subscribe, self.queue.id, JID.parse(jid), NOW)

    def subscribers(self) -> set[str]:
        return {jid.text for jid in self.database.read_now(queues.subscribers, self.queue.id)}


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", HERE)
    ctl.ok("queue", "add", ASK)
    ctl.ok("librarian", "add", ASK, "lou@partner.example")
    ctl.add_account(MIA)
    ctl.ok("librarian", "add", ASK, MIA)
    return ctl


@pytest.fixture
def store(ctl: Ctl) -> Any:
    """Opens the store; no command may be given meanwhile."""
    return lambda: Store(ctl.database)


@pytest.mark.parametrize("verb", ["block", "allow"])
@pytest.mark.parametrize("library", [HERE, "*"])
def test_a_sender_is_on_the_list_until_it_is_removed(ctl: Ctl, verb: str, library: str) -> None:
    assert ctl.ok(verb, "add", library, SPAM, "--reason", "adverts") == f"{SPAM}: added\n"
    assert ctl.ok(verb, "add", library, EVE.upper()) == f"{EVE}: added\n"
    rows = ctl.json(verb, "list", HERE)
    assert [(row["library"], row["sender"], row["reason"]) for row in rows] == [
        (library, SPAM, "adverts"),
        (library, EVE, ""),
    ]
    assert {(row["origin"], row["by"], row["until"]) for row in rows} == {("refserverctl", None, None)}
    for sender in (SPAM, EVE):
        assert ctl.ok(verb, "remove", library, sender) == f"{sender}: removed\n"
    assert ctl.json(verb, "list", HERE) == []


def test_the_same_again_changes_nothing_and_a_reason_stays(ctl: Ctl) -> None:
    ctl.ok("block", "add", HERE, SPAM, "--reason", "adverts")
    assert ctl.ok("block", "add", HERE, SPAM) == f"{SPAM}: unchanged\n"
    assert ctl.ok("block", "add", HERE, SPAM, "--reason", "worse") == f"{SPAM}: changed\n"
    assert [row["reason"] for row in ctl.json("block", "list", HERE)] == ["worse"]


def test_a_sender_is_on_one_of_the_lists(ctl: Ctl) -> None:
    ctl.ok("block", "add", HERE, EVE)
    assert ctl.ok("allow", "add", HERE, EVE) == f"{EVE}: changed\n"
    assert ctl.json("block", "list", HERE) == []
    assert "is not blocked" in ctl.refused("block", "remove", HERE, EVE)
    assert ctl.ok("block", "add", HERE, EVE) == f"{EVE}: changed\n"
    assert ctl.json("allow", "list", HERE) == []
    assert "is not on the list" in ctl.refused("allow", "remove", HERE, EVE)


def test_the_lists_are_for_people_too(ctl: Ctl) -> None:
    assert ctl.ok("block", "list", HERE) == "nobody is blocked\n"
    assert ctl.ok("allow", "list", HERE) == "nobody is on the list\n"
    ctl.ok("block", "add", HERE, SPAM, "--reason", "adverts")
    head, line = ctl.ok("block", "list", HERE).splitlines()
    assert head.split() == ["library", "sender", "reason", "origin", "by", "since", "until"]
    assert line.split()[:5] == [HERE, SPAM, "adverts", "refserverctl", "-"]


def test_blocking_ends_subscriptions_but_those_of_whom_is_allowed_or_works_here(ctl: Ctl, store: Any) -> None:
    with store() as opened:
        opened.subscribe(EVE, f"adam@{SPAM}", "lou@partner.example", "pat@partner.example", "x@good.example")
    ctl.ok("allow", "add", HERE, f"adam@{SPAM}")
    ctl.ok("block", "add", HERE, SPAM)
    ctl.ok("block", "add", "*", "partner.example")
    with store() as opened:
        assert opened.subscribers() == {f"adam@{SPAM}", "lou@partner.example", "x@good.example"}


def test_allow_only_ends_no_subscription(ctl: Ctl, store: Any) -> None:
    with store() as opened:
        opened.subscribe(EVE, f"adam@{SPAM}")
    ctl.ok("allow", "only", HERE, "--on")
    ctl.ok("block", "add", HERE, f"adam@{SPAM}")
    with store() as opened:
        assert opened.subscribers() == {EVE}


def test_allow_only_says_how_it_is_and_changes_it(ctl: Ctl) -> None:
    assert ctl.ok("allow", "only", HERE) == f"{HERE}: off\n"
    assert ctl.ok("allow", "only", HERE, "--on") == f"{HERE}: changed\n"
    assert ctl.ok("allow", "only", HERE, "--on") == f"{HERE}: unchanged\n"
    assert ctl.json("allow", "only", HERE) == {"library": HERE, "allow_only": True, "done": "on"}
    assert ctl.ok("allow", "only", HERE, "--off") == f"{HERE}: changed\n"
    assert "is no domain" in ctl.refused("allow", "only", "*", "--on")


def test_whom_a_desk_has_blocked_is_listed_without_a_name(ctl: Ctl, store: Any) -> None:
    ctl.ok("block", "add", HERE, "worse.example")
    with store() as opened:
        opened.spam(now=4_000_000_000.0)
    (row, _) = ctl.json("block", "list", HERE)
    assert row == {
        "library": HERE,
        "sender": f"…@{SPAM}",
        "reason": "",
        "origin": f"!spam ask+1@{HERE}",
        "by": MIA,
        "since": "2096-10-02T07:06:40Z",
        "until": "2097-04-03T07:06:40Z",
    }


@pytest.mark.parametrize(
    "words", [("block", "remove", HERE, EVE), ("block", "remove", HERE, f"ask+1@{HERE}")]
)
def test_the_desk_s_block_is_removed_by_address_or_question(ctl: Ctl, store: Any, words: Any) -> None:
    with store() as opened:
        opened.spam()
    assert "is not blocked" in ctl.refused("block", "remove", HERE, f"adam@{SPAM}")
    assert "is not blocked" in ctl.refused("block", "remove", HERE, f"ask+2@{HERE}")
    assert ctl.ok(*words) == f"{words[-1]}: removed\n"
    with store() as opened:
        assert opened.database.read_now(access_rules.rules, HERE) == []


def test_allowing_somebody_lifts_the_desk_s_block(ctl: Ctl, store: Any) -> None:
    with store() as opened:
        opened.spam()
    assert ctl.ok("allow", "add", HERE, EVE) == f"{EVE}: changed\n"
    with store() as opened:
        (rule,) = opened.database.read_now(access_rules.rules, HERE)
        assert (rule.allowed, rule.fingerprint) == (True, "")


def test_spam_is_counted_by_server_the_latest_first(ctl: Ctl, store: Any) -> None:
    assert ctl.ok("spam", "list", HERE) == "no spam was reported\n"
    with store() as opened:
        for number, sender in enumerate((EVE, "a@worse.example", "b@worse.example", f"x@{SPAM}")):
            opened.spam(sender, NOW + number * 86_400)
    ctl.ok("block", "add", "*", "worse.example")
    rows = [
        {"domain": SPAM, "reports": 2, "last": "2025-06-18T15:06:40Z", "blocked": False},
        {"domain": "worse.example", "reports": 2, "last": "2025-06-17T15:06:40Z", "blocked": True},
    ]
    assert ctl.json("spam", "list", HERE) == ctl.json("spam", "list", "*") == rows
    recent = ctl.json("spam", "list", HERE, "--from", "2025-06-17")
    assert [(row["domain"], row["reports"]) for row in recent] == [(SPAM, 1), ("worse.example", 1)]
    ctl.ok("allow", "add", HERE, "worse.example")
    assert not any(row["blocked"] for row in ctl.json("spam", "list", HERE))
    assert ctl.ok("spam", "list", HERE).splitlines()[1].split() == [SPAM, "2", "2025-06-18T15:06:40Z", "no"]


def test_blocking_a_librarian_is_done_and_noted(ctl: Ctl) -> None:
    result = ctl.run("block", "add", HERE, "lou@partner.example")
    assert (result.exit_code, result.stdout) == (0, "lou@partner.example: added\n")
    assert (
        result.stderr == f"note: lou@partner.example is a librarian of {ASK}, and cannot get there any more\n"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("block", "add", "no.example", SPAM), "there is no library no.example"),
        (("block", "add", "no library", SPAM), "is no domain"),
        (("block", "list", "no.example"), "there is no library no.example"),
        (("spam", "list", "no.example"), "there is no library no.example"),
        (("block", "add", HERE, f"{EVE}/phone"), "is no sender"),
        (("block", "add", HERE, "@"), "is no sender"),
        (("allow", "add", HERE, ""), "is no sender"),
        (("block", "add", HERE, HERE), f"{HERE} is served here"),
        (("block", "add", HERE, f"rooms.{HERE}"), f"rooms.{HERE} is served here"),
        (("block", "add", "*", HERE), f"{HERE} is served here"),
        (("block", "add", HERE, SPAM, "--reason", "x" * 201), "a reason has 200 characters at most"),
        (("block", "remove", HERE, SPAM), "is not blocked: `refserverctl block list 'library.example'`"),
        (("allow", "remove", "*", SPAM), "is not on the list: `refserverctl allow list '*'`"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(ctl: Ctl, words: tuple[str, ...], why: str) -> None:
    assert why in ctl.refused(*words)
    with Store(ctl.database) as opened:
        for library in (HERE, EVERYWHERE):
            assert len(opened.database.read_now(load, library)) == 0
