"""Delivery of messages: RFC 6121 8.5, table 1, row by row."""

from __future__ import annotations

from typing import Final

import pytest

from refserver.features.messages import Messages
from refserver.features.offline import Offline
from refserver.features.sanitising import Sanitising
from refserver.jid import JID
from refserver.storage import offline
from tests.server.harness import Client, Harness

PAT: Final = JID.parse("pat@library.example")
MIA: Final = "mia@library.example/desk"
REMOTE: Final = "mia@elsewhere.example/desk"

GONE, BARE, FULL = f"{PAT}/gone", str(PAT), f"{PAT}/phone"

SITUATIONS: Final[dict[str, dict[str, str]]] = {
    "no account": {},
    "nobody": {},
    "unavailable": {"phone": ""},
    "negative": {"phone": "<presence><priority>-1</priority></presence>"},
    "one": {"phone": "<presence/>"},
    "several": {
        "phone": "<presence><priority>5</priority></presence>",
        "desk": "<presence/>",
        "lurker": "<presence><priority>-5</priority></presence>",
        "hidden": "",
    },
}
"""The recipient's resources, and the presence each has sent."""

TYPES: Final = ("normal", "", "chat", "groupchat", "headline", "error")
TABLE: Final = {
    # E an error, S silence, O offline, D to the resource addressed, A to all of no negative priority
    #                            normal ""   chat groupchat headline error
    ("no account", BARE):       ("E",  "E",  "E",  "E",     "S",    "S"),
    ("no account", FULL):       ("E",  "E",  "E",  "E",     "E",    "S"),
    ("nobody", BARE):           ("O",  "O",  "O",  "E",     "S",    "S"),
    ("nobody", FULL):           ("E",  "E",  "O",  "E",     "E",    "S"),
    ("unavailable", BARE):      ("O",  "O",  "O",  "E",     "S",    "S"),
    ("unavailable", FULL):      ("D",  "D",  "D",  "D",     "D",    "D"),
    ("unavailable", GONE):      ("E",  "E",  "O",  "E",     "E",    "S"),
    ("negative", BARE):         ("O",  "O",  "O",  "E",     "S",    "S"),
    ("negative", FULL):         ("D",  "D",  "D",  "D",     "D",    "D"),
    ("negative", GONE):         ("E",  "E",  "O",  "E",     "E",    "S"),
    ("one", BARE):              ("A",  "A",  "A",  "E",     "A",    "S"),
    ("one", FULL):              ("D",  "D",  "D",  "D",     "D",    "D"),
    ("one", GONE):              ("E",  "E",  "A",  "E",     "E",    "S"),
    ("several", BARE):          ("A",  "A",  "A",  "E",     "A",    "S"),
    ("several", FULL):          ("D",  "D",  "D",  "D",     "D",    "D"),
    ("several", GONE):          ("E",  "E",  "A",  "E",     "E",    "S"),
}  # fmt: skip
ROWS: Final = [
    (situation, to, type, outcome)
    for (situation, to), outcomes in TABLE.items()
    for type, outcome in zip(TYPES, outcomes, strict=True)
]
TAKES: Final = {"phone", "desk"}  # where they are available: resources of no negative priority


def prepare(server: Harness, situation: str) -> dict[str, Client]:
    """Bring Pat into a situation; Pat's clients by resource, what they were told forgotten."""
    if situation != "no account":
        server.account(BARE)
    clients = {}
    for resource, presence in SITUATIONS[situation].items():
        clients[resource] = server.client(f"{PAT}/{resource}")
        if presence:
            clients[resource].send(presence)
    for client in clients.values():
        client.received()
    return clients


def expected(situation: str, to: str, outcome: str) -> set[str]:
    if outcome == "D":
        return {JID.parse(to).resourcepart}
    return TAKES & set(SITUATIONS[situation]) if outcome == "A" else set()


def message(to: str, type: str, sender: str = "") -> str:
    attributes = (f" type='{type}'" if type else "") + (f" from='{sender}'" if sender else "")
    error = "<error type='cancel'/>" if type == "error" else ""
    return f"<message to='{to}' id='m1'{attributes}><body>hello</body>{error}</message>"


@pytest.fixture
def server() -> Harness:
    return Harness([Sanitising, Messages, Offline])


@pytest.mark.parametrize("situation, to, type, outcome", ROWS)
def test_delivery_table(server: Harness, situation: str, to: str, type: str, outcome: str) -> None:
    clients = prepare(server, situation)
    mia = server.client(MIA)
    mia.send(message(to, type))
    got = {resource: client.received() for resource, client in clients.items()}
    assert expected(situation, to, outcome) == {resource for resource, told in got.items() if told}
    for (stanza,) in filter(None, got.values()):
        assert (to, MIA, "hello") == (
            str(stanza.to),
            str(stanza.from_),
            stanza.body,
        )  # `to` is never rewritten
    assert (1 if outcome == "O" else 0) == server.database.read_now(offline.count, PAT)
    assert ([f"error service-unavailable from {to}"] if outcome == "E" else []) == mia.told()


@pytest.mark.parametrize("situation, to, type, outcome", ROWS)
def test_delivery_table_for_other_servers(
    server: Harness, situation: str, to: str, type: str, outcome: str
) -> None:
    clients = prepare(server, situation)
    server.arrive(message(to, type, REMOTE))
    got = {resource for resource, client in clients.items() if client.received()}
    assert expected(situation, to, outcome) == got
    refused = [f"error service-unavailable from {to} to {REMOTE}"]
    assert (refused if outcome == "E" else []) == server.elsewhere.told()


def test_a_message_to_nobody_in_particular_is_one_s_own(server: Harness) -> None:
    """RFC 6120 10.3.1."""
    desk, phone = server.online("mia@library.example/desk"), server.online("mia@library.example/phone")
    desk.received()
    desk.send("<message id='m1'><body>note</body></message>")
    assert [f"message from {MIA}: note"] == desk.told()
    assert [f"message from {MIA}: note"] == phone.told()


def test_a_message_to_the_library_is_refused(server: Harness) -> None:
    mia = server.client(MIA)
    mia.send(message("library.example", "chat"))
    assert ["error service-unavailable from library.example"] == mia.told()


def test_a_resource_that_has_become_unavailable_gets_no_more_by_the_account(server: Harness) -> None:
    phone, mia = server.online(FULL), server.client(MIA)
    phone.send("<presence type='unavailable'/>")
    phone.received()
    mia.send(message(BARE, "chat"))
    assert [] == phone.told()
    assert 1 == server.database.read_now(offline.count, PAT)


def test_many_recipients_get_the_same_bytes(server: Harness) -> None:
    """Forwarding costs one serialisation."""
    phone, desk = server.online(FULL), server.online(f"{PAT}/desk")
    phone.received()
    server.client(MIA).send(message(BARE, "chat"))
    (one,), (other,) = phone.received(), desk.received()
    assert one.wire() == other.wire()
