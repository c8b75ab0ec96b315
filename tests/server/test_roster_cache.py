"""Which rosters are in memory, and what other features may ask of them."""

from __future__ import annotations

from typing import Any

import pytest

from refserver.core.hooks import HostRemoved, SessionBinding
from refserver.features.roster import Roster, RosterItem, Rosters
from refserver.features.roster import rosters as rosters_module
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage import NoSuchAccount, StorageError, rosters
from tests.server.harness import Harness

MIA = JID.parse("mia@library.example")
PAT = JID.parse("pat@elsewhere.example")
QUESTION = JID.parse("ask+417@library.example")


class Reads:
    """Counts how often rosters are read from the store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: list[JID] = []
        load = rosters.load

        def counted(connection: Any, account: JID) -> rosters.Roster:
            self.of.append(account)
            return load(connection, account)

        monkeypatch.setattr(rosters, "load", counted)


@pytest.fixture
def server() -> Harness:
    return Harness()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def service(server: Harness) -> Rosters:
    return server.core.feature(Rosters)


def roster(server: Harness, account: JID = MIA) -> Roster:
    found = service(server).roster_of(account)
    return found if isinstance(found, Roster) else server.run(found)


def probe(server: Harness, name: str) -> None:
    server.arrive(f"<presence type='probe' from='{PAT}' to='{name}@library.example'/>")


# -- memory -----------------------------------------------------------------------------------


def test_roster_is_read_once_at_the_bind(server: Harness, reads: Reads) -> None:
    mia = server.client("mia@library.example/desk")
    assert reads.of == [MIA]
    mia.ask("get", "<query xmlns='jabber:iq:roster'/>")
    mia.send("<presence/>")
    phone = server.client("mia@library.example/phone")
    phone.send("<presence/>")
    probe(server, "mia")
    mia.end()
    phone.end()
    probe(server, "mia")
    assert reads.of == [MIA], "and stays for a while when the last session has gone"


def test_bind_waits_for_the_roster(server: Harness) -> None:
    server.account("mia@library.example")
    again = server.restarted()
    host = again.core.hosts.get("library.example")
    assert host is not None
    with server.holding():
        waiting = service(again).binding(SessionBinding(MIA, host))
        assert waiting is not None
        assert not waiting.called
        assert service(again).in_memory(MIA) is None
    assert waiting.called
    assert service(again).in_memory(MIA) is not None
    assert service(again).binding(SessionBinding(MIA, host)) is None


def test_rosters_without_sessions_are_kept_up_to_a_number(
    server: Harness, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters_module, "IDLE_KEPT", 2)
    for name in ("a", "b", "c"):
        server.account(f"{name}@library.example")
    for name in ("a", "b", "a", "c", "a", "b"):
        probe(server, name)
    assert [jid.localpart for jid in reads.of] == ["a", "b", "c", "b"], "the least recently used goes first"


def test_roster_with_sessions_is_not_put_out_by_others(
    server: Harness, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters_module, "IDLE_KEPT", 1)
    mia = server.client("mia@library.example/desk")
    for name in ("a", "b", "c"):
        server.account(f"{name}@library.example")
        probe(server, name)
    probe(server, "mia")
    assert reads.of.count(MIA) == 1
    mia.end()
    probe(server, "a")
    probe(server, "mia")
    assert reads.of.count(MIA) == 2


def test_heavy_roster_is_not_kept_without_sessions(
    server: Harness, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters_module, "IDLE_WEIGHT", 1000)
    server.account("mia@library.example")
    probe(server, "mia")
    server.run(service(server).set_item(MIA, RosterItem(PAT, name="x" * 2000, subscription="from")))
    probe(server, "mia")
    probe(server, "mia")
    assert reads.of == [MIA, MIA, MIA]
    assert [stanza.type for stanza in server.elsewhere.received()] == [
        "unsubscribed",
        "unavailable",
        "unavailable",
    ]


def test_roster_that_runs_ahead_of_the_store_is_not_read_again(
    server: Harness, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters_module, "IDLE_KEPT", 0)
    server.account("mia@library.example")
    server.run(service(server).set_item(MIA, RosterItem(QUESTION)))
    reads.of.clear()
    monkeypatch.setattr(rosters_module, "IDLE_KEPT", 10)
    probe(server, "mia")
    assert reads.of == [MIA]
    monkeypatch.setattr(rosters_module, "IDLE_KEPT", 0)
    server.account("pat@library.example")
    with server.holding():
        waiting = service(server).set_item(MIA, RosterItem(PAT, subscription="from"))
        probe(server, "pat")
        assert roster(server).shows_presence_to(PAT), "not put out while its commit is under way"
    server.run(waiting)
    assert reads.of.count(MIA) == 1
    assert service(server).in_memory(MIA) is None, "and then it may go"


def test_unknown_account_has_no_roster(server: Harness) -> None:
    nobody = JID.parse("nobody@library.example")
    with pytest.raises(NoSuchAccount):
        roster(server, nobody)
    server.account("nobody@library.example")
    assert roster(server, nobody).items == {}, "its absence is not remembered"


def test_removed_account_leaves_nothing_behind(server: Harness) -> None:
    server.online("mia@library.example/desk").send(f"<presence type='subscribe' to='{PAT}'/>")
    server.remove_account("mia@library.example")
    assert service(server).in_memory(MIA) is None
    server.account("mia@library.example")
    assert roster(server).items == {}


def test_rosters_of_a_library_that_is_removed_are_forgotten(server: Harness) -> None:
    server.client("mia@library.example/desk")
    server.client("mia@other.example/desk").end()
    for domain in ("library.example", "other.example"):
        host = server.core.hosts.get(domain)
        assert host is not None
        server.core.hooks.tell(HostRemoved(host))
        assert service(server).in_memory(JID.of("mia", domain)) is None


def test_weight_follows_every_change() -> None:
    made = Roster(MIA, 1, {})
    for name in ("x", "x" * 100, "", "y"):
        made.put(RosterItem(PAT, name=name, groups=("a", "bc"), pending_in=b"123"))
        assert made.weight == Roster(MIA, 1, dict(made.items)).weight
    made.put(RosterItem(QUESTION))
    made.remove(PAT)
    made.remove(PAT)
    made.remove(QUESTION)
    assert made.weight == 0


# -- for other features -------------------------------------------------------------------------


def test_item_set_by_the_server_is_stored_and_pushed_and_nothing_else(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    item = RosterItem(QUESTION, name="#417 where is", subscription="both", groups=("Questions",))
    with server.holding():
        waiting = service(server).set_item(MIA, item)
        assert not waiting.called
        assert mia.told() == []
        assert roster(server).find(QUESTION) == item
    server.run(waiting)
    (push,) = mia.received()
    assert push.payload is not None
    (pushed,) = push.payload
    assert pushed.attrib == {
        "jid": QUESTION.text,
        "name": "#417 where is",
        "subscription": "both",
    }
    assert [group.text for group in pushed] == ["Questions"]
    assert server.elsewhere.told() == []
    assert roster(server.restarted()).find(QUESTION) == item


def test_item_removed_by_the_server_goes_without_a_word_to_the_contact(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    server.run(service(server).set_item(MIA, RosterItem(PAT, subscription="both")))
    mia.received()
    server.run(service(server).remove_item(MIA, PAT))
    assert mia.told() == [f"push {PAT} remove"]
    server.run(service(server).remove_item(MIA, PAT))
    assert mia.told() == []
    assert server.elsewhere.told() == []
    assert roster(server.restarted()).items == {}


def test_items_of_accounts_that_are_away_or_unknown(server: Harness) -> None:
    server.account("mia@library.example")
    again = server.restarted()
    again.run(service(again).set_item(MIA, RosterItem(QUESTION)))
    assert roster(again).find(QUESTION) is not None
    nobody = JID.parse("nobody@library.example")
    with pytest.raises(NoSuchAccount):
        again.run(service(again).set_item(nobody, RosterItem(QUESTION)))
    with pytest.raises(NoSuchAccount):
        again.run(service(again).remove_item(nobody, QUESTION))


def test_item_in_an_impossible_state_is_our_mistake(server: Harness) -> None:
    server.account("mia@library.example")
    with pytest.raises(KeyError):
        service(server).set_item(MIA, RosterItem(PAT, subscription="both", ask=True))


def test_item_that_could_not_be_stored_fails(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError("disk full")

    server.account("mia@library.example")
    server.run(service(server).set_item(MIA, RosterItem(PAT)))
    monkeypatch.setattr(rosters, "save", fail)
    monkeypatch.setattr(rosters, "delete", fail)
    with pytest.raises(StorageError):
        server.run(service(server).set_item(MIA, RosterItem(QUESTION)))
    with pytest.raises(StorageError):
        server.run(service(server).remove_item(MIA, PAT))
    assert list(roster(server).items) == [PAT]


def test_unreadable_roster_fails_those_who_wait_for_it(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk gone")

    server.account("mia@library.example")
    again = server.restarted()
    with monkeypatch.context() as patch:
        patch.setattr(rosters, "load", fail)
        with pytest.raises(StorageError):
            roster(again)
        again.arrive(f"<presence type='subscribe' id='s' from='{PAT}' to='{MIA}'/>")
    assert again.elsewhere.told() == [f"error internal-server-error from {MIA} to {PAT}"]
    assert roster(again).items == {}


def test_who_is_subscribed_to_presence(server: Harness) -> None:
    server.account("mia@library.example")
    server.run(service(server).set_item(MIA, RosterItem(PAT, subscription="from")))
    server.run(service(server).set_item(MIA, RosterItem(QUESTION, subscription="to")))
    assert service(server).subscribed_to_presence(MIA, PAT) is True
    assert service(server).subscribed_to_presence(MIA, MIA) is True
    assert service(server).subscribed_to_presence(MIA, QUESTION) is False
    again = service(server.restarted()).subscribed_to_presence(MIA, PAT)
    assert not isinstance(again, bool)
    assert server.run(again) is True
    unknown = service(server).subscribed_to_presence(JID.parse("nobody@library.example"), PAT)
    assert not isinstance(unknown, bool)
    assert server.run(unknown) is False


def test_one_who_fails_does_not_keep_others_from_the_roster(server: Harness) -> None:
    server.account("mia@library.example")
    again = server.restarted()
    seen: list[str] = []

    def broken(found: Roster | None) -> None:
        raise ZeroDivisionError

    stanza = Stanza.presence(MIA, PAT, "probe", "p")
    with server.holding():
        service(again).when_loaded(stanza, MIA, broken)
        service(again).when_loaded(stanza, MIA, lambda found: seen.append("second"))
    assert seen == ["second"]
    assert again.elsewhere.told() == [f"error internal-server-error from {MIA} to {PAT}"]
