"""Pings (XEP-0199), the server's version (XEP-0092) and its time (XEP-0202)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.errors import Condition, StanzaError
from refserver.xml.element import Element, element


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
