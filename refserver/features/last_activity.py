"""Last activity (XEP-0012): since when an account is away, and how long the server is up."""

from __future__ import annotations

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.core.feature import Feature, Request, Target, iq, on
from refserver.core.hooks import SessionEnded
from refserver.errors import Condition, StanzaError
from refserver.features.presence import Presence
from refserver.storage import accounts
from refserver.xml.element import Element, element

__all__ = ["LastActivity"]

log = Logger()


class LastActivity(Feature):
    """Answers jabber:iq:last for the server and for accounts whose presence the asker may see."""

    name = "last"
    xeps = ("0012",)
    disco = (ns.LAST,)
    account_disco = (ns.LAST,)

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._started = core.now()

    @iq("get", ns.LAST, "query", to=Target.SERVER)
    def uptime(self, request: Request) -> Element:
        """Seconds since the server started."""
        return _query(self.core.now() - self._started)

    @iq("get", ns.LAST, "query", to=Target.ACCOUNT)
    async def idle(self, request: Request) -> Element:
        """0 while a resource is available, else seconds since the last one left."""
        if not request.is_own:
            presence = self.core.feature(Presence)
            if not await maybeDeferred(presence.may_see, request.account, request.sender.bare):
                raise StanzaError(Condition.FORBIDDEN)  # the same for an account that is not there
        if self.core.sessions.available(request.account):
            return _query(0)
        left = await self.core.database.read(accounts.last_activity, request.account)
        if left is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        answer = _query(self.core.now() - left.at)
        answer.text = left.status or None
        return answer

    @on(SessionEnded)
    def left(self, event: SessionEnded) -> None:
        """Remember when an account's last session ended."""
        account = event.session.account
        if self.core.sessions.of(account):
            return
        stored = self.core.database.write(accounts.logged_out, account, self.core.now(), "")
        stored.addErrback(lambda f: log.failure("a last activity could not be stored", failure=f))


def _query(seconds: float) -> Element:
    return element(ns.LAST, "query", {"seconds": str(max(0, int(seconds)))})
