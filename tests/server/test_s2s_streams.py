"""Streams between two servers over loopback: certificates, dialback, both directions on one, the end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet.defer import Deferred

from refserver.errors import Cause, Condition, StanzaError, StreamFault
from refserver.jid import JID
from refserver.net.mux import Mux
from refserver.s2s import connect, outbound_queue, service
from refserver.s2s.inbound_limits import InboundLimits
from refserver.s2s.resolver import Target
from refserver.stanza import Stanza, Tracked
from tests.interop.peers.authority import TestAuthority

from .federated import FederatedServer, Make
from .loopback import in_thread, reactor, until

HERE, OTHER, THERE = "library.example", "other.example", "there.example"
MIA, PAT = f"mia@{HERE}/desk", f"pat@{THERE}/phone"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Servers on one multiplexer; they know each other once they listen."""
    mux = Mux(reactor)
    mux.start()
    places: dict[str, Target] = {}
    monkeypatch.setattr(outbound_queue, "ATTEMPT_SECONDS", 3.0)

    def server(*domains: str, **policy: Any) -> FederatedServer:
        return FederatedServer(mux, tmp_path / "certificates", places, list(domains), **policy)

    yield server
    pytest_twisted.blockon(mux.stop(0.2))


async def two(make: Make, tls: bool = False, **policy: Any) -> tuple[FederatedServer, FederatedServer]:
    here, there = make(HERE, **policy), make(THERE, **policy)
    await here.listen(tls=tls)
    await there.listen(tls=tls)
    return here, there


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "direct tls"])
@pytest_twisted.ensureDeferred
async def test_certificates_prove_both_directions(make, tls):
    here, there = await two(make, tls, bidi=False)
    here.send(MIA, PAT, "question")
    assert ["question"] == await there.until_got(1)
    there.send(PAT, MIA, "answer")
    assert ["answer"] == await here.until_got(1)
    status = here.status(THERE)
    assert ("certificate", "certificate", "valid") == (
        status.outgoing_method,
        status.incoming_method,
        "valid" if status.certificate_shown and not status.certificate_fault else "",
    )
    assert (1, 1, 0, None) == (status.sent, status.received, status.returned, status.last_error)
    assert (1, 1) == (status.outgoing, status.incoming)


@pytest_twisted.ensureDeferred
async def test_one_stream_serves_both_directions_where_both_agree(make):
    here, there = await two(make)
    here.send(MIA, PAT, "question")
    await there.until_got(1)
    there.send(PAT, MIA, "answer")
    assert ["answer"] == await here.until_got(1)
    assert (1, 0) == (here.status(THERE).outgoing, here.status(THERE).incoming)
    assert 0 == there.status(HERE).outgoing


@pytest_twisted.ensureDeferred
async def test_many_stanzas_arrive_once_and_in_order(make):
    here, there = await two(make)
    texts = [f"number {number}" for number in range(300)]
    for text in texts[:200]:
        here.send(MIA, PAT, text)
    await there.until_got(1)
    for text in texts[200:]:
        here.send(MIA, PAT, text)
    assert texts == await there.until_got(300)


@pytest_twisted.ensureDeferred
async def test_a_certificate_for_another_name_is_refused(make):
    here = make(HERE)
    there = make(THERE, certified=["other.example"], authority=TestAuthority(here.folder))
    await here.listen()
    await there.listen()
    here.send(MIA, PAT)
    assert ["remote-server-not-found"] == await here.until_got(1)
    assert Cause.WRONG_NAME is here.fault(THERE).cause
    there.send(PAT, MIA)
    await there.until_got(1)
    assert [] == there.got[1:]
    assert 1 == len(here.got), "nothing of theirs came in"


