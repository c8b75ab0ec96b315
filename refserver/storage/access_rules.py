"""Stores whom libraries let in and keep out, and what their desks reported as spam.

A sender is a bare JID, a domain, or, where a desk has blocked a patron, a fingerprint: a keyed
hash of the bare JID, with a key of the library, so that the store recognises who comes back and
names nobody. What follows from the rules is not here (refserver/features/library_access.py).

`library` is a library's domain; "" stands for all of them.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from attrs import asdict, fields, frozen
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select

from refserver.jid import JID
from refserver.storage import secrets
from refserver.storage.errors import NoSuchLibrary
from refserver.storage.libraries import number as number_of
from refserver.storage.schema import (
    allow_only_libraries,
    libraries,
    queue_subscribers,
    queues,
    sender_rules,
    spam_reports,
)

EVERYWHERE: Final = ""
KEY_BYTES: Final = 32
FINGERPRINT_BYTES: Final = 16
ROWS_AT_ONCE: Final = 1000

_rules = sender_rules.c
_reports = spam_reports.c


@frozen
class Rule:
    """One sender: `localpart` "" and `fingerprint` "" is a whole domain; `allowed` or else blocked.

    `librarian` (a bare JID), `queue` (a localpart) and `number` say at which desk it was blocked;
    all are empty for an operator's rules. Times are Unix seconds.
    """

    domain: str
    localpart: str = ""
    fingerprint: str = ""
    allowed: bool = False
    reason: str = ""
    librarian: str = ""
    queue: str = ""
    number: int | None = None
    made_at: float = 0.0
    expires_at: float | None = None

    @property
    def key(self) -> str:
        """The fingerprint, the bare JID, or the domain: what recognises the sender."""
        at = f"{self.localpart}@{self.domain}" if self.localpart else self.domain
        return self.fingerprint or at

    def is_of(self, sender: Rule) -> bool:
        """True if it is about the same sender."""
        return (self.domain, self.key) == (sender.domain, sender.key)


_RULE = tuple(_rules[field.name] for field in fields(Rule))


@frozen
class SpamCount:
    """The number of spam reports about a domain, and the time of the last (Unix seconds)."""

    domain: str
    reports: int
    last: float


# -- fingerprints --------------------------------------------------------------


def fingerprint_key(connection: Connection, library: str) -> bytes:
    """The key of a library's fingerprints. Needs a write the first time."""
    return secrets.get_or_create(connection, f"blocks {library}", KEY_BYTES)


def fingerprint(key: bytes, jid: JID) -> str:
    """Return the keyed hash by which a library recognises a bare JID without naming it."""
    return hmac.digest(key, jid.bare.text.encode(), sha256)[:FINGERPRINT_BYTES].hex()


# -- rules ---------------------------------------------------------------------


def put(connection: Connection, library: str, rule: Rule) -> None:
    """Add a rule; one that is there about the same sender gives way. Raises `NoSuchLibrary`."""
    remove(connection, library, rule)
    connection.execute(insert(sender_rules).values(library=_id(connection, library), **asdict(rule)))


def remove(connection: Connection, library: str, sender: Rule) -> bool:
    """Remove the rule about a sender; False if there was none."""
    removed = connection.execute(
        delete(sender_rules).where(
            _of(library),
            _rules.domain == sender.domain,
            _rules.localpart == sender.localpart,
            _rules.fingerprint == sender.fingerprint,
        )
    )
    return bool(removed.rowcount)


def rules(connection: Connection, library: str, domain: str = "") -> list[Rule]:
    """A library's rules, or only those about a domain and its addresses, by domain and address."""
    query = select(*_RULE).where(*_about(library, domain))
    order = (_rules.domain, _rules.localpart, _rules.id)
    return [Rule(*row) for row in connection.execute(query.order_by(*order))]


def brief(connection: Connection, library: str, domain: str = "") -> Iterator[Rule]:
    """Of the same rules only what recognises the senders, and what is to be done: there may be very many."""
    columns = (_rules.domain, _rules.localpart, _rules.fingerprint, _rules.allowed, _rules.expires_at)
    found = connection.execute(select(*columns).where(*_about(library, domain)))
    for at, localpart, fingerprint, allowed, expires_at in found.yield_per(ROWS_AT_ONCE):
        yield Rule(at, localpart, fingerprint, allowed, expires_at=expires_at)


def _about(library: str, domain: str) -> tuple[ColumnElement[bool], ...]:
    return (_of(library), _rules.domain == domain) if domain else (_of(library),)


def libraries_with_rules(connection: Connection) -> set[str]:
    """The libraries that have rules of their own, or let in nobody but whom they allow."""
    with_rules = select(_rules.library)
    allow_only = select(allow_only_libraries.c.library)
    query = select(libraries.c.domain).where(
        or_(libraries.c.id.in_(with_rules.where(_rules.library.is_not(None))), libraries.c.id.in_(allow_only))
    )
    return set(connection.execute(query).scalars())


