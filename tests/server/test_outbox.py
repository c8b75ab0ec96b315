"""What becomes of what a client was sent: tracked stanzas, sessions that end, clients that do not answer."""

from __future__ import annotations

import pytest

from refserver.core.feature import Feature, on
from refserver.core.hooks import SessionAnswering, SessionCut
from refserver.core.liveness import PROBE_SECONDS, UNANSWERED_SECONDS
from refserver.errors import Condition, StanzaError, StreamError
from refserver.features.messages import Messages
from refserver.features.offline import Offline
from refserver.jid import JID
from refserver.stanza import Stanza, Tracked
from refserver.storage import offline
from tests.server.harness import Client, Harness

PAT = JID.parse("pat@library.example")
ASK = JID.parse("ask@library.example")


class Watcher(Feature):
    """Notes which sessions stop and begin to answer."""

    name = "watcher"
    heard: list[tuple[str, bool]] = []

    @on(SessionAnswering)
    def changed(self, event: SessionAnswering) -> None:
        self.heard.append((event.session.jid.resourcepart, event.session.answering))


@pytest.fixture
def server() -> Harness:
    Watcher.heard = []
    server = Harness([Messages, Offline, Watcher])
    server.account(PAT.text)
    return server


class Sender:
    """Sends tracked messages; `fates` is what became of them: "arrived", or the error's condition."""

    def __init__(self, server: Harness) -> None:
        self._server = server
        self.fates: dict[str, str] = {}

    def send(self, id: str, to: JID = PAT, body: str = "words") -> None:
        message = Stanza.message(to, ASK, id=id, body=body)
        self._server.core.router.route(Tracked(message, lambda error: self._settled(id, error)))

    def _settled(self, id: str, error: StanzaError | None) -> None:
        assert id not in self.fates, "told twice"
        self.fates[id] = "arrived" if error is None else error.condition.value


@pytest.fixture
def queue(server: Harness) -> Sender:
    return Sender(server)


def kept(server: Harness) -> int:
    return server.database.read_now(offline.count, PAT)


def ids(client: Client) -> list[str]:
    return [stanza.id for stanza in client.received() if stanza.kind == "message"]


# -- tracked ---------------------------------------------------------------------------------------


def test_it_has_arrived_when_the_client_answers_the_ping_behind_it(server: Harness, queue: Sender) -> None:
    phone = server.online(f"{PAT}/phone")
    queue.send("1")
    queue.send("2")
    assert {} == queue.fates
    server.clock.advance(0)
    assert {"1": "arrived", "2": "arrived"} == queue.fates
    assert (["1", "2"], 1) == (ids(phone), phone.pings)


def test_it_has_arrived_when_the_client_s_count_covers_it(server: Harness, queue: Sender) -> None:
    phone = server.online(f"{PAT}/phone")
    phone.manage()
    queue.send("1")
    queue.send("2")
    server.clock.advance(5)
    assert ({}, 0) == (queue.fates, phone.pings)
    phone.acknowledge(1)
    assert {"1": "arrived"} == queue.fates


def test_it_has_arrived_when_it_is_durably_in_the_store(server: Harness, queue: Sender) -> None:
    with server.holding():
        queue.send("1")
        assert {} == queue.fates
    assert {"1": "arrived"} == queue.fates
    assert 1 == kept(server)


def test_a_full_store_is_told(server: Harness, queue: Sender) -> None:
    queue.send("1", body="x" * (3 << 20))
    assert {"1": "service-unavailable"} == queue.fates


def test_no_account_is_told(server: Harness, queue: Sender) -> None:
    queue.send("1", JID.parse("nobody@library.example"))
    assert {"1": "service-unavailable"} == queue.fates


@pytest.mark.parametrize("managed", [False, True])
def test_a_session_that_is_given_up_gives_it_back_and_nobody_else_gets_it(
    server: Harness, queue: Sender, managed: bool
) -> None:
    """Its sender tries again: else it would come twice."""
    phone = server.online(f"{PAT}/phone")
    phone.mute = True
    if managed:
        phone.manage()
    queue.send("1")
    server.clock.advance(0)
    phone.end()
    assert {"1": "recipient-unavailable"} == queue.fates
    assert 0 == kept(server)


def test_one_of_two_devices_is_enough(server: Harness, queue: Sender) -> None:
    phone, tablet = server.online(f"{PAT}/phone"), server.online(f"{PAT}/tablet")
    tablet.received()
    phone.mute = True
    queue.send("1")
    server.clock.advance(0)
    assert {"1": "arrived"} == queue.fates
    phone.end()
    assert (["1"], 0) == (ids(tablet), kept(server))


def test_of_two_devices_the_last_gives_it_back(server: Harness, queue: Sender) -> None:
    devices = server.online(f"{PAT}/phone"), server.online(f"{PAT}/tablet")
    for device in devices:
        device.mute = True
    queue.send("1")
    devices[0].end()
    assert {} == queue.fates
    devices[1].end()
    assert {"1": "recipient-unavailable"} == queue.fates


def test_what_comes_after_the_end_is_given_back_at_once(server: Harness) -> None:
    phone = server.online(f"{PAT}/phone")
    phone.end()
    fates: list[StanzaError | None] = []
    phone.session.deliver(Tracked(Stanza.message(phone.jid, ASK, body="late"), fates.append))
    assert [Condition.RECIPIENT_UNAVAILABLE] == [error.condition for error in fates if error is not None]


