"""A server in memory: the real core, features and stores, without sockets, threads or waiting.

    server = Harness(features=[Messages])
    mia = server.client("mia@library.example/desk")
    mia.send("<presence/>")
    assert mia.received() == …

Databases are in memory and answer at once. `with server.holding(): …` keeps their answers
back, to see what happens before a commit. A client's transport can be bad: `mia.hold()` keeps
bytes back, `mia.drop()` loses them in silence, `mia.die_after(100)` breaks in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from refserver import ns
from refserver.app.account_removal import remove_account
from refserver.core.core import Core
from refserver.core.feature import Feature
from refserver.core.hooks import (
    AccountAdded,
    HostAdded,
    SessionBinding,
    SessionBound,
)
from refserver.core.hosts import Host
from refserver.core.sessions import Session
from refserver.errors import StreamError
from refserver.features.presence import Presence
from refserver.features.roster import RosterQueries, Rosters
from refserver.jid import JID
from refserver.muc.iqs import Rooms
from refserver.stanza import Stanza, new_id
from refserver.storage import Database, accounts, libraries
from refserver.xml.element import Element, element

__all__ = ["Client", "Elsewhere", "Harness", "describe"]

EPOCH = 1_750_000_000.0  # the wall clock's time when the harness starts


class Harness:
    """A server with two libraries, `library.example` and `other.example`.

    Rosters and presence are always there; `features` come on top of them. What is sent to
    other servers ends in `elsewhere`. `clock` is the fake reactor's; it starts `at` seconds.
    """

    def __init__(
        self,
        features: Iterable[type[Feature]] = (),
        domains: Iterable[str] = ("library.example", "other.example"),
        database: Database | None = None,
        at: float = 0.0,
    ) -> None:
        self.clock = Clock()
        self.clock.rightNow = at
        self._answers = _Answers()
        self.database = database or Database.memory(self._answers)
        self.core = Core(
            self.database, self.clock, now=lambda: EPOCH + self.clock.seconds(), remove_account=remove_account
        )
        self.elsewhere = Elsewhere()
        self.core.router.remote = self.elsewhere
        kinds: list[type[Feature]] = [Rosters, RosterQueries, Presence, Rooms, *features]
        self.core.install(kind(self.core) for kind in dict.fromkeys(kinds))
        for domain in domains:
            self._add_library(domain)

    def account(self, jid: str) -> JID:
        """Make an account, if it is not there yet."""
        account = JID.parse(jid).bare
        if not self.database.read_now(accounts.exists, account):
            self.database.write_now(accounts.add, account, {}, self.core.now())
            self.core.hooks.tell(AccountAdded(account))
        return account

    def remove_account(self, jid: str) -> None:
        """Remove an account and all its data. Its sessions stay where Registration is not installed."""
        for event in self.database.write_now(self.core.remove_account, JID.parse(jid), self.core.now()):
            self.run(self.core.hooks.ask(event))

    def client(self, jid: str) -> Client:
        """Log a client in: its account is made if need be, its resource bound, no presence sent."""
        full = JID.parse(jid)
        account = self.account(jid)
        host = self.core.hosts.get(full.domainpart)
        assert host is not None
        client = Client(self, full, host)
        self.run(self.core.hooks.ask(SessionBinding(account, host)))
        self.core.sessions.add(client.session)
        self.core.hooks.tell(SessionBound(client.session))
        return client

    def online(self, jid: str, presence: str = "<presence/>") -> Client:
        """Log a client in that asks for the roster and is available; what it was told is forgotten."""
        client = self.client(jid)
        client.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
        client.send(presence)
        client.received()
        return client

    def restarted(self, *features: type[Feature]) -> Harness:
        """Another server with the same database."""
        again = Harness(features, domains=(), database=self.database)
        again._answers = self._answers
        for host in self.core.hosts:
            again.core.hosts.add(Host(host.domain, host.name))
        return again

    def arrive(self, stanza: str) -> None:
        """Let a stanza arrive from wherever its `from` says."""
        self.core.router.route(_stanza(stanza))

    def run(self, waiting: Coroutine[Any, Any, Any] | Deferred[Any]) -> Any:
        """The result of something that must have ended by now."""
        deferred = Deferred.fromCoroutine(waiting) if isinstance(waiting, Coroutine) else waiting
        results: list[Any] = []
        failures: list[Any] = []
        deferred.addCallbacks(results.append, failures.append)
        if failures:
            failures[0].raiseException()
        assert results, "it has not ended yet"
        return results[0]

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep the database's answers back until the end of the block."""
        self._answers.held = []
        try:
            yield
        finally:
            self._answers.release()

    def _add_library(self, domain: str) -> None:
        if self.database.read_now(libraries.get, domain) is None:
            self.database.write_now(libraries.add, domain, domain)
        host = Host(domain, domain)
        self.core.hosts.add(host)
        self.core.hooks.tell(HostAdded(host))