@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_not_trusted_is_refused_by_certificate(make, tmp_path):
    stranger = TestAuthority(tmp_path / "stranger")
    here, there = make(HERE), make(THERE, authority=stranger)
    await here.listen()
    await there.listen()
    here.send(MIA, PAT)
    assert ["remote-server-not-found"] == await here.until_got(1)
    assert "authority that is not trusted" in str(here.status(THERE).last_error)


@pytest_twisted.ensureDeferred
async def test_dialback_serves_where_policy_has_it(make, tmp_path):
    stranger = TestAuthority(tmp_path / "stranger")
    here = make(HERE, dialback=True, bidi=False)
    there = make(THERE, dialback=True, bidi=False, authority=stranger)
    await here.listen()
    await there.listen()
    here.send(MIA, PAT, "question")
    assert ["question"] == await there.until_got(1)
    there.send(PAT, MIA, "answer")
    assert ["answer"] == await here.until_got(1)
    status = here.status(THERE)
    assert ("dialback", "dialback") == (status.outgoing_method, status.incoming_method)
    assert "not trusted" in str(status.certificate_fault)


@pytest_twisted.ensureDeferred
async def test_dialback_does_not_believe_who_is_found_elsewhere(make, tmp_path):
    """Somebody claims a domain; its own server knows nothing of the key."""
    stranger = TestAuthority(tmp_path / "stranger")
    here = make(HERE, dialback=True)
    there = make(THERE, dialback=True, authority=stranger)
    await here.listen()
    await there.listen()
    liar = make(THERE, dialback=True, authority=stranger)
    liar.service.secret = liar.service.pool.connector.secret = b"another secret"
    liar.send(PAT, MIA, "believe me")
    assert ["internal-server-error"] == await liar.until_got(1)
    assert StreamFault(Cause.OUR_KEY_REFUSED) == liar.status(HERE).last_error
    assert [] == here.got


@pytest_twisted.ensureDeferred
async def test_no_server_and_no_listener_give_their_errors(make, monkeypatch):
    monkeypatch.setattr(outbound_queue, "ATTEMPT_SECONDS", 0.3)
    here = make(HERE)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    here.places["dead.example"] = Target("127.0.0.1", port)
    here.send(MIA, "x@nowhere.example")
    here.send(MIA, "x@dead.example")
    assert ["remote-server-not-found", "remote-server-timeout"] == await here.until_got(2)
    assert StreamFault(Cause.CONNECTION_REFUSED, f"127.0.0.1:{port}") == here.fault("dead.example")


@pytest_twisted.ensureDeferred
async def test_a_server_without_tls_is_refused(make):
    here = make(HERE)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here.places[THERE] = Target(*listening.getsockname())
        here.send(MIA, PAT)
        client, _ = await in_thread(listening.accept)
        await in_thread(lambda: client.recv(1000))
        client.sendall(
            b"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"
            b" id='1' from='there.example' version='1.0'><stream:features/>"
        )
        assert ["remote-server-not-found"] == await here.until_got(1)
        client.close()
    assert StreamFault(Cause.NO_TLS) == here.status(THERE).last_error


@pytest_twisted.ensureDeferred
async def test_an_endless_handshake_ends(make, monkeypatch):
    monkeypatch.setattr(outbound_queue, "ATTEMPT_SECONDS", 1.0)
    monkeypatch.setattr(connect, "NEGOTIATE_SECONDS", 0.3)
    here = make(HERE)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here.places[THERE] = Target(*silent.getsockname())
        here.send(MIA, PAT)
        assert ["remote-server-timeout"] == await here.until_got(1)
        assert StreamFault(Cause.TOO_SLOW) == here.status(THERE).last_error
    await until(lambda: here.service.mux.connections == 0)


@pytest_twisted.ensureDeferred
async def test_a_stream_that_broke_is_made_anew(make):
    here, there = await two(make)
    here.send(MIA, PAT, "one")
    await here.until_confirmed()
    for connection in list(there.service.connections):
        connection._connection.abort("crashed")
    await until(lambda: here.status(THERE).outgoing == 0)
    here.send(MIA, PAT, "two")
    assert ["one", "two"] == await there.until_got(2)
    assert [THERE, THERE] == here.reachable, "at the start, and after the failure"
    assert [HERE] == there.reachable


