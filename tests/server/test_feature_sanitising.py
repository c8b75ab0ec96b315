"""What nobody but the server may write or ask: stripped, refused (features sanitising and iq privacy)."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.features.messages import Messages
from refserver.features.sanitising import IqPrivacy, Sanitising, strip
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml.element import clark, element
from tests.server.harness import Client, Harness, describe

MIA, PAT = JID.parse("mia@library.example"), JID.parse("pat@library.example")
NICK = JID.parse("room@rooms.library.example/eve")
PING = "<ping xmlns='urn:xmpp:ping'/>"

OURS = element(ns.SID, "stanza-id", {"by": PAT.text, "id": "1"})
DELAYED = element(ns.DELAY, "delay", {"from": "library.example", "stamp": "2001-01-01T00:00:00Z"})
CARBON = element(ns.CARBONS, "received")
RESULT = element(ns.ARCHIVE, "result", {"id": "1"})
HARMLESS = (
    element(ns.SID, "stanza-id", {"by": "elsewhere.example", "id": "1"}),
    element(ns.SID, "stanza-id"),
    element(ns.SID, "origin-id", {"id": "1"}),
    element(ns.DELAY, "delay", {"from": NICK.bare.text}),
    element(ns.DELAY, "delay"),
    element("urn:x", "received"),
)


@pytest.fixture
def server() -> Harness:
    return Harness([Sanitising, IqPrivacy, Messages])


# -- forgeries ---------------------------------------------------------------------------------


def test_what_only_the_server_says_is_removed_and_the_rest_left() -> None:
    forged = (OURS, HARMLESS[0], DELAYED, CARBON, HARMLESS[1], OURS, RESULT, *HARMLESS[2:])
    stanza = Stanza.message(PAT, NICK, children=forged, body="a")
    strip(stanza, PAT)
    assert [clark(ns.CLIENT, "body"), *(child.tag for child in HARMLESS)] == [e.tag for e in stanza.element]
    assert b"2001" not in stanza.wire()


def test_a_message_without_any_is_left_alone() -> None:
    stanza = Stanza.message(PAT, NICK, children=HARMLESS, body="a")
    tree, wire = stanza.element, stanza.wire()
    strip(stanza, PAT)
    assert tree is stanza.element
    assert wire is stanza.wire()


def test_an_archive_at_a_bare_address_may_answer() -> None:
    stanza = Stanza.message(PAT, NICK.bare, children=(RESULT,))
    strip(stanza, PAT)
    assert [RESULT] == list(stanza.element)


@pytest.mark.parametrize("forged", [CARBON, DELAYED, RESULT], ids=["carbon", "delay", "result"])
def test_all_who_share_a_tree_are_spared(server: Harness, forged: object) -> None:
    """A room's message is one tree for everybody: what one copy loses, the others must lose too."""
    clients = [server.online(f"{name}@library.example/x") for name in ("mia", "pat", "sam")]
    said = Stanza.message(MIA, NICK, "groupchat", "1", (forged,), "a")  # type: ignore[arg-type]  # an Element
    for client in clients:
        server.core.router.route(said.copy_to(client.jid))
    for client in clients:
        (message,) = client.received()
        assert [clark(ns.CLIENT, "body")] == [child.tag for child in message.element]
    assert 2 == len(said.element)


def test_a_spliced_message_is_written_anew(server: Harness) -> None:
    pat = server.online("pat@library.example/x")
    mia = server.client("mia@library.example/x")
    raw = b"<message to='pat@library.example'><body>a</body><sent xmlns='urn:xmpp:carbons:2'/></message>"
    parsed = Stanza.message(PAT, MIA, "", "", (element(ns.CARBONS, "sent"),), "a").element
    parsed.set("to", PAT.text)
    mia.send(Stanza.received(parsed, raw))
    (message,) = pat.received()
    assert b"carbons" not in message.wire()


# -- strangers ---------------------------------------------------------------------------------


def ask(server: Harness, sender: str, to: str, payload: str = PING) -> None:
    server.arrive(f"<iq type='get' id='q' from='{sender}' to='{to}'>{payload}</iq>")


def test_a_stranger_may_ask_a_resource_that_is_available(server: Harness) -> None:
    """RFC 6121 8.5.3.1: file transfer, ping and version between people who share no presence."""
    pat = server.online("pat@library.example/x")
    for sender in ("eve@elsewhere.example/y", "elsewhere.example", "eve@other.example/y"):
        ask(server, sender, "pat@library.example/x")
        assert ["get"] == pat.told()


def test_a_stranger_s_request_to_a_resource_without_presence_is_answered_as_to_none(server: Harness) -> None:
    pat = server.client("pat@library.example/x")
    for to in ("pat@library.example/x", "pat@library.example/gone", "nobody@library.example/x"):
        ask(server, "eve@elsewhere.example/y", to)
        assert ["error service-unavailable to eve@elsewhere.example/y"] == server.elsewhere.told()
    assert [] == pat.told()


def test_a_stranger_s_roster_push_reaches_nobody(server: Harness) -> None:
    pat = server.online("pat@library.example/x")
    ask(server, "eve@elsewhere.example/y", "pat@library.example/x", "<query xmlns='jabber:iq:roster'/>")
    assert ["error service-unavailable to eve@elsewhere.example/y"] == server.elsewhere.told()
    assert [] == pat.told()


@pytest.mark.parametrize(
    "sender", ["library.example", "other.example", "pat@library.example/other", "pat@library.example"]
)
def test_the_server_and_the_account_itself_may_ask(server: Harness, sender: str) -> None:
    pat = server.online("pat@library.example/x")
    server.online("pat@library.example/other")
    pat.received()
    ask(server, sender, "pat@library.example/x")
    assert ["get"] == pat.told()


def test_a_room_that_was_entered_may_ask_who_is_unavailable_to_others(server: Harness) -> None:
    """Who sends presence to a room shows itself to it; the room passes on others' requests."""
    pat = server.client("pat@library.example/x")
    pat.send(f"<presence to='{NICK.bare}/pat'/>")
    server.elsewhere.received()
    ask(server, NICK.text, "pat@library.example/x")
    assert ["get"] == pat.told()


@pytest.mark.parametrize("type", ["result", "error"])
def test_answers_reach_resources_from_everywhere(server: Harness, type: str) -> None:
    """RFC 6121 8.5.3.1."""
    pat: Client = server.online("pat@library.example/x")
    server.arrive(f"<iq type='{type}' id='q' from='eve@elsewhere.example/y' to='{pat.jid}'/>")
    (answer,) = pat.received()
    assert ("q", JID.parse("eve@elsewhere.example/y")) == (answer.id, answer.from_)


def test_a_contact_may_ask_an_unavailable_resource_until_the_subscription_ends(server: Harness) -> None:
    pat, mia = server.online("pat@library.example/x"), server.online("mia@library.example/x")
    mia.send("<presence type='subscribe' to='pat@library.example'/>")
    pat.send("<presence type='subscribed' to='mia@library.example'/>")
    pat.send("<presence type='unavailable'/>")
    pat.received()
    mia.send(f"<iq type='get' id='1' to='{pat.jid}'>{PING}</iq>")
    assert ["get"] == pat.told()
    pat.send("<presence type='unsubscribed' to='mia@library.example'/>")
    pat.received()
    mia.received()
    mia.send(f"<iq type='get' id='1' to='{pat.jid}'>{PING}</iq>")
    assert [] == pat.told()
    assert ["error service-unavailable"] == [describe(stanza) for stanza in mia.received()]
