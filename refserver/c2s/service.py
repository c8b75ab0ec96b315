"""Listening for clients: what all their connections share, and how many of them there may be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Final, Protocol

from attrs import define, evolve, field, frozen
from cachetools import LRUCache, TTLCache
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from refserver.c2s.connection import ClientConnection
from refserver.c2s.resumption import Hibernating, Resumption
from refserver.core.commit_barrier import CommitBarrier
from refserver.core.core import Core
from refserver.core.hooks import SessionBinding
from refserver.core.hosts import Host
from refserver.core.limits import Quota
from refserver.core.sessions import Session
from refserver.errors import StreamCondition, StreamError
from refserver.jid import JID
from refserver.net.acceptor import PeerLimits, SecureAcceptor
from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.sasl import FakeVerifiers, Verifier
from refserver.stream.policy import StreamPolicy
from refserver.xml.element import Element

FREE: Final = 3  # failures that everybody may have: a mistyped password is no attack
LONGEST: Final = 10.0  # seconds
FORGOTTEN: Final = 600.0  # seconds after the last failure
MOST_KEYS: Final = 20_000
LAST_SECONDS: Final = 1.0  # for clients to acknowledge what they have, when the server stops
LAST_LOOKS: Final = 20
MOST_KNOWN_CLIENTS: Final = 20_000


class LoginThrottle:
    """Counts failures by address and by account; each beyond `FREE` doubles the wait, up to `LONGEST`.

    It delays, it never locks out: nobody can keep a librarian from her account by failing in her name. A
    success clears the account's failures and not the address's: who has an account cannot guess others'
    passwords faster. At most `MOST_KEYS` keys are remembered.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._failures: TTLCache[Hashable, int] = TTLCache(MOST_KEYS, FORGOTTEN, seconds)

    def failed(self, *keys: Hashable) -> None:
        """Count a failure for each key."""
        for key in keys:
            self._failures[key] = self._failures.get(key, 0) + 1

    def succeeded(self, account: Hashable) -> None:
        """Forget the failures of an account."""
        self._failures.pop(account, None)

    def wait(self, *keys: Hashable) -> float:
        """Seconds that the next attempt has to wait, the longest of all keys'."""
        worst = max((self._failures.get(key, 0) for key in keys), default=0)
        return 0.0 if worst <= FREE else min(LONGEST, 0.25 * 2.0 ** (worst - FREE))


class Contexts(Protocol):
    """The source of TLS contexts (net/certificates.py)."""

    def context_for(self, domain: str) -> SSL.Context:
        """The server context for connections to `domain`, "" where that is not known yet.

        Raises `LookupError` if there is no certificate at all.
        """

    def __bool__(self) -> bool:
        """True if there is any certificate."""


class Registrar(Protocol):
    """Makes accounts for strangers (the registration feature)."""

    def form(self) -> Element:
        """The form for a newcomer."""

    async def register(self, host: Host, query: Element) -> JID:
        """Make the account that `query` asks for, durably. Raises `StanzaError`."""


class VerifierSource(Protocol):
    """The source of the accounts' verifiers (features/verifiers.py)."""

    def known(self, account: JID) -> Mapping[str, Verifier] | None:
        """The verifiers, if they are at hand."""

    def find(self, account: JID) -> Deferred[Mapping[str, Verifier] | None]:
        """The verifiers; None for an account that is not there or may not log in."""

    def renew(self, account: JID, used: Verifier, password: str) -> None:
        """Replace verifiers that were made by other settings; `password` was right by `used`."""

    def when_removed(self, removed: Callable[[JID], None]) -> None:
        """Have `removed` called with an account that has ended."""


@frozen
class ClientPolicy:
    """The operator's settings for clients. `stream` holds what the stream machine must know.

    Times in seconds; a limit of 0 is none. A client may come back to its session `resume_seconds` after its
    connection was lost; 0: it cannot.
    """

    stream: StreamPolicy
    unauthenticated_timeout: float = 30.0
    bytes_per_second: int = 16_384
    connections_per_ip: int = 64
    registrations_per_ip_hour: int = 5
    sessions_per_account: int = 100
    resume_seconds: int = 300


