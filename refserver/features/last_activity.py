"""Last activity (XEP-0012): since when an account is away, and how long the server is up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.core.feature import Feature, Request, Target, iq, on
from refserver.core.hooks import AccountRemoved, PresenceSent, ServerStopping, SessionEnded
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError
from refserver.features.presence import Presence
from refserver.jid import JID
from refserver.storage import accounts
from refserver.xml.element import Element, child_text, element

log = Logger()

LONGEST_STATUS: Final = 1000  # characters
KEPT_SECONDS: Final = 5.0
"""Departures are stored together so often: thousands at a time are one commit."""


class LastActivity(Feature):
    """Answers jabber:iq:last for the server and for accounts whose presence the asker may see."""

    name = "last"
    xeps = ("0012",)
    after = ("registration",)  # which ends the sessions of an account that is removed

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._started = core.clock.seconds()
        self._last_words: dict[Session, str] = {}
        self._left: dict[JID, accounts.LastActivity] = {}  # not stored yet

    @iq("get", ns.LAST, "query", to=Target.SERVER)
    def uptime(self, request: Request) -> Element:
        """Seconds since the server started."""
        return _query(self.core.clock.seconds() - self._started)

    @iq("get", ns.LAST, "query", to=Target.ACCOUNT)
    async def idle(self, request: Request) -> Element:
        """0 while a resource is connected, else seconds since the last one left, and its status."""
        if not request.is_own:
            presence = self.core.feature(Presence)
            if not await maybeDeferred(presence.may_see, request.address, request.sender.bare):
                raise StanzaError(Condition.FORBIDDEN)  # the same for an account that is not there
        if self.core.sessions.of(request.address):
            return _query(0)
        left = self._left.get(request.address)
        if left is None:
            left = await self.core.database.read(accounts.last_activity, request.address)
        if left is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        answer = _query(self.core.now() - left.at)
        answer.text = left.status or None
        return answer

    @on(PresenceSent)
    def leaving(self, event: PresenceSent) -> None:
        """Remember what a client says when it leaves."""
        stanza = event.stanza
        if stanza.to is None and stanza.type in ("", "unavailable"):
            said = child_text(stanza.element, ns.CLIENT, "status")[:LONGEST_STATUS]
            if said and stanza.type:
                self._last_words[event.session] = said
            else:
                self._last_words.pop(event.session, None)

    @on(SessionEnded)
    def left(self, event: SessionEnded) -> None:
        """Remember when an account's last session ended."""
        account = event.session.account
        status = self._last_words.pop(event.session, "")
        if self.core.sessions.of(account):
            return
        if not self._left:
            self.core.clock.callLater(KEPT_SECONDS, self._store)
        self._left[account] = accounts.LastActivity(self.core.now(), status)

    @on(AccountRemoved)
    def removed(self, event: AccountRemoved) -> None:
        """Forget a departure that is not stored yet: the next owner of the address never left."""
        self._left.pop(event.account, None)

    @on(ServerStopping)
    def stopping(self, event: ServerStopping) -> None:
        """Store what is not stored yet."""
        self._store()

    def _store(self) -> None:
        left, self._left = self._left, {}
        if left:
            stored = self.core.database.write(_store, left)
            stored.addErrback(lambda f: log.failure("last activities could not be stored", failure=f))


def _store(connection: Connection, left: Mapping[JID, accounts.LastActivity]) -> None:
    for account, activity in left.items():
        accounts.logged_out(connection, account, activity.at, activity.status)


def _query(seconds: float) -> Element:
    return element(ns.LAST, "query", {"seconds": str(max(0, int(seconds)))})