# -- without acknowledgement -----------------------------------------------------------------------


def test_a_session_without_management_costs_no_outbox(server: Harness) -> None:
    phone, mia = server.online(f"{PAT}/phone"), server.online("mia@library.example/desk")
    mia.send(f"<message to='{PAT}' type='chat' id='1'><body>hi</body></message>")
    server.clock.advance(10)
    assert (["1"], 0, None) == (ids(phone), phone.pings, phone.session.outbox)


def test_a_client_that_acknowledges_nothing_is_given_up_and_what_it_missed_is_kept(server: Harness) -> None:
    phone, mia = server.online(f"{PAT}/phone"), server.online("mia@library.example/desk")
    phone.manage()
    for _ in range(7):
        mia.send(f"<message to='{PAT}' type='chat'><body>{'x' * 1_000_000}</body></message>")
    server.clock.advance(0)
    assert phone.closed
    phone.end()
    assert 2 == kept(server)  # what there is room for
    assert [] == mia.told()


# -- clients that are away ---------------------------------------------------------------------


class Away:
    """Implements `Transport`: there is no connection."""

    unsent = 0

    def send(self, data: bytes) -> None:
        pass

    def close(self, error: StreamError | None = None) -> None:
        pass


def cut(client: Client, server: Harness) -> None:
    client.session.cut(Away())
    server.core.hooks.tell(SessionCut(client.session))


def say(mia: Client, id: str, to: str = PAT.text) -> None:
    mia.send(f"<message to='{to}' type='chat' id='{id}'><body>{id}</body></message>")


@pytest.mark.parametrize("to", [PAT.text, f"{PAT}/phone"])
def test_what_waits_for_a_client_that_is_away_survives_a_crash(server: Harness, to: str) -> None:
    phone, mia = server.online(f"{PAT}/phone"), server.online("mia@library.example/desk")
    phone.manage()
    say(mia, "before", to)
    cut(phone, server)
    say(mia, "meanwhile", to)
    assert 2 == kept(server)
    again = server.restarted(Messages, Offline).client(f"{PAT}/tablet")
    again.send("<presence/>")
    assert ["before", "meanwhile"] == ids(again)


def test_who_comes_back_and_acknowledges_leaves_nothing_in_the_store(server: Harness) -> None:
    phone, mia = server.online(f"{PAT}/phone"), server.online("mia@library.example/desk")
    phone.manage()
    say(mia, "before")
    cut(phone, server)
    say(mia, "meanwhile")
    phone.received()
    phone.comes_back()
    assert ["before", "meanwhile"] == ids(phone)
    phone.acknowledge()
    server.clock.advance(0)
    assert 0 == kept(server)


def test_an_acknowledgement_before_the_commit_counts(server: Harness) -> None:
    phone, mia = server.online(f"{PAT}/phone"), server.online("mia@library.example/desk")
    phone.manage()
    with server.holding():
        cut(phone, server)
        say(mia, "meanwhile")
        phone.comes_back()
        phone.acknowledge()
    server.clock.advance(0)
    assert 0 == kept(server)


def test_what_was_stored_for_a_session_that_is_given_up_goes_to_the_other_device(server: Harness) -> None:
    phone, mia = server.online(f"{PAT}/phone"), server.online("mia@library.example/desk")
    phone.manage()
    cut(phone, server)
    say(mia, "meanwhile")
    tablet = server.client(f"{PAT}/tablet")
    tablet.send("<presence/>")
    assert [] == ids(tablet)
    phone.end()
    server.clock.advance(0)
    assert ["meanwhile"] == ids(tablet)
    server.clock.advance(0)
    assert 0 == kept(server)


# -- clients that do not answer --------------------------------------------------------------------


def test_who_leaves_a_question_open_for_a_minute_does_not_answer(server: Harness, queue: Sender) -> None:
    phone = server.online(f"{PAT}/phone")
    phone.mute = True
    queue.send("1")
    server.clock.advance(0)
    server.clock.advance(UNANSWERED_SECONDS - 1)
    assert phone.session.answering
    server.clock.advance(1)
    assert [("phone", False)] == Watcher.heard
    assert not phone.session.answering
    phone.mute = False
    phone.send(phone.unanswered[0].result())
    assert [("phone", False), ("phone", True)] == Watcher.heard


def test_who_is_watched_is_asked_each_minute(server: Harness) -> None:
    phone, tablet = server.online(f"{PAT}/phone"), server.online(f"{PAT}/tablet")
    server.core.liveness.watch(phone.session)
    for _ in range(3):
        server.clock.advance(PROBE_SECONDS)
    assert (3, 0) == (phone.pings, tablet.pings)
    phone.mute = True
    server.clock.advance(PROBE_SECONDS)
    server.clock.advance(UNANSWERED_SECONDS)
    assert [("phone", False)] == Watcher.heard
    server.core.liveness.unwatch(phone.session)
    asked = phone.pings
    server.clock.advance(PROBE_SECONDS)
    assert asked == phone.pings


def test_who_is_watched_twice_is_asked_once(server: Harness) -> None:
    phone = server.online(f"{PAT}/phone")
    for _ in range(2):
        server.core.liveness.watch(phone.session)
        server.core.liveness.unwatch(phone.session)
        server.core.liveness.watch(phone.session)
    server.clock.advance(PROBE_SECONDS)
    assert 1 == phone.pings
