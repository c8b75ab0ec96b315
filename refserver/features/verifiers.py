"""The verifiers of accounts for log-ins, the latest kept at hand.

When a network comes back everybody logs in at once: who was here lately need not be looked up.
Only what is in the store is kept here (verifiers, never passwords), and it is forgotten as soon
as it changes there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from twisted.internet.defer import Deferred

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import AccountAdded, AccountRemoved, CredentialsChanged, HostRemoved
from refserver.jid import JID
from refserver.sasl import Verifier
from refserver.storage import accounts

__all__ = ["VerifierCache"]

MOST_KEPT: Final = 10_000  # accounts, at some 700 bytes each


class VerifierCache(Feature):
    """Finds verifiers. Names that are no accounts are looked up each time: they take no memory."""

    name = "verifiers"

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._kept: OrderedDict[JID, Mapping[str, Verifier]] = OrderedDict()
        self._changes = 0

    def known(self, account: JID) -> Mapping[str, Verifier] | None:
        """The verifiers, if they are at hand."""
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
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return verifiers

    @on(CredentialsChanged, AccountAdded, AccountRemoved)
    def changed(self, event: CredentialsChanged | AccountAdded | AccountRemoved) -> None:
        """Forget an account's verifiers."""
        self._changes += 1
        self._kept.pop(event.account, None)

    @on(HostRemoved)
    def host_removed(self, event: HostRemoved) -> None:
        """Forget everybody of a library."""
        self._changes += 1
        for account in [jid for jid in self._kept if jid.domainpart == event.host.domain]:
            del self._kept[account]
