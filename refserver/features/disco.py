"""Service discovery of libraries and accounts (XEP-0030). The dispatcher answers: core/iqs.py."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import maybeDeferred

from refserver.core.feature import Feature, Request, Target, disco_info, disco_items
from refserver.errors import Condition, StanzaError
from refserver.features.presence import Presence
from refserver.payloads.disco import Identity, Info, Item


class Disco(Feature):
    """Says what a library's domain and its accounts are, and what belongs to them."""

    name = "disco"
    xeps = ("0030", "0128")

    @disco_info(Target.SERVER)
    def server(self, request: Request) -> Info:
        """A library is an instant messaging server."""
        return Info((Identity("server", "im", request.host.name or "refserver"),))

    @disco_items(Target.SERVER)
    def services(self, request: Request) -> Iterable[Item]:
        """The library's services and queues."""
        host = request.host
        yield from map(Item, self.core.hosts.services_of(host))
        yield from (Item(f"{localpart}@{host.domain}") for localpart in sorted(host.addresses))

    @disco_info(Target.ACCOUNT)
    async def account(self, request: Request) -> Info:
        """An account exists for those who may see its presence; others are told what all addresses without
        an account say (XEP-0030 8).
        """
        if not await self._may_see(request):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return Info((Identity("account", "registered"),))

    @disco_items(Target.ACCOUNT)
    async def resources(self, request: Request) -> Iterable[Item]:
        """The account's available resources, for those who may see its presence."""
        if not await self._may_see(request):
            return ()
        return [Item(session.jid.text) for session in self.core.sessions.available(request.address)]

    async def _may_see(self, request: Request) -> bool:
        if request.is_own:
            return True
        presence = self.core.feature(Presence)
        return bool(await maybeDeferred(presence.may_see, request.address, request.sender.bare))
