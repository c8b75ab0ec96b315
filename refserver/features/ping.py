"""Answers pings for the server and for a user's own account (XEP-0199)."""

from __future__ import annotations

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.errors import Condition, StanzaError

__all__ = ["Ping"]


class Ping(Feature):
    """The empty answer that says: the way to here and back is open."""

    name = "ping"
    xeps = ("0199",)
    disco = (ns.PING,)
    account_disco = (ns.PING,)

    @iq("get", ns.PING, "ping", to=(Target.SERVER, Target.ACCOUNT))
    def ping(self, request: Request) -> None:
        """Answer; for others' accounts as if there were none, so that none can be found this way."""
        if request.account.localpart and not request.is_own:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
