"""Messages for who is away: kept, delivered once and in order, or not kept (XEP-0160, 0203, 0334)."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import Mock

import pytest

from refserver import ns
from refserver.core.outbox import ASK_STANZAS
from refserver.features.messages import MOST_HELD, Messages
from refserver.features.offline import MOST_BYTES, MOST_MESSAGES, Offline
from refserver.features.sanitising import Sanitising
from refserver.jid import JID
from refserver.payloads.delay import delayed
from refserver.stanza import Stanza
from refserver.storage import accounts, offline
from tests.server.harness import EPOCH, Client, Harness

PAT = JID.parse("pat@library.example")
CHAT = f"<message to='{PAT}' type='chat' id='m'><body>%s</body></message>"


@pytest.fixture
def server() -> Harness:
    server = Harness([Sanitising, Messages, Offline])
    server.account(PAT.text)
    return server


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.client("mia@library.example/desk")


def kept(server: Harness) -> int:
    """The number of messages kept once the turn is over: what is being sent is kept until then."""
    server.clock.advance(0)
    return server.database.read_now(offline.count, PAT)


def bodies(client: Client) -> list[str]:
    return [stanza.body for stanza in client.received() if stanza.kind == "message"]


def come(server: Harness, resource: str = "phone", presence: str = "<presence/>") -> Client:
    client = server.client(f"{PAT}/{resource}")
    client.send(presence)
    return client


def clients(server: Harness) -> tuple[Client, Client]:
    """Two that have logged in and not sent presence."""
    return server.client(f"{PAT}/phone"), server.client(f"{PAT}/tablet")


# -- kept and delivered ------------------------------------------------------------------------


def test_messages_wait_in_order_and_are_delivered_once(server: Harness, mia: Client) -> None:
    for number in range(5):
        mia.send(CHAT % number)
    assert ["0", "1", "2", "3", "4"] == bodies(come(server))
    assert 0 == kept(server)
    assert [] == bodies(come(server, "tablet"))
    assert [] == mia.told()


def test_a_message_says_since_when_it_waited_and_by_whom(server: Harness, mia: Client) -> None:
    server.clock.advance(12.5)
    mia.send(CHAT % "hello")
    server.clock.advance(3600)
    (message,) = [stanza for stanza in come(server).received() if stanza.kind == "message"]
    waited = message.child(ns.DELAY, "delay")
    assert waited is not None
    assert "library.example" == waited.get("from")
    assert datetime.fromtimestamp(EPOCH + 12.5, UTC) == datetime.fromisoformat(waited.get("stamp", ""))
    assert (PAT, "m", "chat") == (message.to, message.id, message.type)


def test_the_sender_s_stanza_is_not_changed_by_keeping_it(server: Harness, mia: Client) -> None:
    stanza = Stanza.message(PAT, mia.jid, body="hello")
    before = stanza.wire()
    delayed(stanza, "library.example", EPOCH)
    assert before == stanza.wire()
    assert stanza.child(ns.DELAY, "delay") is None


def test_they_survive_the_server_s_end(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "hello")
    assert ["hello"] == bodies(come(server.restarted(Sanitising, Messages, Offline)))


@pytest.mark.parametrize("priority", [-1, -128])
def test_a_negative_priority_takes_none_and_a_later_one_does(
    server: Harness, mia: Client, priority: int
) -> None:
    mia.send(CHAT % "hello")
    phone = come(server, presence=f"<presence><priority>{priority}</priority></presence>")
    assert [] == bodies(phone)
    assert 1 == kept(server)
    phone.send("<presence/>")
    assert ["hello"] == bodies(phone)


def test_who_becomes_available_again_gets_what_came_meanwhile(server: Harness, mia: Client) -> None:
    phone = come(server)
    for away in ("type='unavailable'>", "><priority>-1</priority>"):
        phone.send(f"<presence {away}</presence>")
        mia.send(CHAT % "meanwhile")
        assert [] == bodies(phone)
        phone.send("<presence/>")
        assert ["meanwhile"] == bodies(phone)
        assert 0 == kept(server)


def test_presence_that_changes_nothing_reads_no_store(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Mock(side_effect=offline.fetch)
    monkeypatch.setattr(offline, "fetch", reads)
    phone = come(server)
    phone.send("<presence><show>away</show></presence>")
    assert 1 == reads.call_count


def test_of_two_that_come_at_once_one_gets_them(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "hello")
    phone, tablet = clients(server)
    with server.holding():
        phone.send("<presence/>")
        tablet.send("<presence/>")
    assert ["hello"] == bodies(phone)
    assert [] == bodies(tablet)
    assert 0 == kept(server)


def test_who_comes_while_a_message_is_stored_gets_it(
    server: Harness, mia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the live delivery nor the one at log-in would have seen it."""
    phone = server.client(f"{PAT}/phone")
    fetch = offline.fetch
    with server.holding(), monkeypatch.context() as patch:
        patch.setattr(offline, "fetch", lambda *args: [])  # the commit is not through yet
        mia.send(CHAT % "hello")
        phone.send("<presence/>")
        patch.setattr(offline, "fetch", fetch)
    assert ["hello"] == bodies(phone)
    assert 0 == kept(server)


