"""The core in one place, as features see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.logger import Logger

from refserver.core.account_removal import RemoveAccount, remove_account
from refserver.core.accounts import Accounts
from refserver.core.feature import Feature, arrange
from refserver.core.hooks import Hooks, SessionAnswering, SessionEnded, SessionGivenUp
from refserver.core.hosts import Hosts
from refserver.core.iqs import Iqs
from refserver.core.liveness import Liveness
from refserver.core.ports import Clock
from refserver.core.router import Router
from refserver.core.sessions import Session, Sessions
from refserver.sasl import Hashing
from refserver.storage.engine import Database

log = Logger()

T = TypeVar("T", bound=Feature)


class Offload(Protocol):
    """Calls functions that compute for long off the reactor's thread."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Deferred[Any]:
        """Call `function(*args)` elsewhere; its result comes later."""


class Core:
    """Router, sessions, hosts, hooks, iqs, database and clock, wired together.

    `clock` is the reactor's (for timers), `now` gives the wall clock's seconds since the epoch,
    `offload` calls a function that computes for long (key derivation) off the reactor's thread,
    `remove_account` is the transaction that ends an account, `hashing` how new passwords are stored.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        now: Callable[[], float] = time.time,
        offload: Offload = execute,
        remove_account: RemoveAccount = remove_account,
    ) -> None:
        self.database = database
        self.clock = clock
        self.now = now
        self.offload = offload
        self.hashing = Hashing()
        self.remove_account = remove_account
        self.hosts = Hosts()
        self.hooks = Hooks()
        self.sessions = Sessions()
        self.liveness: Liveness[Session] = Liveness(
            clock, lambda session: self.hooks.tell(SessionAnswering(session))
        )
        self.router = Router(self.hosts, self.hooks)
        self.iqs = Iqs(self.router, self.sessions)
        self.router.accounts = Accounts(self.router, self.sessions, self.hooks, self.iqs)
        self.features: tuple[Feature, ...] = ()

    def install(self, features: Iterable[Feature]) -> None:
        """Put the features in order and freeze the tables of handlers. Raises `FeatureError`."""
        arrangement = arrange(features)
        self.features = arrangement.features
        self.hooks.freeze(arrangement.events)
        self.router.freeze()
        self.iqs.freeze(arrangement.iqs)

    def end_session(self, session: Session) -> None:
        """Take a session out of the directory, tell so, and have what its client did not acknowledge dealt
        with.

        Nothing happens if it was ended before.
        """
        if not self.sessions.remove(session):
            return
        self.hooks.tell(SessionEnded(session))
        unacknowledged = session.end()
        if unacknowledged:
            self.hooks.tell(SessionGivenUp(session, unacknowledged))

    def run(self, doing: Coroutine[Deferred[Any], Any, Any], failed: str) -> None:
        """Run a coroutine; what it raises is logged under the text `failed`."""
        Deferred.fromCoroutine(doing).addErrback(lambda failure: log.failure(failed, failure=failure))

    def feature(self, kind: type[T]) -> T:
        """The installed feature of that class. Raises `LookupError` if there is none."""
        for feature in self.features:
            if isinstance(feature, kind):
                return feature
        raise LookupError(kind.__name__)