class _Answers:
    """Stands in for `reactor.callFromThread`: the database's answers, at once or held back."""

    def __init__(self) -> None:
        self.held: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = None

    def __call__(self, function: Callable[..., object], /, *args: Any) -> None:
        if self.held is None:
            function(*args)
        else:
            self.held.append((function, args))

    def release(self) -> None:
        """Give the answers held back, in their order."""
        held, self.held = self.held or [], None
        for function, args in held:
            function(*args)


class Client:
    """A client's session: what it sends, and what it was sent as stanzas."""

    def __init__(self, server: Harness, jid: JID, host: Host) -> None:
        self._server = server
        self._stream = _Stream(self)
        self.jid = jid
        self.session = Session(jid, host, self._stream, server.core.liveness, bound_at=server.core.now())

    @property
    def pings(self) -> int:
        """How often the server has asked whether it has received what it was sent."""
        return self._stream.pings

    @property
    def unanswered(self) -> list[Stanza]:
        """The server's pings that it did not answer."""
        return self._stream.unanswered

    @property
    def sent_count(self) -> int:
        """The number of stanzas that the server has sent since `manage`."""
        assert self.session.outbox is not None
        return self.session.outbox.management.sent

    @property
    def mute(self) -> bool:
        """True if it does not answer the server's pings."""
        return self._stream.mute

    @mute.setter
    def mute(self, mute: bool) -> None:
        self._stream.mute = mute

    @property
    def closed(self) -> StreamError | bool:
        """True if the server has closed the stream: with which error, or True."""
        return self._stream.closed

    def send(self, stanza: str | Stanza) -> None:
        """Send a stanza. Raises `StanzaError` for what a stream refuses before the router sees it."""
        if isinstance(stanza, str):
            stanza = _stanza(stanza)
        self._server.core.router.submit(stanza, self.session)

    def ask(self, type: str, payload: str, to: str = "") -> Stanza:
        """Send an iq and take its answer; everything else it was sent meanwhile is kept."""
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{type}' id='ask'{address}>{payload}</iq>")
        received = self.received()
        answers = [stanza for stanza in received if stanza.kind == "iq" and stanza.id == "ask"]
        assert len(answers) == 1, f"one answer expected: {[describe(stanza) for stanza in received]}"
        for stanza in received:
            if stanza is not answers[0]:
                self._stream.send(stanza.wire())
        return answers[0]

    def received(self) -> list[Stanza]:
        """The stanzas it was sent since the last call."""
        return [Stanza.received(element) for element in _parse(self._stream.take())]

    def told(self) -> list[str]:
        """The stanzas it was sent since the last call, a short line each (see `describe`)."""
        return [describe(stanza) for stanza in self.received()]

    def hold(self) -> None:
        """Read nothing from now on: what is sent stays unsent, until `let_go` or for ever."""
        self._stream.room = 0

    def let_go(self) -> None:
        """Read what was held, and everything from now on."""
        self._stream.let_go()

    def drop(self) -> None:
        """Lose what is sent from now on; to the server it looks sent."""
        self._stream.drops = True

    def die_after(self, count: int) -> None:
        """Read `count` bytes more; then the connection breaks, in the middle of a stanza or not."""
        self._stream.room = count
        self._stream.dies = True

    def end(self) -> None:
        """The stream is gone, without a word of presence."""
        assert self._server.core.sessions.get(self.jid) is self.session
        self._server.core.end_session(self.session)

    def manage(self) -> None:
        """Turn XEP-0198 on: from here on `acknowledge` counts what it was sent."""
        management = self.session.acknowledges().management
        management.start()
        management.turned_on()

    def comes_back(self) -> None:
        """Go on with a session that was cut."""
        self.session.resume(self._stream)

    def acknowledge(self, count: int | None = None) -> None:
        """Say how many stanzas it has received since `manage`; all, without a count."""
        assert self.session.outbox is not None
        management = self.session.outbox.management
        handled = management.sent if count is None else count
        management.acknowledged(element(ns.SM, "a", {"h": str(handled)}))
        self.session.acknowledged(management.confirmed)


