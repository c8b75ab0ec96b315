"""Answers pings for the server, a user's own account, queues and room services (XEP-0199)."""

from __future__ import annotations

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.errors import Condition, StanzaError

__all__ = ["Ping"]


class Ping(Feature):
    """Answers that the way to here and back is open."""

    name = "ping"
    xeps = ("0199",)

    @iq("get", ns.PING, "ping", to=(Target.SERVER, Target.ACCOUNT, Target.QUEUE, Target.ROOM_SERVICE))
    def ping(self, request: Request) -> None:
        """Answer; for others' accounts as if there were none, so that none can be found this way."""
        if request.target is Target.ACCOUNT and not request.is_own:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
