"""Whom a library blocks finds nobody there; what is on its lists holds at once, and after a restart."""

from __future__ import annotations

import pytest

from refserver.core.feature import Feature, on
from refserver.core.hooks import HostRemoved, HostsComing, SendersChanged
from refserver.features.account_data import VCard
from refserver.features.library_access import LOOK_SECONDS, LibraryAccess, LibraryGate
from refserver.features.messages import Messages
from refserver.features.offline import Offline
from refserver.features.server_information import Disco, Ping
from refserver.jid import JID
from refserver.storage import access_rules
from refserver.storage.access_rules import EVERYWHERE, Rule
from tests.server.harness import EPOCH, Harness, describe

HERE = "library.example"
MIA, NOBODY = f"mia@{HERE}", f"nobody@{HERE}"
EVE, PAT = "eve@spam.example/bot", "pat@good.example/phone"
SPAM = Rule("spam.example")
REQUESTS = {
    "ping": "<ping xmlns='urn:xmpp:ping'/>",
    "card": "<vCard xmlns='vcard-temp'/>",
    "disco": "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    "unknown": "<query xmlns='what'/>",
}


class Told(Feature):
    """Remembers what it was told."""

    name = "told"

    def __init__(self, core):
        super().__init__(core)
        self.domains = []

    @on(SendersChanged)
    def changed(self, event):
        self.domains.append((event.host and event.host.domain, event.domain))


@pytest.fixture
def server() -> Harness:
    return Harness([LibraryAccess, Messages, Offline, Disco, Ping, VCard, Told])


def listed(server: Harness, library: str, *rules: Rule) -> None:
    for rule in rules:
        server.database.write_now(access_rules.put, library, rule)
        server.core.feature(LibraryAccess).put(library, rule)


def message(sender: str, to: str = MIA, type: str = "chat") -> str:
    return f"<message from='{sender}' to='{to}' type='{type}'><body>hello</body></message>"


def answer(server: Harness, stanza: str) -> list[str]:
    server.arrive(stanza)
    return [describe(each) for each in server.elsewhere.received()]


def test_a_message_of_a_blocked_sender_is_answered_as_where_there_is_no_account(server):
    mia = server.online(f"{MIA}/desk")
    absent = answer(server, message(EVE, NOBODY))
    listed(server, HERE, SPAM)
    assert ["error service-unavailable from mia@library.example"] == answer(server, message(EVE))
    assert [absent[0].replace(NOBODY, MIA)] == answer(server, message(EVE))
    assert [] == mia.received()
    assert [] == answer(server, message(PAT))
    assert ["message from pat@good.example/phone: hello"] == mia.told()


@pytest.mark.parametrize("to", [MIA, f"{MIA}/desk"])
@pytest.mark.parametrize("payload", REQUESTS.values(), ids=REQUESTS)
def test_a_request_of_a_blocked_sender_is_answered_as_where_there_is_no_account(server, payload, to):
    mia = server.online(f"{MIA}/desk")
    iq = "<iq from='{}' to='{}' id='1' type='get'>{}</iq>"
    absent = answer(server, iq.format(EVE, to.replace(MIA, NOBODY), payload))
    listed(server, HERE, SPAM)
    assert absent == answer(server, iq.format(EVE, to, payload)) == ["error service-unavailable"]
    assert [] == mia.received()


@pytest.mark.parametrize(
    "type", ["", "subscribe", "subscribed", "unsubscribe", "probe", "unavailable", "error"]
)
def test_presence_of_a_blocked_sender_is_dropped(server, type):
    mia = server.online(f"{MIA}/desk")
    listed(server, HERE, SPAM)
    assert [] == answer(server, f"<presence from='{EVE}' to='{MIA}' type='{type}'/>".replace(" type=''", ""))
    assert [] == mia.received()


@pytest.mark.parametrize(
    "stanza",
    [
        message(EVE, type="error"),
        message(EVE, type="headline"),
        f"<iq from='{EVE}' to='{MIA}/desk' id='1' type='result'/>",
        f"<iq from='{EVE}' to='{MIA}/desk' id='1' type='error'><error type='cancel'/></iq>",
    ],
)
def test_errors_results_and_headlines_of_a_blocked_sender_are_never_answered(server, stanza):
    mia = server.online(f"{MIA}/desk")
    listed(server, HERE, SPAM)
    assert [] == answer(server, stanza)
    assert [] == mia.received()


def test_the_library_itself_and_its_rooms_are_behind_the_gate_and_other_libraries_are_not(server):
    listed(server, HERE, SPAM)
    iq = "<iq from='eve@spam.example/bot' to='{}' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
    server.core.hosts.add_service(f"rooms.{HERE}", server.elsewhere)
    server.core.hosts.add_service("rooms.other.example", server.elsewhere)
    assert ["error service-unavailable"] == answer(server, iq.format(HERE))
    assert ["error service-unavailable"] == answer(server, iq.format(f"rooms.{HERE}"))
    assert ["result"] == answer(server, iq.format("other.example"))
    assert ["get"] == answer(server, iq.format("rooms.other.example"))


def test_accounts_of_another_library_here_are_strangers_too(server):
    mia, eve = server.online(f"{MIA}/desk"), server.online("eve@other.example/phone")
    mia.send("<presence to='eve@other.example' type='subscribe'/>")
    eve.send(f"<presence to='{MIA}' type='subscribed'/>")
    mia.received()
    eve.send("<presence/>")
    assert ["available from eve@other.example/phone"] == mia.told()
    listed(server, HERE, Rule("other.example"))
    eve.received()
    eve.send("<presence><show>away</show></presence>")
    eve.send(message("", MIA).replace(" from=''", ""))
    assert [] == mia.received()
    assert "error service-unavailable from mia@library.example" == eve.told()[-1]