def test_who_leaves_while_they_are_read_leaves_them_for_the_next(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "hello")
    phone = server.client(f"{PAT}/phone")
    with server.holding():
        phone.send("<presence/>")
        phone.end()
    assert [] == bodies(phone)
    assert ["hello"] == bodies(come(server, "tablet"))


def test_the_next_session_gets_them_if_the_first_leaves_while_they_are_read(
    server: Harness, mia: Client
) -> None:
    mia.send(CHAT % "hello")
    phone, tablet = clients(server)
    with server.holding():
        phone.send("<presence/>")
        tablet.send("<presence/>")
        phone.end()
    assert ["hello"] == bodies(tablet)


# -- in order ----------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [PAT, f"{PAT}/phone"])
def test_what_is_said_at_log_in_does_not_overtake_what_waited(server: Harness, mia: Client, to: str) -> None:
    for number in range(3):
        mia.send(CHAT % f"old {number}")
    phone = server.client(f"{PAT}/phone")
    with server.holding():
        phone.send("<presence/>")
        for number in range(3):
            mia.send(f"<message to='{to}' type='chat'><body>live {number}</body></message>")
    assert ["old 0", "old 1", "old 2", "live 0", "live 1", "live 2"] == bodies(phone)


def test_nor_what_is_just_being_stored(server: Harness, mia: Client) -> None:
    phone = server.client(f"{PAT}/phone")
    with server.holding():
        mia.send(CHAT % "old")
        phone.send("<presence/>")
        mia.send(CHAT % "live")
    assert ["old", "live"] == bodies(phone)
    assert 0 == kept(server)


def test_two_resources_have_the_live_ones_behind_what_waited(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "old")
    phone, tablet = clients(server)
    with server.holding():
        phone.send("<presence/>")
        tablet.send("<presence/>")
        mia.send(CHAT % "live")
    assert ["old", "live"] == bodies(phone)
    assert ["live"] == bodies(tablet)


def test_who_leaves_while_live_ones_are_held_loses_none(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "old")
    phone = server.client(f"{PAT}/phone")
    with server.holding():
        phone.send("<presence/>")
        mia.send(CHAT % "live")
        phone.end()
    assert ["old", "live"] == bodies(come(server, "tablet"))
    assert [] == mia.told()


def test_what_is_held_is_bounded(server: Harness, mia: Client) -> None:
    phone = server.client(f"{PAT}/phone")
    with server.holding():
        phone.send("<presence/>")
        for _ in range(MOST_HELD + 1):
            mia.send(CHAT % "live")
    assert MOST_HELD == len(bodies(phone))
    assert [f"error resource-constraint from {PAT}"] == mia.told()


# -- until they are acknowledged ---------------------------------------------------------------


def test_what_a_client_says_nothing_about_comes_again(server: Harness, mia: Client) -> None:
    """It was written to a socket: that proves nothing."""
    mia.send(CHAT % "hello")
    phone = server.client(f"{PAT}/phone")
    phone.mute = True
    phone.send("<presence/>")
    (first,) = [stanza for stanza in phone.received() if stanza.kind == "message"]
    assert 1 == kept(server)
    phone.end()
    (second,) = [stanza for stanza in come(server, "tablet").received() if stanza.kind == "message"]
    assert first.id == second.id == "m"
    assert second.child(ns.DELAY, "delay") is not None
    assert 0 == kept(server)


def test_what_one_device_says_nothing_about_the_other_gets(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "hello")
    phone = server.client(f"{PAT}/phone")
    phone.mute = True
    phone.send("<presence/>")
    tablet = come(server, "tablet")
    assert [] == bodies(tablet)  # it may be under way yet
    phone.end()
    server.clock.advance(0)
    assert ["hello"] == bodies(tablet)
    assert 0 == kept(server)


def test_a_ping_is_for_many_of_them(server: Harness, mia: Client) -> None:
    for number in range(200):
        mia.send(CHAT % number)
    phone = come(server)
    server.clock.advance(0)
    assert 200 // ASK_STANZAS + 1 == phone.pings
    assert 0 == kept(server)


