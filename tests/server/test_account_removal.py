"""The end of an account, whoever ends it: nothing of it is left to the next owner of the address."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from refserver import ns
from refserver.errors import StanzaError
from refserver.features.last_activity import LastActivity
from refserver.features.registration import Registration
from refserver.features.roster import Rosters
from refserver.features.roster import rosters as rosters_module
from refserver.jid import JID
from refserver.storage import accounts, queues, rosters
from tests.server.harness import Client, Harness, describe
from tests.server.library import DOMAIN, Library, write

MIA, PAT = JID.parse(f"mia@{DOMAIN}"), JID.parse(f"pat@{DOMAIN}")
FRIEND = "friend@elsewhere.example"
REMOVE = f"<query xmlns='{ns.REGISTER}'><remove/></query>"


@pytest.fixture
def server() -> Harness:
    return Harness([Registration, LastActivity])


def register(server: Harness, account: JID) -> None:
    host = server.core.hosts.get(account.domainpart)
    assert host is not None
    fields = f"<username>{account.localpart}</username><password>a secret</password>"
    query = fromstring(f"<query xmlns='{ns.REGISTER}'>{fields}</query>")
    server.run(server.core.feature(Registration).register(host, query))


def befriend(server: Harness, one: Client, other: Client) -> None:
    """Let both see each other's presence."""
    for asker, asked in ((one, other), (other, one)):
        asker.send(f"<presence type='subscribe' to='{asked.jid.bare}'/>")
        asked.send(f"<presence type='subscribed' to='{asker.jid.bare}'/>")
    one.received()
    other.received()


def forget_rosters(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no roster of an account without sessions in memory."""
    monkeypatch.setattr(rosters_module, "IDLE_KEPT", 0)
    server.online("trigger@library.example/x").end()


def test_contacts_are_told_even_if_the_roster_is_not_in_memory(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    mia, pat = server.online(f"{MIA}/desk"), server.online(f"{PAT}/phone")
    befriend(server, mia, pat)
    server.arrive(f"<presence type='subscribe' from='{FRIEND}' to='{PAT}'/>")
    pat.send(f"<presence type='subscribed' to='{FRIEND}'/>")
    pat.end()
    mia.received()
    server.elsewhere.received()
    forget_rosters(server, monkeypatch)
    assert server.core.feature(Rosters).in_memory(PAT) is None
    server.remove_account(PAT.text)
    told = mia.told()
    assert f"unsubscribe from {PAT}" in told
    assert f"unsubscribed from {PAT}" in told
    assert [f"unsubscribed from {PAT} to {FRIEND}"] == server.elsewhere.told()


def test_contacts_keep_no_subscription_to_an_account_that_ended(server: Harness) -> None:
    mia, pat = server.online(f"{MIA}/desk"), server.online(f"{PAT}/phone")
    befriend(server, mia, pat)
    mia.end()
    pat.end()
    server.database.write_now(server.core.remove_account, PAT, 0.0)  # no server runs
    stored = server.database.read_now(rosters.load, MIA).items[PAT]
    assert ("none", False, False) == (stored.subscription, stored.ask, stored.approved)


def test_the_next_owner_of_an_address_does_not_see_the_last_one_s_contacts(server: Harness) -> None:
    mia, pat = server.online(f"{MIA}/desk"), server.online(f"{PAT}/phone")
    befriend(server, mia, pat)
    mia.send("<presence><status>in the stacks</status></presence>")
    server.remove_account(PAT.text)
    pat.end()
    mia.received()
    register(server, PAT)
    stranger = server.online(f"{PAT}/phone")
    mia.send("<presence><status>at the desk</status></presence>")
    stranger.send(f"<presence type='probe' to='{MIA}'/>")
    assert [] == stranger.told()


def test_an_approval_given_beforehand_ends_with_the_account(server: Harness) -> None:
    server.account(PAT.text)
    mia = server.online(f"{MIA}/desk")
    mia.send(f"<presence type='subscribed' to='{PAT}'/>")
    server.remove_account(PAT.text)
    stranger = server.online(f"{PAT}/phone")
    mia.received()
    stranger.send(f"<presence type='subscribe' to='{MIA}'/>")
    assert [f"subscribe from {PAT}"] == mia.told()
    assert not [line for line in stranger.told() if line.startswith(("subscribed", "available"))]


def test_the_next_owner_of_an_address_was_never_active(server: Harness) -> None:
    pat = server.online(f"{PAT}/phone")
    pat.send("<presence type='unavailable'><status>gone home</status></presence>")
    pat.end()
    server.remove_account(PAT.text)
    register(server, PAT)
    server.clock.advance(60)
    assert server.database.read_now(accounts.last_activity, PAT) is None


# -- librarians --------------------------------------------------------------------


@pytest.fixture
def library() -> Library:
    return Library(more_features=(Registration,))


def test_a_librarian_who_removes_her_account_is_in_office_no_more(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    pat = library.patron()
    write(pat, f"ask@{DOMAIN}", "Where are the maps?")
    write(mia, f"ask@{DOMAIN}", "!1")
    assert MIA == library.question().owner
    noa.received()
    assert "result" == mia.ask("set", REMOVE).type
    library.clock.advance(0)
    assert mia.closed
    assert library.question().owner is None
    assert [] == library.database.read_now(queues.desks_of, MIA)
    assert MIA not in library.queue.librarians


def test_the_address_of_a_librarian_cannot_be_registered_in_band(library: Library) -> None:
    library.database.write_now(accounts.remove, MIA)
    with pytest.raises(StanzaError) as refusal:
        register(library, MIA)
    assert "conflict" == refusal.value.condition.value


def test_a_removed_account_is_no_subscriber_of_a_queue(library: Library) -> None:
    pat = library.patron()
    pat.send(f"<presence type='subscribe' to='ask@{DOMAIN}'/>")
    queue = library.queue.profile.id
    assert {PAT} == set(library.database.read_now(queues.subscribers, queue))
    library.remove_account(PAT.text)
    assert set() == set(library.database.read_now(queues.subscribers, queue))


def test_the_next_owner_of_an_address_does_not_own_the_last_one_s_rooms(library: Library) -> None:
    pat = library.patron()
    room = f"books@rooms.{DOMAIN}"
    pat.send(f"<presence to='{room}/pat'><x xmlns='{ns.MUC}'/></presence>")
    form = f"<x xmlns='{ns.DATA}' type='submit'/>"
    assert "result" == pat.ask("set", f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>", room).type
    assert "result" == pat.ask("get", f"<query xmlns='{ns.MUC_OWNER}'/>", room).type
    library.remove_account(PAT.text)
    pat.end()
    register(library, PAT)
    stranger = library.online(f"{PAT}/tablet")
    assert "error item-not-found" == describe(stranger.ask("get", f"<query xmlns='{ns.MUC_OWNER}'/>", room))
