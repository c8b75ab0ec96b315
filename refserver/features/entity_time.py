"""Tells the server's time (XEP-0202), always as UTC: a server has no place of its own."""

from __future__ import annotations

from datetime import UTC, datetime

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.xml.element import Element, element

__all__ = ["EntityTime"]


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
