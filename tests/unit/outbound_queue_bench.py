"""Plays what ways use: streams that keep what is sent, and a pool whose attempts the test answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from refserver.core.hooks import Hooks
from refserver.core.hosts import Host, Hosts
from refserver.core.router import Router
from refserver.errors import Cause, Condition, StanzaError, StreamError, StreamFault
from refserver.jid import JID
from refserver.s2s.known_servers import KnownServers
from refserver.s2s.outbound_queue import Pool
from refserver.s2s.outgoing import Unreachable
from refserver.stanza import Stanza, Tracked

HERE, THERE = "library.example", "there.example"
MIA = JID.parse(f"mia@{HERE}/desk")
PAT = JID.parse(f"pat@{THERE}")
TIMEOUT = Unreachable(Cause.CONNECTION_REFUSED)
NOT_FOUND = Unreachable(Cause.NO_SERVER, Condition.REMOTE_SERVER_NOT_FOUND, permanent=True)


class Stream:
    """A stream of ours, or one of the peer's, that keeps what is sent; `confirm` plays the peer."""

    def __init__(self, most: int = 0, managed: bool | None = True) -> None:
        self.sent: list[bytes] = []
        self.usable = True
        self.method = "certificate"
        self.closed_with: list[StreamError | None] = []
        self.most = most
        self.managed = managed
        self.unsent = 0
        self.asked: list[int] = []  # how much was sent at each question
        self.users: list[Any] = []
        self.came: Any = None

    def send_bytes(self, data: bytes) -> int:
        if self.most and len(data) > self.most:
            raise StanzaError(Condition.POLICY_VIOLATION)
        self.sent.append(data)
        return len(self.sent)

    def carries(self, from_: str, to: str) -> bool:
        return self.usable and (from_, to) == (HERE, THERE)

    def ask(self) -> None:
        self.asked.append(len(self.sent))

    def confirm(self, number: int | None = None) -> None:
        for user in list(self.users):
            user.confirmed(self, len(self.sent) if number is None else number)

    def decide(self, managed: bool) -> None:
        self.managed = managed
        for user in list(self.users):
            user.managed(self)

    def end(self, cause: Cause = Cause.CONNECTION_LOST) -> None:
        self.usable = False
        users, self.users = self.users, []
        for user in users:
            user.ended(self, StreamFault(cause))

    def close(self, error: StreamError | None = None) -> None:
        self.closed_with.append(error)
        self.end(Cause.CLOSED)

    @property
    def ids(self) -> list[str]:
        """The ids of what was sent, without pings."""
        return [_id(data) for data in self.sent if b"urn:xmpp:ping" not in data]

    @property
    def pings(self) -> list[str]:
        """The ids of the pings."""
        return [_id(data) for data in self.sent if b"urn:xmpp:ping" in data]


def _id(data: bytes) -> str:
    return data.decode().replace('"', "'").partition(" id='")[2].partition("'")[0]


class Bench:
    """A pool whose attempts the test answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[Any]] = []
        self.returned: list[Stanza] = []
        hosts = Hosts()
        hosts.add(Host("library.example"))
        hosts.add(Host("other.example"))
        self.router = Router(hosts, Hooks())
        self.router.accounts = SimpleNamespace(deliver=self.returned.append)
        connector: Any = SimpleNamespace(
            connect=self._connect,
            established=None,
            clock=self.clock,
            known_servers=KnownServers(lambda: 1000.0),
        )
        self.reachable: list[str] = []
        self.pool = Pool(connector, hosts, self.router.bounce, self.reachable.append, random=lambda: 1.0)
        self.router.remote = self.pool

    def _connect(self, local: str, remote: str, use: Any) -> Deferred[Any]:
        attempt: Deferred[Any] = Deferred()
        self.attempts.append(attempt)
        return attempt

    def track(self, id: str, to: JID = PAT, type: str = "chat") -> list[StanzaError | None]:
        """Send a tracked message; what became of it, once that is known."""
        told: list[StanzaError | None] = []
        self.router.route(Tracked(Stanza.message(to, MIA, type=type, id=id, body="hello"), told.append))
        return told

    def presence(self, id: str, to: JID = PAT, type: str = "") -> None:
        self.router.route(Stanza.presence(to, MIA, type, id))

    def answer(self, id: str, from_: str = THERE, to: str = HERE, type: str = "result") -> bool:
        """An answer to a ping comes in; whether it was taken."""
        return self.pool.answered(Stanza.iq(type, JID.parse(to), JID.parse(from_), id))

    def look(self, seconds: float) -> None:
        """Let time pass, and the pool look after its streams once a second."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.pool.look()

    def send(self, id: str, to: JID = PAT, from_: JID = MIA, type: str = "chat", body: str = "hello") -> None:
        self.router.route(Stanza.message(to, from_, type=type, id=id, body=body))

    def open(self, stream: Stream | None = None) -> Stream:
        stream = stream or Stream()
        self.attempts[-1].callback(stream)
        return stream

    def fail(self, error: Unreachable) -> None:
        self.attempts[-1].errback(Failure(error))

    def errors(self) -> list[tuple[str, str]]:
        return [(each.id, each.element[0][0].tag.partition("}")[2]) for each in self.returned]

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def status(self) -> Any:
        (remote,) = self.pool.known_servers
        return remote