_OWN_ID = f"id='{new_id().partition('-')[0]}".encode()
"""With which the ids begin that the server makes."""


class _Stream:
    """Implements `Transport`. The server's pings are answered, unless the client is `mute`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._data = b""
        self._held: list[bytes] = []
        self.room: int | None = None  # bytes that get through; None: all
        self.drops = False
        self.dies = False
        self.mute = False
        self.pings = 0
        self.unanswered: list[Stanza] = []
        self.closed: StreamError | bool = False

    def send(self, data: bytes) -> None:
        """See `Transport`."""
        if self.drops:
            return
        if self.room is not None:
            self.room -= len(data)
            if self.room < 0:
                self._held.append(data)
                if self.dies and not self.closed:
                    self.closed = True
                    self._client._server.clock.callLater(0, self._client.end)
                return
        self._arrive(data)

    def let_go(self) -> None:
        """Let what was held arrive."""
        self.room = None
        held, self._held = self._held, []
        for data in held:
            self._arrive(data)

    def _arrive(self, data: bytes) -> None:
        if b"'urn:xmpp:ping'" in data and b" type='get'" in data and _OWN_ID in data:
            self.pings += 1
            ping = Stanza.stored(data)
            if self.mute:
                self.unanswered.append(ping)
            else:
                self._client.send(ping.result())
        elif b"<r xmlns='urn:xmpp:sm:3'/>" != data:
            self._data += data

    @property
    def unsent(self) -> int:
        """See `Transport`."""
        return sum(map(len, self._held))

    def close(self, error: StreamError | None = None) -> None:
        """See `Transport`."""
        self.closed = self.closed or error or True  # a stream ends once

    def take(self) -> bytes:
        """All that was sent since the last call."""
        data, self._data = self._data, b""
        return data


class Elsewhere:
    """The destination of all that is sent to other servers: collects it."""

    def __init__(self) -> None:
        self._stanzas: list[Stanza] = []

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`."""
        self._stanzas.append(stanza)

    def received(self) -> list[Stanza]:
        """The stanzas that came since the last call."""
        received, self._stanzas = self._stanzas, []
        return received

    def told(self) -> list[str]:
        """The stanzas that came since the last call, a short line each, with the addressee."""
        return [f"{describe(stanza)} to {stanza.to}" for stanza in self.received()]

    def told_so_far(self) -> list[str]:
        """The same, to be told again."""
        return [f"{describe(stanza)} to {stanza.to}" for stanza in self._stanzas]


def describe(stanza: Stanza) -> str:
    """A stanza in a few words.

    `available from a@b/c`, `subscribe from a@b`, `push a@b both`, `push a@b none ask approved`,
    `push a@b remove`, `result`, `error forbidden`, `message from a@b/c: body`.
    """
    if stanza.type == "error":
        error = stanza.child(ns.CLIENT, "error")
        assert error is not None
        return f"error {error[0].tag.partition('}')[2]}" + (
            "" if stanza.kind == "iq" else f" from {stanza.from_}"
        )
    if stanza.kind == "presence":
        return f"{stanza.type or 'available'} from {stanza.from_}"
    if stanza.kind == "message":
        return f"message from {stanza.from_}: {stanza.body}"
    payload = stanza.payload
    if stanza.type == "set" and payload is not None and payload.tag == f"{{{ns.ROSTER}}}query":
        return _push(payload[0])
    return stanza.type


def _push(item: Element) -> str:
    words = ["push", item.get("jid", ""), item.get("subscription", "")]
    if item.get("ask"):
        words.append("ask")
    if item.get("approved"):
        words.append("approved")
    return " ".join(words)


def _stanza(text: str) -> Stanza:
    (element,) = _parse(text.encode())
    return Stanza.received(element)


def _parse(data: bytes) -> list[Element]:
    return list(ElementTree.fromstring(b"<stream xmlns='jabber:client'>" + data + b"</stream>"))
