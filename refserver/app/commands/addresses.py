"""Addresses as operators write them, and the rule that no account and no queue share one.

A queue `ask` owns `ask` and every `ask+…` of its domain: its personas and questions (RFC 7622 addresses).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refserver.app.commands.request import Refused, late
from refserver.jid import JID, InvalidJID

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from refserver.storage import accounts, libraries, queues
    from refserver.storage.queues import Queue
else:
    accounts, libraries, queues = late("refserver.storage", "accounts", "libraries", "queues")


def library_domain(text: str) -> str:
    """Return a domain in its normal form. Raises `Refused`."""
    jid = _parsed(text)
    if jid is None or jid.localpart or jid.resourcepart:
        raise Refused(f"{text!r} is no domain: write it like library.example")
    return jid.domainpart


def served_domain(connection: Connection, text: str) -> str:
    """Return the domain of a library that is there. Raises `Refused`."""
    domain = library_domain(text)
    _library(connection, domain)
    return domain


def bare_address(text: str) -> JID:
    """Return an address local@domain. Raises `Refused`."""
    jid = _parsed(text)
    if jid is None or not jid.localpart or not jid.is_bare:
        raise Refused(f"{text!r} is no address: write it like mia@library.example")
    return jid


def domain_of(connection: Connection, jid: JID) -> str:
    """Return the domain of an address. Raises `Refused` if it is no library's."""
    _library(connection, jid.domainpart)
    return jid.domainpart


def queue_at(connection: Connection, text: str) -> Queue:
    """Return the queue of that address. Raises `Refused`."""
    jid = bare_address(text)
    found = queues.find(connection, jid)
    if found is None:
        domain_of(connection, jid)
        raise Refused(f"there is no queue {jid}: `refserverctl queue list` shows those there are")
    return found


def queues_at(connection: Connection, text: str | None) -> list[Queue]:
    """Return the queue of that address, or all queues if none is named. Raises `Refused`."""
    return queues.all_queues(connection) if text is None else [queue_at(connection, text)]


def queue_of(connection: Connection, jid: JID) -> Queue | None:
    """Return the queue that owns an address: its own, or one of its personas or questions."""
    return queues.find(connection, JID.of(jid.localpart.partition("+")[0], jid.domainpart))


def refuse_shadowing(connection: Connection, account: JID) -> None:
    """Raise `Refused` if a queue owns the address of a new account."""
    owner = queue_of(connection, account)
    if owner is not None:
        raise Refused(f"{account} belongs to the queue {owner.jid}: choose another address")


def refuse_shadowed_accounts(connection: Connection, queue: JID) -> None:
    """Raise `Refused` if an account has the address of a new queue, or of its personas or questions."""
    own, personas = queue.localpart, f"{queue.localpart}+"
    for account in accounts.list(connection, queue.domainpart):
        if account.jid.localpart == own or account.jid.localpart.startswith(personas):
            raise Refused(
                f"there is an account {account.jid}, whose address the queue would take: "
                "choose another address, or remove the account first"
            )


def _library(connection: Connection, domain: str) -> None:
    if libraries.get(connection, domain) is None:
        raise Refused(
            f"there is no library {domain}: `refserverctl library list` shows those there are, "
            f"`refserverctl library add {domain}` adds it"
        )


def _parsed(text: str) -> JID | None:
    try:
        return JID.parse(text)
    except InvalidJID:
        return None
