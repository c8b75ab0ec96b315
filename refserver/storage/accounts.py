"""Accounts: their SCRAM verifiers (RFC 5802; never a password), state and last activity.

Accounts are named by bare JIDs, so those of one library never meet those of another.
Removing an account removes everything that belongs to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict, frozen
from sqlalchemy import Connection, bindparam, delete, false, select, update

from refserver.jid import JID
from refserver.sasl import Verifier
from refserver.storage import schema as tables
from refserver.storage.errors import AccountExists, NoSuchAccount, NoSuchLibrary
from refserver.storage.statement import Prepared, insert_new

_accounts, _verifiers, _libraries = tables.accounts, tables.verifiers, tables.libraries
_BY_JID = _accounts.c.jid == bindparam("by_jid")
_COLUMNS = (_accounts.c.jid, _accounts.c.disabled, _accounts.c.created)

_library_id = Prepared(select(_libraries.c.id).where(_libraries.c.domain == bindparam("domain")))
_insert = Prepared(
    insert_new(_accounts, "jid").returning(_accounts.c.id), ["library", "jid", "created", "roster_version"]
)
_id = Prepared(select(_accounts.c.id).where(_BY_JID))
_select = Prepared(select(*_COLUMNS).where(_BY_JID))
_set_last = Prepared(update(_accounts).where(_BY_JID), ["last_logout", "last_status"])
_select_last = Prepared(select(_accounts.c.last_logout, _accounts.c.last_status).where(_BY_JID))
_insert_verifier = Prepared(_verifiers.insert())
_delete_verifiers = Prepared(delete(_verifiers).where(_verifiers.c.account == bindparam("account")))
_select_verifiers = Prepared(
    select(*list(_verifiers.c)[1:])  # in the order of the fields of `Verifier`
    .join_from(_accounts, _verifiers)
    .where(_BY_JID, _accounts.c.disabled == false())
)


@frozen
class Account:
    """An account as lists show it; `created` in Unix seconds."""

    jid: JID
    disabled: bool
    created: float


@frozen
class LastActivity:
    """The end of an account's last session, and the status it left (XEP-0012 3, XEP-0256)."""

    at: float
    status: str


def add(connection: Connection, jid: JID, verifiers: Mapping[str, Verifier], now: float) -> None:
    """Create the account `jid`. Raises `AccountExists`, or `NoSuchLibrary` for its domain."""
    library = _library_id.value(connection, domain=jid.domainpart)
    if library is None:
        raise NoSuchLibrary(f"there is no library {jid.domainpart}")
    # Roster versions begin at the time: a client that still has the roster of an earlier account
    # of this address must not take the new one's versions for its own.
    account = _insert.value(connection, library=library, jid=jid.text, created=now, roster_version=int(now))
    if account is None:
        raise AccountExists("there is an account of this address already")
    _insert_verifiers(connection, account, verifiers)


def verifiers(connection: Connection, jid: JID) -> Mapping[str, Verifier] | None:
    """The account's verifiers by hash name ("SHA-1", …); None if it may not log in or is not there."""
    return _stored(connection, jid) or None


def set_verifiers(connection: Connection, jid: JID, verifiers: Mapping[str, Verifier]) -> None:
    """Replace all verifiers: the password was changed. Raises `NoSuchAccount`."""
    account = id_of(connection, jid)
    _delete_verifiers.run(connection, account=account)
    _insert_verifiers(connection, account, verifiers)


def renew_verifiers(
    connection: Connection, jid: JID, used: Verifier, verifiers: Mapping[str, Verifier]
) -> None:
    """Replace all verifiers of the same password, unless `used` is no longer one of the account's."""
    if used in _stored(connection, jid).values():
        set_verifiers(connection, jid, verifiers)


def exists(connection: Connection, jid: JID) -> bool:
    """True if there is such an account, disabled or not."""
    return _id.row(connection, by_jid=jid.text) is not None


def get(connection: Connection, jid: JID) -> Account | None:
    """The account `jid`."""
    row = _select.row(connection, by_jid=jid.text)
    return None if row is None else _account(row)


def list(connection: Connection, domain: str) -> Sequence[Account]:
    """The accounts of one library, by address."""
    query = select(*_COLUMNS).join_from(_accounts, _libraries).where(_libraries.c.domain == domain)
    return [_account(row) for row in connection.execute(query.order_by(_accounts.c.jid))]


def remove(connection: Connection, jid: JID) -> None:
    """Remove the account and everything that belongs to it. Raises `NoSuchAccount`."""
    if not connection.execute(delete(_accounts).where(_accounts.c.jid == jid.text)).rowcount:
        raise NoSuchAccount("there is no such account")


def set_disabled(connection: Connection, jid: JID, disabled: bool) -> None:
    """Refuse log-ins from now on, or allow them again. Raises `NoSuchAccount`."""
    switched = update(_accounts).where(_accounts.c.jid == jid.text).values(disabled=disabled)
    if not connection.execute(switched).rowcount:
        raise NoSuchAccount("there is no such account")


def logged_out(connection: Connection, jid: JID, now: float, status: str = "") -> None:
    """Keep when the last session ended and its status; nothing where there is no account (any more)."""
    _set_last.run(connection, by_jid=jid.text, last_logout=now, last_status=status)


def last_activity(connection: Connection, jid: JID) -> LastActivity | None:
    """Return what `logged_out` stored; None if the account is not there or was never used."""
    row = _select_last.row(connection, by_jid=jid.text)
    return None if row is None or row[0] is None else LastActivity(*row)


def id_of(connection: Connection, jid: JID) -> int:
    """The number under which an account's rows are kept. Raises `NoSuchAccount`."""
    found: int | None = _id.value(connection, by_jid=jid.text)
    if found is None:
        raise NoSuchAccount("there is no such account")
    return found


def _stored(connection: Connection, jid: JID) -> dict[str, Verifier]:
    return {row[0]: Verifier(*row) for row in _select_verifiers.rows(connection, by_jid=jid.text)}


def _account(row: Sequence[Any]) -> Account:
    return Account(JID.parse(row[0]), bool(row[1]), row[2])


def _insert_verifiers(connection: Connection, account: int, verifiers: Mapping[str, Verifier]) -> None:
    for verifier in verifiers.values():
        _insert_verifier.run(connection, account=account, **asdict(verifier))
