"""Verbs on libraries."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import library_domain, served_domain
from refserver.app.verbs.changes import AccountRemoved, LibraryRemoved, LibrarySet, QueueRemoved
from refserver.app.verbs.verb import Done, Refused, Verb
from refserver.storage import accounts, libraries, queues

__all__ = ["AddLibrary", "ListLibraries", "RemoveLibrary"]


@frozen
class AddLibrary(Verb):
    """Add a library; if it is there, give it the name, if one is given."""

    verb: ClassVar[str] = "library add"
    domain: str
    name: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        domain = library_domain(self.domain)
        known = libraries.get(connection, domain)
        name = self.name if self.name is not None else known.name if known else ""
        if known is None:
            _refuse_service_names(connection, domain)
            libraries.add(connection, domain, name)
            done = "added"
        elif known.name != name:
            libraries.rename(connection, domain, name)
            done = "renamed"
        else:
            return Done({"domain": domain, "name": name, "done": "unchanged"})
        return Done({"domain": domain, "name": name, "done": done}, (LibrarySet(domain, name),))


@frozen
class ListLibraries(Verb):
    """Every library, by domain."""

    verb: ClassVar[str] = "library list"
    writes: ClassVar[bool] = False

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        return Done([{"domain": each.domain, "name": each.name} for each in libraries.list(connection)])


@frozen
class RemoveLibrary(Verb):
    """Remove a library with its accounts, rooms, queues and questions. Statistics stay."""

    verb: ClassVar[str] = "library remove"
    domain: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        domain = served_domain(connection, self.domain)
        lost_queues = [QueueRemoved(queue.jid) for queue in queues.all_queues(connection, domain)]
        lost_accounts = [AccountRemoved(account.jid) for account in accounts.list(connection, domain)]
        libraries.remove(connection, domain)
        data = {
            "domain": domain,
            "accounts": len(lost_accounts),
            "queues": len(lost_queues),
            "done": "removed",
        }
        return Done(data, (*lost_queues, LibraryRemoved(domain), *lost_accounts))


def _refuse_service_names(connection: Connection, domain: str) -> None:
    """No library may be where another one's rooms, guests, uploads or nodes are, nor the other way round."""
    from refserver.app.certificates import SERVICES  # late: the cryptography behind it takes long to import

    label, _, parent = domain.partition(".")
    if label in SERVICES and libraries.get(connection, parent) is not None:
        raise Refused(f"{domain} is a service of the library {parent}: choose another domain")
    for service in SERVICES:
        if libraries.get(connection, f"{service}.{domain}") is not None:
            raise Refused(f"the library {service}.{domain} is where {domain} would have its own service")
