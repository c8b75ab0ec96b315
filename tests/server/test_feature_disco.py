"""Service discovery: what libraries and accounts say of themselves, and to whom (XEP-0030)."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.core.feature import Feature
from refserver.features.account_data import VCard
from refserver.features.last_activity import LastActivity
from refserver.features.registration import Registration
from refserver.features.server_information import Disco, Ping
from refserver.stanza import Stanza
from tests.server.harness import Client, Harness, describe

INFO = f"<query xmlns='{ns.DISCO_INFO}'/>"
ITEMS = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
PAT, DOMAIN = "pat@library.example", "library.example"


class Quiet(Feature):
    """A feature that says nothing of itself."""

    name = "quiet"


class Desk:
    """An address that is no account."""

    def deliver(self, stanza: Stanza) -> None:
        raise AssertionError


@pytest.fixture
def server() -> Harness:
    return Harness([Disco, Ping, LastActivity, VCard, Registration, Quiet])


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.online("mia@library.example/desk")


def identities(answer: Stanza) -> list[tuple[str | None, ...]]:
    assert answer.payload is not None
    found = answer.payload.findall(f"{{{ns.DISCO_INFO}}}identity")
    return [(e.get("category"), e.get("type"), e.get("name")) for e in found]


def features(answer: Stanza) -> list[str | None]:
    assert answer.payload is not None
    return [e.get("var") for e in answer.payload.findall(f"{{{ns.DISCO_INFO}}}feature")]


def items(answer: Stanza) -> list[str | None]:
    assert answer.type == "result"
    assert answer.payload is not None
    return [e.get("jid") for e in answer.payload]


def befriend(server: Harness, watcher: Client, account: str) -> Client:
    """Let `watcher` see the presence of an account; a client of it."""
    friend = server.online(f"{account}/phone")
    watcher.send(f"<presence type='subscribe' to='{account}'/>")
    friend.send(f"<presence type='subscribed' to='{watcher.jid.bare}'/>")
    watcher.received()
    friend.received()
    return friend


def test_a_library_is_an_im_server_with_its_name_and_the_features_installed(
    server: Harness, mia: Client
) -> None:
    answer = mia.ask("get", INFO, DOMAIN)
    assert [("server", "im", DOMAIN)] == identities(answer)
    found = features(answer)
    assert {ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.LAST, ns.VCARD, ns.REGISTER, ns.ROSTER} <= set(found)
    assert sorted(set(found), key=str) == sorted(found, key=str)


def test_a_library_lists_its_services_and_its_queues(server: Harness, mia: Client) -> None:
    desk = Desk()
    hosts = server.core.hosts
    for domain in ("rooms.library.example", "rooms.other.example", "notlibrary.example"):
        hosts.add_service(domain, desk)
    library, other = hosts.get(DOMAIN), hosts.get("other.example")
    assert library is not None
    assert other is not None
    library.addresses.update(law=desk, ask=desk)
    other.addresses["theirs"] = desk
    found = items(mia.ask("get", ITEMS, DOMAIN))
    assert ["rooms.library.example", "ask@library.example", "law@library.example"] == found


@pytest.mark.parametrize("payload", [INFO, ITEMS])
def test_a_library_has_no_nodes(mia: Client, payload: str) -> None:
    answer = mia.ask("get", payload.replace("/>", " node='x'/>"), DOMAIN)
    assert "error item-not-found" == describe(answer)


def test_one_s_own_account_is_registered(server: Harness, mia: Client) -> None:
    for to in ("", "mia@library.example"):
        answer = mia.ask("get", INFO, to)
        assert [("account", "registered", None)] == identities(answer)
        assert {ns.PING, ns.VCARD, ns.LAST} <= set(features(answer))


def test_who_sees_the_presence_sees_the_account_and_its_available_resources(
    server: Harness, mia: Client
) -> None:
    befriend(server, mia, PAT)
    server.client(f"{PAT}/hidden")
    assert [("account", "registered", None)] == identities(mia.ask("get", INFO, PAT))
    assert [f"{PAT}/phone"] == items(mia.ask("get", ITEMS, PAT))


@pytest.mark.parametrize("payload", [INFO, ITEMS])
def test_an_account_has_no_nodes_for_those_who_see_it(server: Harness, mia: Client, payload: str) -> None:
    befriend(server, mia, PAT)
    with_node = payload.replace("/>", " node='x'/>")
    assert "error item-not-found" == describe(mia.ask("get", with_node, PAT))
    assert "error item-not-found" == describe(mia.ask("get", with_node))


def test_to_a_stranger_a_node_of_an_account_is_as_the_account(server: Harness, mia: Client) -> None:
    server.online(f"{PAT}/phone")
    for to in (PAT, "nobody@library.example"):
        answer = mia.ask("get", INFO.replace("/>", " node='x'/>"), to)
        assert "error service-unavailable" == describe(answer)
        answer = mia.ask("get", ITEMS.replace("/>", " node='x'/>"), to)
        assert answer.payload is not None
        assert "x" == answer.payload.get("node")
        assert [] == items(answer)


def test_who_was_sent_presence_directly_sees_the_account_too(server: Harness, mia: Client) -> None:
    pat = server.online(f"{PAT}/phone")
    pat.send("<presence to='mia@library.example/desk'/>")
    mia.received()
    assert [("account", "registered", None)] == identities(mia.ask("get", INFO, PAT))


@pytest.mark.parametrize("payload", [INFO, ITEMS, INFO.replace("/>", " node='x'/>")])
def test_to_a_stranger_an_account_is_as_none(server: Harness, mia: Client, payload: str) -> None:
    server.online(f"{PAT}/phone")
    there = mia.ask("get", payload, PAT)
    nobody = mia.ask("get", payload, "nobody@library.example")
    assert there.wire() == nobody.wire().replace(b"nobody@", b"pat@")
    assert there.type == "error" or [] == items(there)


def test_a_stranger_of_another_server_gets_the_same(server: Harness) -> None:
    server.account(PAT)
    for to in (PAT, "nobody@library.example"):
        server.arrive(f"<iq type='get' id='1' from='x@elsewhere.example/y' to='{to}'>{INFO}</iq>")
        assert ["error service-unavailable to x@elsewhere.example/y"] == server.elsewhere.told()


def test_a_library_s_resource_answers_as_the_library(mia: Client) -> None:
    assert [("server", "im", DOMAIN)] == identities(mia.ask("get", INFO, f"{DOMAIN}/x"))
