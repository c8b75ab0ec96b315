"""In-band registration (XEP-0077): making an account where policy allows it, a new password, leaving.

Making an account happens on a stream that is not authenticated: the client's shell calls
`Registration.register`. The other two are iqs of a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq, on
from refserver.core.hooks import AccountAdded, AccountRemoved, CredentialsChanged
from refserver.core.hosts import Host
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.sasl import InvalidPassword, Verifier, make_verifiers
from refserver.storage import accounts, queues
from refserver.storage.errors import AccountExists
from refserver.xml.element import Element, child, child_text, element

log = Logger()

SHORTEST_PASSWORD: Final = 8  # characters
LONGEST_PASSWORD: Final = 1023  # bytes
INSTRUCTIONS: Final = "Choose a username and a password."


class Registration(Feature):
    """Accounts made and ended by their owners."""

    name = "registration"
    xeps = ("0077",)

    def form(self) -> Element:
        """The form for a newcomer."""
        return element(
            ns.REGISTER,
            "query",
            None,
            element(ns.REGISTER, "instructions", text=INSTRUCTIONS),
            element(ns.REGISTER, "username"),
            element(ns.REGISTER, "password"),
        )

    async def register(self, host: Host, query: Element) -> JID:
        """Make the account that `query` asks for, durably. Raises `StanzaError` (XEP-0077 3.1)."""
        username, password = _credentials(query)
        try:
            account = JID.of(username, host.domain)
        except InvalidJID as error:
            raise StanzaError(Condition.JID_MALFORMED) from error
        if host.find(account.localpart) is not None:
            raise StanzaError(Condition.CONFLICT)
        verifiers = await self._verifiers(password)
        try:
            await self.core.database.write(_add, account, verifiers, self.core.now())
        except AccountExists as error:
            raise StanzaError(Condition.CONFLICT) from error
        self.core.hooks.tell(AccountAdded(account))
        return account

    @iq("get", ns.REGISTER, "query", to=(Target.OWN, Target.SERVER))
    def registered(self, request: Request) -> Element:
        """The sender's own registration."""
        account = _own_account(request)
        filled = self.form()
        filled.insert(0, element(ns.REGISTER, "registered"))
        filled[2].text = account.localpart
        return filled

    @iq("set", ns.REGISTER, "query", to=(Target.OWN, Target.SERVER))
    async def change(self, request: Request) -> None:
        """A new password (3.3), or the end of the account (3.2)."""
        account = _own_account(request)
        if child(request.payload, ns.REGISTER, "remove") is not None:
            if len(request.payload) != 1:
                raise StanzaError(Condition.BAD_REQUEST)
            await self._remove(account)
            return
        username, password = _credentials(request.payload)
        if not _names(account, username):
            raise StanzaError(Condition.NOT_ALLOWED, "only one's own password can be changed")
        if request.session is None or not request.session.secure:
            raise StanzaError(Condition.NOT_AUTHORIZED, "a password is changed over TLS only")
        verifiers = await self._verifiers(password)
        await self.core.database.write(accounts.set_verifiers, account, verifiers)
        self.core.hooks.tell(CredentialsChanged(account))

    async def _verifiers(self, password: str) -> dict[str, Verifier]:
        try:
            return await self.core.offload(make_verifiers, password, self.core.hashing)  # type: ignore[no-any-return]
        except InvalidPassword as error:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "the password cannot be used") from error

    async def _remove(self, account: JID) -> None:
        events = await self.core.database.write(self.core.remove_account, account, self.core.now())
        self.core.clock.callLater(0, self._publish, events)  # after the result is on its way

    def _publish(self, events: Iterable[object]) -> None:
        published: Deferred[None] = Deferred.fromCoroutine(self._ask_all(events))
        published.addErrback(lambda failure: log.failure("the end of an account failed", failure=failure))

    async def _ask_all(self, events: Iterable[object]) -> None:
        for event in events:
            await self.core.hooks.ask(event)

    @on(AccountRemoved)
    def removed(self, event: AccountRemoved) -> None:
        """End the account's sessions, before the other features forget it."""
        for session in list(self.core.sessions.of(event.account).values()):
            session.close(StreamError(StreamCondition.NOT_AUTHORIZED, "the account was removed"))


def _add(connection: Connection, account: JID, verifiers: Mapping[str, Verifier], now: float) -> None:
    """Add an account. Raises `AccountExists`, also for a librarian's address, which an operator adds, and for
    an address of a queue that was added meanwhile.
    """
    if queues.desks_of(connection, account):
        raise AccountExists("the address is a librarian's")
    if queues.find(connection, JID.of(account.localpart.partition("+")[0], account.domainpart)) is not None:
        raise AccountExists("the address is a queue's")
    accounts.add(connection, account, verifiers, now)


def _own_account(request: Request) -> JID:
    if request.session is None or request.session.host is not request.host:
        raise StanzaError(Condition.FORBIDDEN)
    return request.session.account


def _names(account: JID, username: str) -> bool:
    try:
        return JID.of(username, account.domainpart) == account
    except InvalidJID:
        return False


def _credentials(query: Element) -> tuple[str, str]:
    username = child_text(query, ns.REGISTER, "username")
    password = child_text(query, ns.REGISTER, "password")
    if not username or not password:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "a username and a password are needed")
    if len(password) < SHORTEST_PASSWORD:
        text = f"a password has at least {SHORTEST_PASSWORD} characters"
        raise StanzaError(Condition.NOT_ACCEPTABLE, text)
    if len(password.encode()) > LONGEST_PASSWORD:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "the password is too long")
    return username, password