@pytest_twisted.ensureDeferred
async def test_what_a_broken_stream_did_not_confirm_is_sent_again_before_the_rest(make):
    here, there = await two(make, bidi=False)
    here.send(MIA, PAT, "one")
    await here.until_confirmed()
    there.written = Deferred()  # it cannot confirm any more
    here.send(MIA, PAT, "two")
    here.send(MIA, PAT, "three")
    await there.until_got(3)
    for connection in list(there.service.connections):
        connection._connection.abort("crashed")
    there.written = None
    here.send(MIA, PAT, "four")
    assert ["one", "two", "three", "two", "three", "four"] == await there.until_got(6)
    await here.until_confirmed()
    assert 0 == here.status(THERE).returned


@pytest_twisted.ensureDeferred
async def test_what_is_tracked_comes_back_together_when_two_streams_die_under_the_first_of_it(make):
    """So who tries again what comes back keeps the order, also of what was sent between the two deaths."""
    here, there = await two(make, bidi=False)
    here.send(MIA, PAT, "one")
    await here.until_confirmed()
    back: list[str] = []

    def track(text: str) -> None:
        message = Stanza.message(JID.parse(PAT), JID.parse(MIA), body=text)
        here.router.route(Tracked(message, lambda error: back.append(text) if error else None))

    written = there.written = Deferred()  # it cannot confirm any more
    track("two")
    await there.until_got(2)
    die(there)
    await there.until_got(3)
    track("three")
    await there.until_got(4)
    die(there)
    await until(lambda: len(back) == 2)
    there.written = None
    written.callback(None)
    for text in [*back, "four"]:
        track(text)
    assert ["one", "two", "two", "three", "two", "three", "four"] == await there.until_got(7)
    await here.until_confirmed()
    assert ["two", "three"] == back


@pytest_twisted.ensureDeferred
async def test_nothing_is_confirmed_before_it_is_durable(make):
    here, there = await two(make)
    here.send(MIA, PAT, "one")
    await here.until_confirmed()
    written = there.written = Deferred()
    here.send(MIA, PAT, "two")
    await there.until_asked()
    there.send(PAT, MIA, "read it")  # on the same stream, and so behind what was told
    await here.until_got(1)
    assert 1 == here.status(THERE).unacknowledged
    there.written = None
    written.callback(None)
    await here.until_confirmed()


@pytest.mark.parametrize("dialback", [False, True])
@pytest_twisted.ensureDeferred
async def test_without_stream_management_pings_confirm(make, dialback):
    here, there = await two(make, bidi=False, management=False, dialback=dialback)
    told: list[Any] = []
    here.router.route(Tracked(Stanza.message(JID.parse(PAT), JID.parse(MIA), body="one"), told.append))
    await until(lambda: bool(told))
    assert [None] == told
    assert ["one"] == await there.until_got(1)
    assert [] == here.got, "nobody sees the answer"
    assert (1, 0) == (here.status(THERE).received, here.status(THERE).unacknowledged)


@pytest_twisted.ensureDeferred
async def test_what_goes_back_on_a_peers_stream_is_confirmed_and_not_lost(make):
    here, there = await two(make)
    here.send(MIA, PAT, "question")
    await there.until_got(1)
    there.send(PAT, MIA, "one")
    await there.until_confirmed()
    here.written = Deferred()
    there.send(PAT, MIA, "two")
    await here.until_got(2)
    for connection in list(there.service.connections):
        connection._connection.abort("broken")
    here.written = None
    assert ["one", "two", "two"] == await here.until_got(3)
    await there.until_confirmed()
    assert 1 == there.status(HERE).outgoing, "of its own now"


