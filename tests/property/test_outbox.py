"""No message to a client is lost, and only what it could not acknowledge comes twice.

A model of a client: it reads from a pipe that may be cut, counts what it has read, acknowledges now and then,
comes back to its session or logs in anew.
"""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import example, given, settings
from hypothesis import strategies as st

from refserver import ns
from refserver.core.hooks import SessionBinding, SessionBound, SessionCut
from refserver.core.sessions import Session
from refserver.errors import StreamError
from refserver.features.messages import Messages
from refserver.features.offline import Offline
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml.element import element
from refserver.xml.write import parse
from tests.server.harness import Harness

ACCOUNT = JID.parse("pat@library.example")
FULL = ACCOUNT.with_resource("phone")


class Pipe:
    """Implements `Transport`: what is sent lies in it until it is read, or lost."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.error: StreamError | None = None

    def send(self, data: bytes) -> None:
        self.waiting.append(data)

    @property
    def unsent(self) -> int:
        return sum(map(len, self.waiting))

    def close(self, error: StreamError | None = None) -> None:
        self.error = error


class Phone:
    """Pat's only client; `seen` are the ids of all messages it has ever read."""

    def __init__(self) -> None:
        self.server = Harness([Messages, Offline])
        self.mia = self.server.client("mia@library.example/desk")
        self.server.account(ACCOUNT.text)
        self.pipe = Pipe()
        self.session: Session | None = None
        self.seen: Counter[str] = Counter()
        self.sent = 0
        self.handled = 0
        self.is_cut = False
        self.connected_at = 0  # how many were sent before
        self.open: list[str] = []  # read in this session, and perhaps not known to the server as read
        self.unsure: set[str] = set()  # may come again: a session ended before it could say that it had them
        self.fragile: set[str] = set()  # sent live to a client without stream management: may be lost

    # -- what can happen -----------------------------------------------------

    def send(self, to: JID) -> None:
        """Mia writes."""
        self.sent += 1
        id = f"m{self.sent}"
        if self.session is not None and not self.managed and (not self.is_cut):
            self.fragile.add(id)
        self.mia.send(Stanza.message(to, self.mia.jid, id=id, body=id))

    def log_in(self, managed: bool) -> None:
        if self.session is not None:
            self.give_up()
        self.pipe, self.is_cut, self.connected_at = Pipe(), False, self.sent
        core = self.server.core
        host = core.hosts.get("library.example")
        assert host is not None
        self.server.run(core.hooks.ask(SessionBinding(ACCOUNT, host)))
        self.session = session = Session(FULL, host, self.pipe, core.liveness)
        core.sessions.add(session)
        core.hooks.tell(SessionBound(session))
        if managed:
            management = session.acknowledges().management
            management.start()
            management.turned_on()
            self.handled = 0
        core.router.submit(Stanza.presence(None, FULL), session)

    @property
    def managed(self) -> bool:
        return self.session is not None and self.session.managed

    def read(self, number: int) -> None:
        if self.session is None or self.is_cut:
            return
        for _ in range(min(number, len(self.pipe.waiting))):
            data = self.pipe.waiting.popleft()
            if data.startswith(b"<r "):
                continue
            stanza = Stanza.received(parse(data))
            if stanza.payload is not None and stanza.payload.tag == f"{{{ns.PING}}}ping":
                self.server.core.router.submit(stanza.result(), self.session)
                self.open.clear()
                continue
            self.handled += 1
            if stanza.kind == "message":
                self.seen[stanza.id] += 1
                self.open.append(stanza.id)

    def acknowledge(self) -> None:
        if self.managed and not self.is_cut:
            self._count()
            self.open.clear()

    def cut(self) -> None:
        if self.session is not None and not self.is_cut:
            if self.managed:
                self.is_cut = True
                self.session.cut(Pipe())
                self.server.core.hooks.tell(SessionCut(self.session))
            else:
                self.give_up()

    def resume(self) -> None:
        if self.session is not None and self.is_cut:
            self.pipe, self.is_cut, self.connected_at = Pipe(), False, self.sent
            self._count()
            self.open.clear()
            self.session.resume(self.pipe)

    def give_up(self) -> None:
        if self.session is not None:
            self.unsure.update(self.open)
            self.open.clear()
            session, self.session = self.session, None
            self.server.core.end_session(session)

    def kill(self) -> None:
        """kill -9 of the server: what a connected client had not acknowledged was only in its memory."""
        assert [] == self.mia.told()
        if self.session is not None and not self.is_cut:
            self.fragile.update(f"m{number}" for number in range(self.connected_at + 1, self.sent + 1))
        self.unsure.update(self.seen)
        self.open.clear()
        self.session = None
        self.server = self.server.restarted(Messages, Offline)
        self.mia = self.server.client("mia@library.example/desk")

    def turn(self) -> None:
        self.server.clock.advance(0.5)

    def _count(self) -> None:
        assert self.session is not None
        assert self.session.outbox is not None
        management = self.session.outbox.management
        management.acknowledged(element(ns.SM, "a", {"h": str(self.handled)}))
        self.session.acknowledged(management.confirmed)


_EVENTS = st.one_of(
    st.just(("send", ACCOUNT)),
    st.just(("send", FULL)),
    st.tuples(st.just("log_in"), st.booleans()),
    st.tuples(st.just("read"), st.integers(1, 8)),
    st.sampled_from([("cut",), ("cut",), ("kill",)]),
    st.sampled_from([("acknowledge",), ("cut",), ("resume",), ("give_up",), ("turn",), ("turn",)]),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_EVENTS, min_size=15, max_size=60))
@example([("log_in", True), ("send", ACCOUNT), ("cut",), ("kill",)])
@example([("log_in", True), ("cut",), ("send", ACCOUNT), ("kill",)])
def test_nothing_is_lost_and_nothing_comes_twice(events: list[tuple[object, ...]]) -> None:
    phone = Phone()
    for name, *arguments in events:
        getattr(phone, str(name))(*arguments)
    phone.resume()
    if phone.session is None:
        phone.log_in(managed=True)
    for _ in range(4):
        phone.read(1_000)
        phone.acknowledge()
        phone.turn()
    sent = {f"m{number}" for number in range(1, phone.sent + 1)}
    assert sent - set(phone.seen) <= phone.fragile
    assert {id for id, times in phone.seen.items() if times > 1} <= phone.unsure
    assert [] == phone.mia.told(), "nothing comes back to a sender who was told nothing else"


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["send", "read", "cut", "resume", "acknowledge", "turn"]), max_size=60))
def test_what_one_session_reads_stays_in_order(events: list[str]) -> None:
    phone = Phone()
    phone.log_in(managed=True)
    for name in events:
        if name == "send":
            phone.send(ACCOUNT)
        elif name == "read":
            phone.read(2)
        else:
            getattr(phone, name)()
    phone.resume()
    phone.read(1_000)
    assert [f"m{number}" for number in range(1, phone.sent + 1)] == list(phone.seen)
    assert set(phone.seen.values()) <= {1}
