"""The verifiers of accounts for log-ins: found, kept while they are used, and renewed.

When a network comes back everybody logs in at once: who was here lately need not be looked up. Only what is
in the store is kept here (verifiers, never passwords), and it is forgotten as soon as it changes there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cachetools import LRUCache
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import AccountAdded, AccountRemoved, CredentialsChanged, HostRemoved
from refserver.jid import JID
from refserver.sasl import Verifier, make_verifiers
from refserver.storage import accounts

MOST_KEPT: Final = 10_000  # accounts, at some 700 bytes each

log = Logger()


class Verifiers(Feature):
    """Finds verifiers. Names that are no accounts are looked up each time: they take no memory."""

    name = "verifiers"

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._kept: LRUCache[JID, Mapping[str, Verifier]] = LRUCache(MOST_KEPT)
        self._changes = 0
        self._told: list[Callable[[JID], None]] = []

    def when_removed(self, removed: Callable[[JID], None]) -> None:
        """Have `removed` called with an account that has ended."""
        self._told.append(removed)

    def known(self, account: JID) -> Mapping[str, Verifier] | None:
        """The verifiers, if they are in memory."""
        return self._kept.get(account)

    def find(self, account: JID) -> Deferred[Mapping[str, Verifier] | None]:
        """The verifiers from the store; None for an account that is not there or may not log in."""
        found = self.core.database.read(accounts.verifiers, account)
        return found.addCallback(self._keep, account, self._changes)

    def _keep(
        self, verifiers: Mapping[str, Verifier] | None, account: JID, changes: int
    ) -> Mapping[str, Verifier] | None:
        # What was read before a change may be older than it.
        if verifiers is not None and changes == self._changes:
            self._kept[account] = verifiers
        return verifiers

    def renew(self, account: JID, used: Verifier, password: str) -> None:
        """Replace the account's verifiers if the settings for new ones have changed.

        `password` was right by the verifier `used`. Nothing is replaced if it is another one by now.
        """
        known = self._kept.get(account)
        if known is None or self.core.hashing.made(known):
            return
        renewing: Deferred[None] = Deferred.fromCoroutine(self._renew(account, used, password))
        renewing.addErrback(lambda failure: log.failure("verifiers could not be renewed", failure=failure))

    async def _renew(self, account: JID, used: Verifier, password: str) -> None:
        verifiers = await self.core.offload(make_verifiers, password, self.core.hashing)
        await self.core.database.write(accounts.renew_verifiers, account, used, verifiers)
        self._forget(account)

    @on(CredentialsChanged, AccountAdded)
    def changed(self, event: CredentialsChanged | AccountAdded) -> None:
        """Forget an account's verifiers."""
        self._forget(event.account)

    @on(AccountRemoved)
    def removed(self, event: AccountRemoved) -> None:
        """Forget an account's verifiers, and tell that it has ended."""
        self._forget(event.account)
        for told in self._told:
            told(event.account)

    def _forget(self, account: JID) -> None:
        self._changes += 1
        self._kept.pop(account, None)

    @on(HostRemoved)
    def host_removed(self, event: HostRemoved) -> None:
        """Forget everybody of a library."""
        self._changes += 1
        for account in [jid for jid in self._kept if jid.domainpart == event.host.domain]:
            del self._kept[account]
