"""Verbs on accounts. Passwords never come here, only the verifiers made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import bare_address, domain_of, refuse_shadowing, served_domain
from refserver.app.verbs.changes import (
    AccountAdded,
    AccountDisabled,
    AccountRemoved,
    Change,
    LibrarianRemoved,
    LibrarianSet,
    PasswordChanged,
)
from refserver.app.verbs.verb import Done, Refused, Verb, moment
from refserver.jid import JID
from refserver.reference.offices import appoint, dismiss
from refserver.sasl.verifier import Verifier
from refserver.storage import accounts, libraries, queues

__all__ = [
    "AccountVerifiers",
    "AddAccount",
    "DisableAccount",
    "EnableAccount",
    "ListAccounts",
    "RemoveAccount",
    "SetPassword",
]


@frozen
class AddAccount(Verb):
    """Make an account. Refused where there is one: nobody's password is changed by the way."""

    verb: ClassVar[str] = "account add"
    jid: str
    verifiers: Mapping[str, Verifier]

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        jid = bare_address(self.jid)
        domain_of(connection, jid)
        refuse_shadowing(connection, jid)
        known = accounts.get(connection, jid)
        if known is not None:
            state, way = ("disabled", "enable") if known.disabled else ("with another password", "password")
            raise Refused(
                f"there is an account {jid} already, {state}: `refserverctl account {way} {jid}` changes that"
            )
        accounts.add(connection, jid, self.verifiers, now)
        changes: list[Change] = [AccountAdded(jid)]
        for queue, librarian in queues.desks_of(connection, jid):  # who was one before she had an account
            appoint(connection, queue.id, librarian)
            changes.append(LibrarianSet(queue.jid, jid))
        return Done({"jid": jid.text, "done": "added"}, tuple(changes))


@frozen
class AccountVerifiers(Verb):
    """The verifiers of an account that may log in, for refserverctl to see whether a password is the same."""

    verb: ClassVar[str] = "account verifiers"
    writes: ClassVar[bool] = False
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`. The data is as `AddAccount.verifiers`; empty if there is no such account."""
        return Done(dict(accounts.verifiers(connection, bare_address(self.jid)) or {}))


@frozen
class ListAccounts(Verb):
    """The accounts of one library or of all, by address."""

    verb: ClassVar[str] = "account list"
    writes: ClassVar[bool] = False
    domain: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        if self.domain is None:
            domains = [library.domain for library in libraries.list(connection)]
        else:
            domains = [served_domain(connection, self.domain)]
        found = [account for domain in domains for account in accounts.list(connection, domain)]
        return Done([_row(account) for account in found])


@frozen
class RemoveAccount(Verb):
    """Remove an account and all that belongs to it; she then works at no desk any more."""

    verb: ClassVar[str] = "account remove"
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        jid = _account(connection, self.jid)
        changes: list[Change] = []
        # Else whoever gets the address next would be a librarian.
        for queue, _ in queues.desks_of(connection, jid):
            dismiss(connection, queue.id, jid)
            changes.append(LibrarianRemoved(queue.jid, jid))
        accounts.remove(connection, jid)
        return Done({"jid": jid.text, "done": "removed"}, (*changes, AccountRemoved(jid)))


@frozen
class SetPassword(Verb):
    """Give an account another password."""

    verb: ClassVar[str] = "account password"
    jid: str
    verifiers: Mapping[str, Verifier]

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        jid = _account(connection, self.jid)
        accounts.set_verifiers(connection, jid, self.verifiers)
        return Done({"jid": jid.text, "done": "password changed"}, (PasswordChanged(jid),))


@frozen
class DisableAccount(Verb):
    """Refuse an account's log-ins and end its sessions; nothing of it is lost."""

    verb: ClassVar[str] = "account disable"
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        jid = _account(connection, self.jid)
        if _is_disabled(connection, jid):
            return Done({"jid": jid.text, "done": "unchanged"})
        accounts.disable(connection, jid)
        return Done({"jid": jid.text, "done": "disabled"}, (AccountDisabled(jid),))


@frozen
class EnableAccount(Verb):
    """Let an account log in again."""

    verb: ClassVar[str] = "account enable"
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        jid = _account(connection, self.jid)
        if not _is_disabled(connection, jid):
            return Done({"jid": jid.text, "done": "unchanged"})
        accounts.enable(connection, jid)
        return Done({"jid": jid.text, "done": "enabled"})


def _account(connection: Connection, text: str) -> JID:
    """The address of an account that is there. Raises `Refused`."""
    jid = bare_address(text)
    domain_of(connection, jid)
    if not accounts.exists(connection, jid):
        raise Refused(f"there is no account {jid}: `refserverctl account list` shows those there are")
    return jid


def _is_disabled(connection: Connection, jid: JID) -> bool:
    found = accounts.get(connection, jid)
    return found is not None and found.disabled


def _row(account: accounts.Account) -> dict[str, Any]:
    return {"jid": account.jid.text, "disabled": account.disabled, "created": moment(account.created)}