@pytest_twisted.ensureDeferred
async def test_an_idle_stream_is_closed_in_order_and_comes_back(make):
    here, there = await two(make)
    here.send(MIA, PAT, "one")
    await here.until_confirmed()
    for each in here.service.pool:
        each.last_used -= 1000
    here.service.pool.close_idle()
    await until(lambda: not there.service.connections)
    here.send(MIA, PAT, "two")
    assert ["one", "two"] == await there.until_got(2)
    assert there.status(HERE).last_error is None


@pytest_twisted.ensureDeferred
async def test_the_end_closes_every_stream(make):
    here, there = await two(make)
    here.send(MIA, PAT)
    await there.until_got(1)
    there.service.close_all()
    await until(lambda: here.service.mux.connections == 0)
    assert StreamFault(Cause.CLOSED, "system-shutdown") == here.status(THERE).last_error


@pytest_twisted.ensureDeferred
async def test_streams_from_one_address_are_bounded(make):
    there = make(THERE, connections_per_ip=3)
    await there.listen()
    target = there.places[THERE]
    clients = [socket.create_connection((target.host, target.port)) for _ in range(5)]
    await until(lambda: len(there.service.connections) == 3)
    assert b"" == await in_thread(lambda: clients[4].recv(10)), "turned away"
    for client in clients:
        client.close()
    await until(lambda: not there.service.connections)
    assert not there.service._by_ip


@pytest_twisted.ensureDeferred
async def test_a_library_and_its_rooms_have_a_stream_each(make):
    here = make(HERE, f"rooms.{HERE}")
    there = make(THERE)
    await here.listen()
    await there.listen()
    here.send(MIA, PAT, "from the library")
    here.send(f"ask@rooms.{HERE}/mia", PAT, "from the room")
    assert {"from the library", "from the room"} == set(await there.until_got(2))
    there.send(PAT, f"ask@rooms.{HERE}", "to the room", "groupchat")
    assert ["to the room"] == await here.until_got(1)


@pytest_twisted.ensureDeferred
async def test_other_settings_hold_for_new_streams(make, tmp_path):
    stranger = TestAuthority(tmp_path / "stranger")
    here, there = make(HERE), make(THERE, authority=stranger, dialback=True)
    await here.listen()
    await there.listen()
    there.send(PAT, MIA, "by key")
    assert ["remote-server-not-found"] == await there.until_got(1)
    policy = here.service.settings
    here.service.renew(evolve(policy, stream=evolve(policy.stream, dialback=True)))
    for each in there.service.pool:
        each.heard()
    there.send(PAT, MIA, "by key")
    assert ["by key"] == await here.until_got(1)
    assert "dialback" == here.status(THERE).incoming_method


@pytest_twisted.ensureDeferred
async def test_a_flood_from_one_domain_costs_that_domain_alone(make):
    limits = InboundLimits(stanzas_per_minute=0, domain_stanzas_per_minute=20)
    here = make(HERE, inbound_limits=limits)
    flood, calm = make(THERE), make("calm.example")
    for server in (here, flood, calm):
        await server.listen()
    for number in range(200):
        flood.send(PAT, MIA, f"flood {number}")
    calm.send("pat@calm.example", MIA, "a question")
    says = await here.until_got(21)
    assert "a question" in says
    await flood.until_got(180)
    assert {"resource-constraint"} == set(await flood.until_got(180))
    assert (200, 180) == (here.status(THERE).received, here.status(THERE).refused)


@pytest_twisted.ensureDeferred
async def test_all_streams_of_a_domain_share_what_one_may_bring(make):
    here, first, second, other = make(HERE), make(THERE), make(THERE), make("other.example")
    here.service.renew(evolve(here.service.settings, bytes_per_second=60_000))
    for server in (here, first, second, other):
        await server.listen()

    def rates() -> list[float]:
        return sorted(each._connection.bytes_per_second for each in here.service.connections)

    first.send(PAT, MIA)
    other.send("pat@other.example", MIA)
    await here.until_got(2)
    assert [60_000, 60_000] == rates()
    second.send(PAT, MIA)
    await here.until_got(3)
    assert [30_000, 30_000, 60_000] == rates()
    second.service.close_all()
    await until(lambda: len(here.service.connections) == 2)
    assert [60_000, 60_000] == rates()


