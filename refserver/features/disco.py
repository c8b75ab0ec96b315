"""Service discovery of libraries and accounts (XEP-0030, XEP-0128, XEP-0157).

What the server advertises is what the installed features say they do. Rooms and queues
answer for themselves.
"""

from __future__ import annotations

from twisted.internet.defer import maybeDeferred

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.errors import Condition, StanzaError
from refserver.features.presence import Presence
from refserver.payloads.disco import info, items
from refserver.xml.element import Element

__all__ = ["Disco"]


class Disco(Feature):
    """Answers disco at a library's domain and at bare JIDs."""

    name = "disco"
    xeps = ("0030",)

    @iq("get", ns.DISCO_INFO, "query", to=Target.SERVER)
    def server_info(self, request: Request) -> Element:
        """The library as an instant messaging server."""
        _no_node(request)
        features = (name for feature in self.core.features for name in feature.disco)
        return info(("server", "im", request.host.name or "refserver"), features)

    @iq("get", ns.DISCO_ITEMS, "query", to=Target.SERVER)
    def server_items(self, request: Request) -> Element:
        """The library's services, and its addresses that are not accounts (its queues)."""
        _no_node(request)
        services = [(domain, "") for domain in self.core.hosts.services_of(request.host)]
        queues = [(f"{localpart}@{request.host.domain}", "") for localpart in sorted(request.host.addresses)]
        return items(services + queues)

    @iq("get", ns.DISCO_INFO, "query", to=Target.ACCOUNT)
    async def account_info(self, request: Request) -> Element:
        """The account, to those who may see its presence; for all others there is none (XEP-0030 8)."""
        _no_node(request)
        if not await self._may_see(request):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        features = (name for feature in self.core.features for name in feature.account_disco)
        return info(("account", "registered", ""), features)

    @iq("get", ns.DISCO_ITEMS, "query", to=Target.ACCOUNT)
    async def account_items(self, request: Request) -> Element:
        """The account's resources, to those who may see them; an empty list for all others."""
        if request.payload.get("node") or not await self._may_see(request):
            return items(())
        return items((session.jid.text, "") for session in self.core.sessions.available(request.account))

    async def _may_see(self, request: Request) -> bool:
        if request.is_own:
            return True
        presence = self.core.feature(Presence)
        return bool(await maybeDeferred(presence.may_see, request.account, request.sender.bare))


def _no_node(request: Request) -> None:
    if request.payload.get("node"):
        raise StanzaError(Condition.ITEM_NOT_FOUND)
