"""Messages to a client whose connection holds bytes back, loses them or breaks: they come again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from refserver import ns
from refserver.features.messages import Messages
from refserver.features.offline import Offline
from refserver.features.sanitising import Sanitising
from tests.server.harness import Client, Harness

PAT = "pat@library.example"
NUMBERS = [str(number) for number in range(20)]

Harm = Callable[[Client], None]
HARMS: dict[str, Harm] = {
    "holds": lambda client: client.hold(),
    "loses": lambda client: client.drop(),
    "breaks at once": lambda client: client.die_after(0),
    "breaks in the middle": lambda client: client.die_after(1_500),
}


@pytest.fixture
def server() -> Harness:
    server = Harness([Sanitising, Messages, Offline])
    server.account(PAT)
    return server


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.client("mia@library.example/desk")


@pytest.fixture(params=list(HARMS.values()), ids=list(HARMS))
def harm(request: pytest.FixtureRequest) -> Harm:
    harm: Harm = request.param
    return harm


def say(mia: Client, numbers: list[str]) -> None:
    for number in numbers:
        mia.send(f"<message to='{PAT}' type='chat' id='m{number}'><body>{number}</body></message>")


def heard(client: Client) -> list[str]:
    return [stanza.body for stanza in client.received() if stanza.kind == "message"]


def cut(server: Harness, client: Client) -> None:
    """Let the turn end, and the connection with it if it has not broken already."""
    server.clock.advance(0)
    if server.core.sessions.get(client.jid) is client.session:
        client.end()
    server.clock.advance(0)


def test_offline_messages_come_again_in_order_with_their_ids(
    server: Harness, mia: Client, harm: Harm
) -> None:
    say(mia, NUMBERS)
    phone = server.client(f"{PAT}/phone")
    harm(phone)
    phone.send("<presence/>")
    before = heard(phone)
    cut(server, phone)
    tablet = server.client(f"{PAT}/tablet")
    tablet.send("<presence/>")
    received = [stanza for stanza in tablet.received() if stanza.kind == "message"]
    numbers = [stanza.body for stanza in received]
    assert numbers == NUMBERS[-len(numbers) :]  # without XEP-0198 the last ones may be doubled
    assert set(before) | set(numbers) == set(NUMBERS)
    assert [f"m{number}" for number in numbers] == [stanza.id for stanza in received]
    assert all(stanza.child(ns.DELAY, "delay") is not None for stanza in received)
    assert mia.told() == []


def test_with_acknowledgements_live_messages_come_again_and_none_twice(
    server: Harness, mia: Client, harm: Harm
) -> None:
    phone = server.online(f"{PAT}/phone")
    phone.manage()
    say(mia, NUMBERS[:5])
    before = heard(phone)
    phone.acknowledge()
    harm(phone)
    say(mia, NUMBERS[5:])
    cut(server, phone)
    tablet = server.client(f"{PAT}/tablet")
    tablet.send("<presence/>")
    assert before + heard(tablet) == NUMBERS
    assert mia.told() == []


def test_what_was_held_arrives_in_order_when_the_client_reads_again(server: Harness, mia: Client) -> None:
    phone = server.online(f"{PAT}/phone")
    phone.hold()
    say(mia, NUMBERS)
    assert heard(phone) == []
    phone.let_go()
    assert heard(phone) == NUMBERS