@pytest_twisted.ensureDeferred
async def test_a_stream_that_we_opened_may_not_bring_more_than_theirs(make):
    here, there = make(HERE), make(THERE)
    here.service.renew(evolve(here.service.settings, bytes_per_second=60_000))
    await here.listen()
    await there.listen()
    here.send(MIA, PAT)
    await there.until_got(1)
    (stream,) = [queue._link for queue in here.service.pool]
    assert 60_000 == stream._connection.bytes_per_second


@pytest_twisted.ensureDeferred
async def test_two_servers_that_refuse_everything_do_not_answer_each_other_for_ever(make):
    here, there = await two(make)
    for server in (here, there):
        refuse_everything(server)
    for type in ("chat", "normal", "error"):
        here.send(MIA, PAT, type, type)
    for count in (3, 4, 5):  # what is answered behind it shows that nothing more is under way
        here.send(MIA, PAT, "and then", "chat")
        await here.until_got(count)
    assert ["chat", "normal", "error", *["and then"] * 3] == [each.body for each in there.got]
    assert ["item-not-found"] * 5 == await here.until_got(5)
    assert {"error"} == {each.type for each in here.got}


def die(server: FederatedServer) -> None:
    """All its streams break."""
    for connection in list(server.service.connections):
        connection._connection.abort("crashed")


def refuse_everything(server: FederatedServer) -> None:
    def deliver(stanza: Stanza) -> None:
        if stanza.kind == "message":
            server.got.append(stanza)
        server.router.bounce(stanza, StanzaError(Condition.ITEM_NOT_FOUND))

    server.router.accounts = SimpleNamespace(deliver=deliver)


@pytest.mark.parametrize("bidi", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_removed_librarys_streams_end_and_the_first_stanza_to_it_is_answered(make, bidi):
    here, there = make(HERE, OTHER, bidi=bidi), make(THERE, bidi=bidi)
    await here.listen()
    await there.listen()
    for library in (HERE, OTHER):
        there.send(PAT, f"mia@{library}")
        here.send(f"mia@{library}", PAT)
    await here.until_got(2)
    await there.until_got(2)
    here.router.hosts.remove(HERE)
    here.service.host_removed(HERE)
    await until(lambda: there.status(HERE).outgoing + there.status(HERE).incoming == 0)
    there.send(PAT, MIA)
    there.send(PAT, f"mia@{OTHER}", "still served")
    assert ["remote-server-not-found"] == (await there.until_got(3))[2:]
    assert ["still served"] == (await here.until_got(3))[2:]


@pytest_twisted.ensureDeferred
async def test_before_the_end_what_waits_is_sent(make):
    here, there = await two(make)
    for number in range(20):
        here.send(MIA, PAT, str(number))
    await here.service.stop()
    assert [str(number) for number in range(20)] == await there.until_got(20)
    await until(lambda: there.status(HERE).incoming == 0)
    assert 0 == here.status(THERE).returned


@pytest_twisted.ensureDeferred
async def test_the_end_does_not_wait_long_for_a_server_that_does_not_answer(make, monkeypatch):
    monkeypatch.setattr(service, "FLUSH_SECONDS", 0.3)
    here = make(HERE)
    silent = socket.create_server(("127.0.0.1", 0))
    here.places[THERE] = Target(*silent.getsockname())
    here.send(MIA, PAT)
    began = reactor.seconds()
    await here.service.stop()
    assert reactor.seconds() - began < 2.0
    assert ["remote-server-timeout"] == await here.until_got(1)
    silent.close()
