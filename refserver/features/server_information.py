"""Service discovery (XEP-0030), pings (XEP-0199), the server's version (XEP-0092) and its time (XEP-0202)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from twisted.internet.defer import maybeDeferred

from refserver import ns
from refserver.core.feature import Feature, Request, Target, disco_info, disco_items, iq
from refserver.errors import Condition, StanzaError
from refserver.features.presence import Presence
from refserver.payloads.disco import Identity, Info, Item
from refserver.xml.element import Element, element


class Disco(Feature):
    """Says what a library's domain and its accounts are, and what belongs to them; core/iqs.py answers."""

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


class Ping(Feature):
    """Answers that the way to here and back is open."""

    name = "ping"
    xeps = ("0199",)

    @iq("get", ns.PING, "ping", to=(Target.SERVER, Target.ACCOUNT, Target.QUEUE, Target.ROOM_SERVICE))
    def ping(self, request: Request) -> None:
        """Answer; for others' accounts as if there were none, so that none can be found this way."""
        if request.target is Target.ACCOUNT and not request.is_own:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)


@cache  # it is read from a file
def software_version() -> str:
    """The installed version of refserver."""
    try:
        return version("refserver")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "unknown"


class Version(Feature):
    """Answers jabber:iq:version at the server's own address."""

    name = "version"
    xeps = ("0092",)

    @iq("get", ns.VERSION, "query", to=Target.SERVER)
    def version(self, request: Request) -> Element:
        """Name and version."""
        name = element(ns.VERSION, "name", text="refserver")
        return element(
            ns.VERSION, "query", None, name, element(ns.VERSION, "version", text=software_version())
        )


class EntityTime(Feature):
    """Answers urn:xmpp:time at the server's own address."""

    name = "time"
    xeps = ("0202",)

    @iq("get", ns.TIME, "time", to=Target.SERVER)
    def time(self, request: Request) -> Element:
        """UTC, to the second, in the format of XEP-0082."""
        now = datetime.fromtimestamp(self.core.now(), UTC)
        offset = element(ns.TIME, "tzo", text="+00:00")
        utc = element(ns.TIME, "utc", text=now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return element(ns.TIME, "time", None, offset, utc)