def test_own_accounts_are_blocked_at_queues_only(server):
    mia, pat = server.online(f"{MIA}/desk"), server.online(f"pat@{HERE}/phone")
    host = server.core.hosts.get(HERE)
    assert host is not None
    host.addresses["ask"] = server.elsewhere
    listed(server, HERE, Rule(HERE, "pat"))
    for to in (MIA, f"ask@{HERE}", f"ask+417@{HERE}"):
        pat.send(message("", to).replace(" from=''", ""))
    assert ["message from pat@library.example/phone: hello"] == mia.told()
    assert [
        "error service-unavailable from ask@library.example",
        "error service-unavailable from ask+417@library.example",
    ] == pat.told()
    assert [] == server.elsewhere.received()


def test_a_server_whose_domain_the_library_s_is_under_is_a_stranger(server):
    """university.example and library.university.example need not be one server."""
    mia = server.online(f"{MIA}/desk")
    listed(server, HERE, Rule("example"))
    assert ["error service-unavailable from mia@library.example"] == answer(server, message("eve@example/x"))
    assert [] == mia.received()


def test_what_holds_everywhere_holds_in_libraries_that_come_later(server):
    listed(server, EVERYWHERE, SPAM)
    server._add_library("third.example")
    for domain in (HERE, "other.example", "third.example"):
        assert ["error service-unavailable from mia@" + domain] == answer(
            server, message(EVE, f"mia@{domain}")
        )
    server.core.feature(LibraryAccess).drop(EVERYWHERE, SPAM)
    assert {} == server.core.hosts.gates


def test_rules_hold_after_a_restart(server):
    listed(server, HERE, SPAM)
    key = server.database.write_now(access_rules.fingerprint_key, HERE)
    marked = Rule("good.example", "", access_rules.fingerprint(key, server.account(f"pat@{HERE}")))
    server.database.write_now(access_rules.put, HERE, marked)
    again = Harness([LibraryAccess, Messages], database=server.database)
    assert ["error service-unavailable from mia@library.example"] == answer(again, message(EVE))
    assert {HERE} == set(again.core.hosts.gates)


def test_a_block_with_a_time_ends_by_itself_and_leaves_the_store(server):
    listed(server, HERE, Rule("spam.example", "eve", expires_at=EPOCH + 60))
    assert ["error service-unavailable from mia@library.example"] == answer(server, message(EVE))
    server.clock.advance(60)
    mia = server.online(f"{MIA}/desk")
    server.arrive(message(EVE))
    assert ["message from eve@spam.example/bot: hello"] == mia.told()
    server.clock.advance(LOOK_SECONDS)
    assert [] == server.database.read_now(access_rules.rules, HERE)


def test_a_library_may_let_in_only_whom_it_allows(server):
    blocking = server.core.feature(LibraryAccess)
    listed(server, HERE, Rule("good.example", allowed=True))
    blocking.allow_only(HERE, True)
    mia, pat = server.online(f"{MIA}/desk"), server.online(f"pat@{HERE}/phone")
    pat.send(message("", MIA).replace(" from=''", ""))
    server.arrive(message(PAT))
    assert ["message from pat@library.example/phone: hello", f"message from {PAT}: hello"] == mia.told()
    assert ["error service-unavailable from mia@library.example"] == answer(server, message(EVE))
    blocking.allow_only(HERE, False)
    assert [] == answer(server, message(EVE))
    assert [f"message from {EVE}: hello"] == mia.told()


def test_who_must_know_of_a_change_is_told(server):
    listed(server, HERE, SPAM)
    listed(server, EVERYWHERE, Rule("worse.example"))
    server.core.feature(LibraryAccess).put("nowhere.example", SPAM)
    assert [(HERE, "spam.example"), (None, "worse.example")] == server.core.feature(Told).domains


def test_a_library_that_goes_takes_its_gate_along(server):
    listed(server, HERE, SPAM)
    host = server.core.hosts.get(HERE)
    assert host is not None
    server.core.hosts.remove(HERE)
    server.core.hooks.tell(HostRemoved(host))
    assert {} == server.core.hosts.gates


def test_at_the_start_libraries_with_rules_have_them_and_the_others_none(server):
    """What is read of all libraries at once is what each has."""
    open_one, closed_one = "open.example", "closed.example"
    for domain in (open_one, closed_one):
        server._add_library(domain)
    listed(server, HERE, SPAM)
    server.database.write_now(access_rules.set_allow_only, closed_one, True)
    again = Harness([LibraryAccess, Messages, Offline], domains=(), database=server.database)
    again.core.hooks.tell(HostsComing(frozenset({HERE, open_one, closed_one})))
    for domain in (HERE, open_one, closed_one):
        again._add_library(domain)
    assert {HERE, closed_one} == set(again.core.hosts.gates)
    assert again.core.hosts.gates[HERE].blocks(JID.parse("eve@spam.example"))
    assert not again.core.hosts.gates[HERE].blocks(JID.parse("pat@good.example"))
    closed = again.core.hosts.gates[closed_one]
    assert isinstance(closed, LibraryGate)
    assert closed.own.allow_only