def of_question(connection: Connection, library: str, queue: str, number: int) -> Rule | None:
    """The rule by which a question's sender was blocked at the desk."""
    found = connection.execute(
        select(*_RULE).where(_of(library), _rules.queue == queue, _rules.number == number)
    ).first()
    return None if found is None else Rule(*found)


def drop_expired(connection: Connection, now: float) -> int:
    """Remove the rules whose time is over, `ROWS_AT_ONCE` at most; how many there were."""
    expired = select(_rules.id).where(_rules.expires_at <= now).limit(ROWS_AT_ONCE)
    return connection.execute(delete(sender_rules).where(_rules.id.in_(expired))).rowcount


def is_allow_only(connection: Connection, library: str) -> bool:
    """True if a library lets in nobody but whom it allows."""
    query = select(allow_only_libraries).where(allow_only_libraries.c.library == number_of(library))
    return connection.execute(query).first() is not None


def set_allow_only(connection: Connection, library: str, allow_only: bool) -> None:
    """Say whether a library lets in nobody but whom it allows. Raises `NoSuchLibrary`."""
    number = _id(connection, library)
    connection.execute(delete(allow_only_libraries).where(allow_only_libraries.c.library == number))
    if allow_only:
        connection.execute(insert(allow_only_libraries).values(library=number))


# -- subscribers of queues -----------------------------------------------------


def subscribers_at(connection: Connection, library: str, domain: str) -> dict[str, set[JID]]:
    """Return the subscribers of queues at a domain (or the domain itself), by the queue's library."""
    jid = queue_subscribers.c.jid
    query = (
        select(libraries.c.domain, jid)
        .join(queues, queues.c.id == queue_subscribers.c.queue)
        .join(libraries, libraries.c.id == queues.c.library)
        .where(or_(jid == domain, jid.endswith(f"@{domain}", autoescape=True)), *_at_queues(library))
    )
    found: dict[str, set[JID]] = {}
    for at, subscriber in connection.execute(query):
        found.setdefault(at, set()).add(JID.parse(subscriber))
    return found


def unsubscribe(connection: Connection, library: str, who: Iterable[JID]) -> int:
    """Let these bare JIDs have the presence of the library's queues no more; how many had it."""
    removed = 0
    for jid in who:
        these = delete(queue_subscribers).where(queue_subscribers.c.jid == jid.text, *_at_queues(library))
        removed += connection.execute(these).rowcount
    return removed


def _at_queues(library: str) -> Sequence[ColumnElement[bool]]:
    if not library:
        return ()
    return (queue_subscribers.c.queue.in_(select(queues.c.id).where(queues.c.library == number_of(library))),)


# -- reports of spam -----------------------------------------------------------


def add_report(
    connection: Connection, library: str, queue: str, number: int, *, librarian: JID, domain: str, now: float
) -> None:
    """Count a question as spam from a domain. Raises `NoSuchLibrary`."""
    connection.execute(
        insert(spam_reports).values(
            library=_id(connection, library),
            queue=queue,
            number=number,
            reported_at=now,
            librarian=librarian.text,
            domain=domain,
        )
    )


def remove_report(connection: Connection, library: str, queue: str, number: int) -> bool:
    """It was no spam after all; False if it was not reported."""
    removed = connection.execute(
        delete(spam_reports).where(
            _reports.library == number_of(library), _reports.queue == queue, _reports.number == number
        )
    )
    return bool(removed.rowcount)


def has_reports_before(connection: Connection, time: float) -> bool:
    """Return True if there is a report older than that."""
    old = select(_reports.id).where(_reports.reported_at < time).limit(1)
    return connection.execute(old).first() is not None


def delete_reports_before(connection: Connection, time: float, limit: int) -> int:
    """Delete reports older than that, `limit` at most; how many there were."""
    old = select(_reports.id).where(_reports.reported_at < time).limit(limit)
    return connection.execute(delete(spam_reports).where(_reports.id.in_(old))).rowcount


def reports(connection: Connection, library: str, since: float = 0.0) -> list[SpamCount]:
    """Return the reports since a time for each domain; the domain reported last comes first."""
    last = func.max(_reports.reported_at)
    query = select(_reports.domain, func.count(), last).where(_reports.reported_at >= since)
    if library:
        query = query.where(_reports.library == number_of(library))
    rows = connection.execute(query.group_by(_reports.domain).order_by(last.desc(), _reports.domain))
    return [SpamCount(*row) for row in rows]


# -- libraries -----------------------------------------------------------------


def _of(library: str) -> ColumnElement[bool]:
    return _rules.library == number_of(library) if library else and_(_rules.library.is_(None))


def _id(connection: Connection, library: str) -> int | None:
    if not library:
        return None
    found: int | None = connection.execute(select(number_of(library))).scalar()
    if found is None:
        raise NoSuchLibrary(library)
    return found