def test_an_answer_of_somebody_else_s_proves_nothing(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "hello")
    phone = server.client(f"{PAT}/phone")
    phone.mute = True
    phone.send("<presence/>")
    server.clock.advance(0)
    (ping,) = phone.unanswered
    mia.send(f"<iq type='result' to='library.example' id='{ping.id}'/>")
    assert 1 == kept(server)
    phone.send(f"<iq type='error' to='library.example' id='{ping.id}'/>")  # it has read it all the same
    assert 0 == kept(server)


def test_with_stream_management_they_wait_for_its_count(server: Harness, mia: Client) -> None:
    for number in range(3):
        mia.send(CHAT % number)
    phone = server.client(f"{PAT}/phone")
    phone.manage()
    phone.send("<presence/>")
    assert 3 == len(bodies(phone))
    assert 3 == kept(server)
    phone.acknowledge(phone.sent_count - 1)
    assert 1 == kept(server)
    phone.end()
    assert ["2"] == bodies(come(server, "tablet"))


# -- not kept ----------------------------------------------------------------------------------

STATE = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
NOT_KEPT = {
    "nothing": "",
    "a chat state": STATE,
    "a chat state in a thread": f"{STATE}<thread>t</thread>",
    "what may not be stored": "<body>a</body><no-store xmlns='urn:xmpp:hints'/>",
    "what may not be kept for long": "<body>a</body><no-permanent-store xmlns='urn:xmpp:hints'/>",
}
KEPT = {
    "a body": "<body>a</body>",
    "a body with a chat state": f"<body>a</body>{STATE}",
    "a receipt": "<received xmlns='urn:xmpp:receipts' id='1'/>",
    "a subject": "<subject>a</subject>",
    "an invitation": "<x xmlns='jabber:x:conference' jid='a@b'/>",
}


@pytest.mark.parametrize("content", NOT_KEPT.values(), ids=NOT_KEPT)
def test_what_is_of_the_moment_is_not_kept_and_not_refused(
    server: Harness, mia: Client, content: str
) -> None:
    mia.send(f"<message to='{PAT}' type='chat'>{content}</message>")
    assert 0 == kept(server)
    assert [] == mia.told()


@pytest.mark.parametrize("content", KEPT.values(), ids=KEPT)
def test_all_else_is_kept(server: Harness, mia: Client, content: str) -> None:
    mia.send(f"<message to='{PAT}' type='chat'>{content}</message>")
    assert 1 == kept(server)


# -- refused -----------------------------------------------------------------------------------


def test_a_full_store_is_told_to_the_sender_as_no_account_is(server: Harness, mia: Client) -> None:
    for _ in range(MOST_MESSAGES):
        server.database.write_now(offline.store, PAT, b"<message/>", EPOCH, 0)
    mia.send(CHAT % "one more")
    mia.send(CHAT.replace("pat@", "nobody@") % "hello")
    full, unknown = mia.received()
    assert full.wire() == unknown.wire().replace(b"nobody@", b"pat@")
    assert MOST_MESSAGES == kept(server)


def test_the_store_is_bounded_in_bytes(server: Harness, mia: Client) -> None:
    """So that all of it fits into what may wait for one connection (4 MiB)."""
    large = CHAT % ("x" * (MOST_BYTES // 8))
    for _ in range(8):
        mia.send(large)
    assert 7 == kept(server)
    assert [f"error service-unavailable from {PAT}"] == mia.told()
    mia.send(CHAT % "short")
    assert 8 == kept(server)


def test_a_store_that_fails_is_told_to_the_sender(
    server: Harness, mia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> bool:
        raise OSError("disk full")

    monkeypatch.setattr(offline, "store", broken)
    mia.send(CHAT % "hello")
    assert [f"error internal-server-error from {PAT}"] == mia.told()


def test_a_store_that_cannot_be_read_costs_no_session(
    server: Harness, mia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> bool:
        raise OSError("bad sector")

    mia.send(CHAT % "hello")
    with monkeypatch.context() as patch:
        patch.setattr(offline, "fetch", broken)
        phone = come(server)
    assert [] == bodies(phone)
    mia.send(CHAT % "live")
    assert ["live"] == bodies(phone)
    assert ["hello"] == bodies(come(server, "tablet"))


def test_messages_go_with_the_account(server: Harness, mia: Client) -> None:
    mia.send(CHAT % "hello")
    server.database.write_now(accounts.remove, PAT)
    server.account(PAT.text)
    assert [] == bodies(come(server))


def test_what_is_being_sent_is_kept_until_it_has_left(server: Harness, mia: Client) -> None:
    """A crash in between delivers it again rather than never."""
    mia.send(CHAT % "hello")
    phone = come(server)
    assert ["hello"] == bodies(phone)
    assert 1 == server.database.read_now(offline.count, PAT)
    assert 0 == kept(server)