@define(eq=False)
class ClientService(SecureAcceptor[ClientConnection]):
    """The state that all connections of clients share. `accept_plain` and `accept_tls` take new ones.

    `known_clients` are accounts and the addresses they logged in from lately. Only they are answered without
    a look into the store: else an account that is in memory would betray itself by a faster answer.
    """

    core: Core
    mux: Mux
    policy: ClientPolicy
    contexts: Contexts
    fakes: FakeVerifiers
    registrar: Registrar
    verifiers: VerifierSource
    throttle: LoginThrottle = field(init=False)
    registrations: Quota = field(init=False)
    resumption: Resumption = field(init=False)
    commits: CommitBarrier = field(init=False)
    known_clients: LRUCache[tuple[JID, str], None] = field(init=False)
    _without_tls: StreamPolicy = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.throttle = LoginThrottle(self.core.clock.seconds)
        self.known_clients = LRUCache(MOST_KNOWN_CLIENTS)
        self.registrations = self._make_registrations()
        self.resumption = Resumption(self.core, self.mux)
        self.commits = CommitBarrier(self.core.database.written)
        self._without_tls = evolve(self.policy.stream, offer_tls=False)
        self.verifiers.when_removed(self._end_log_ins)

    def _end_log_ins(self, account: JID) -> None:
        """End the streams that log in to an account that has ended: its address may be another's at once."""
        for connection in list(self.connections):
            if connection.account == account and connection.session is None:
                connection.close(StreamError(StreamCondition.NOT_AUTHORIZED, "the account was removed"))

    def _make_registrations(self) -> Quota:
        return Quota(self.policy.registrations_per_ip_hour, 3600, self.core.clock.seconds)

    @property
    def stream_policy(self) -> StreamPolicy:
        """The policy of a new stream: TLS is offered as soon as there is a certificate."""
        return self.policy.stream if self.contexts else self._without_tls

    def renew(self, policy: ClientPolicy) -> None:
        """Take other settings: they hold for new connections, limits on strangers at once."""
        changed = policy.registrations_per_ip_hour != self.policy.registrations_per_ip_hour
        self.policy = policy
        self._without_tls = evolve(policy.stream, offer_tls=False)
        if changed:
            self.registrations = self._make_registrations()

    @property
    def peer_limits(self) -> PeerLimits:
        policy = self.policy
        return PeerLimits(policy.connections_per_ip, policy.unauthenticated_timeout, policy.bytes_per_second)

    def _context(self) -> SSL.Context:
        return self.contexts.context_for("")

    def _new_peer(self, connection: Connection, ip: str, *, direct_tls: bool) -> ClientConnection:
        return ClientConnection(self, connection, ip, direct_tls=direct_tls)

    def open_host(self, domain: str) -> Host:
        """The library of an authenticated stream; a stream error if it is served no more."""
        host = self.core.hosts.get(domain)
        if host is None:
            raise StreamError(StreamCondition.HOST_GONE)
        return host

    def prepare(self, event: SessionBinding) -> Deferred[None]:
        """Let the features get ready for a session."""
        return Deferred.fromCoroutine(self.core.hooks.ask(event))

    async def check(self, account: JID) -> None:
        """Raises `StreamError` if the account was removed or disabled since it authenticated."""
        if self.verifiers.known(account) is None and await self.verifiers.find(account) is None:
            raise StreamError(StreamCondition.NOT_AUTHORIZED)

    def committed(self) -> Deferred[None]:
        """Fires as soon as all that was written until now is durable."""
        done: Deferred[None] = Deferred()
        self.commits.then(lambda: done.callback(None))
        return done

    async def stop(self) -> None:
        """End all streams: the server stops (RFC 6120 4.9.3.19).

        Before, both sides may tell what they have received, so that less is sent again to clients that read.
        """
        for connection in list(self.connections):
            connection.tell_count()
        for session in self._behind():
            session.ask()
        for _ in range(LAST_LOOKS):
            if not self._behind():
                break
            await deferLater(self.core.clock, LAST_SECONDS / LAST_LOOKS)  # type: ignore[arg-type]  # a Clock does
        self.close_all()

    def _behind(self) -> list[Session]:
        """The connected sessions whose clients have not acknowledged everything."""
        return [
            session
            for session in self.core.sessions
            if session.outbox is not None
            and session.outbox.window
            and not isinstance(session.transport, Hibernating)
        ]

    def close_all(self, failure: Failure | None = None) -> None:
        """End all streams and sessions at once."""
        for connection in list(self.connections):
            connection.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
        self.resumption.close_all()
