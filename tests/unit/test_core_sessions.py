"""The directory of sessions and of hosts."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from refserver.core.hosts import Host, Hosts
from refserver.core.liveness import Liveness
from refserver.core.sessions import UNAVAILABLE, Session, Sessions
from refserver.errors import StreamCondition, StreamError
from refserver.jid import JID
from refserver.stanza import Stanza

LIBRARY = Host("library.example")
MIA = JID.parse("mia@library.example")


class Stream:
    """Implements `Transport`."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended: list[StreamError | None] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    @property
    def unsent(self) -> int:
        return 0

    def close(self, error: StreamError | None = None) -> None:
        self.ended.append(error)


def session(resource: str = "desk", account: JID = MIA, stream: Stream | None = None) -> Session:
    return Session(
        account.with_resource(resource), LIBRARY, stream or Stream(), Liveness(Clock(), lambda _: None)
    )


def test_a_new_session_is_unavailable() -> None:
    new = session()
    assert (MIA, None, UNAVAILABLE, False) == (new.account, new.presence, new.priority, new.interested)
    assert UNAVAILABLE < -128


def test_a_session_sends_and_ends_through_its_stream() -> None:
    stream = Stream()
    mine = session(stream=stream)
    stanza = Stanza.message(mine.jid, MIA, body="a")
    mine.deliver(stanza)
    mine.deliver(stanza, MIA)
    error = StreamError(StreamCondition.CONFLICT)
    mine.close(error)
    mine.close()
    assert [stanza.wire(), stanza.wire_to(MIA)] == stream.sent
    assert [error, None] == stream.ended


def test_sessions_are_found_by_account_and_by_full_address() -> None:
    sessions = Sessions()
    desk, phone, other = session("desk"), session("phone"), session("desk", JID.parse("pat@library.example"))
    for each in (desk, phone, other):
        sessions.add(each)
    assert {"desk": desk, "phone": phone} == dict(sessions.of(MIA))
    assert desk is sessions.get(desk.jid)
    assert sessions.get(MIA.with_resource("gone")) is None
    assert sessions.get(JID.parse("nobody@library.example/desk")) is None
    assert {} == dict(sessions.of(JID.parse("nobody@library.example")))
    assert 3 == len(sessions)
    assert {desk, phone, other} == set(sessions)


def test_available_and_interested_ones_are_picked_out() -> None:
    sessions = Sessions()
    desk, phone = session("desk"), session("phone")
    sessions.add(desk)
    sessions.add(phone)
    assert [] == sessions.available(MIA) == sessions.interested(MIA)
    desk.presence, phone.interested = Stanza.presence(None, desk.jid), True
    assert [desk] == sessions.available(MIA)
    assert [phone] == sessions.interested(MIA)


def test_who_has_gone_is_removed_once_and_leaves_nothing() -> None:
    sessions = Sessions()
    desk = session()
    sessions.add(desk)
    assert sessions.remove(desk)
    assert not sessions.remove(desk)
    assert 0 == len(sessions)
    assert {} == sessions._accounts


def test_the_successor_at_a_resource_is_not_removed_with_its_predecessor() -> None:
    sessions = Sessions()
    older, newer = session(), session()
    sessions.add(older)
    sessions.remove(older)
    sessions.add(newer)
    assert not sessions.remove(older)
    assert newer is sessions.get(newer.jid)


def test_a_resource_that_is_taken_is_a_mistake_of_ours() -> None:
    sessions = Sessions()
    sessions.add(session())
    with pytest.raises(AssertionError):
        sessions.add(session())


def test_sessions_may_end_while_they_are_walked() -> None:
    sessions = Sessions()
    for name in ("desk", "phone", "tablet"):
        sessions.add(session(name))
    for each in sessions:
        sessions.remove(each)
    assert 0 == len(sessions)


# -- hosts -----------------------------------------------------------------------------------


class Desk:
    """Implements `Destination`."""

    def deliver(self, stanza: Stanza) -> None:
        raise AssertionError


def test_a_queue_owns_its_address_and_what_is_behind_a_plus() -> None:
    host, ask = Host("library.example"), Desk()
    assert host.find("ask") is None
    host.addresses["ask"] = ask
    assert ask is host.find("ask") is host.find("ask+417") is host.find("ask+mia+1")
    assert host.find("asks") is host.find("as") is host.find("mia+ask") is host.find("+ask") is None


def test_an_address_with_a_plus_of_its_own_comes_first() -> None:
    host, ask, special = Host("library.example"), Desk(), Desk()
    host.addresses.update({"ask": ask, "ask+special": special})
    assert special is host.find("ask+special")


def test_hosts_come_and_go() -> None:
    hosts, rooms = Hosts(), Desk()
    library, other = Host("library.example", "The Library"), Host("other.example")
    hosts.add(library)
    hosts.add(other)
    hosts.add_service("rooms.library.example", rooms)
    assert library is hosts.get("library.example")
    assert rooms is hosts.service("rooms.library.example")
    assert hosts.get("rooms.library.example") is None
    assert hosts.service("library.example") is None
    assert [library, other] == list(hosts)
    assert 2 == len(hosts)
    assert ["rooms.library.example"] == hosts.services_of(library)
    assert [] == hosts.services_of(other)
    assert hosts.is_local("library.example")
    assert hosts.is_local("rooms.library.example")
    hosts.remove("library.example")
    hosts.remove("library.example")
    hosts.remove_service("rooms.library.example")
    hosts.remove_service("rooms.library.example")
    assert not hosts.is_local("library.example")
    assert not hosts.is_local("rooms.library.example")
