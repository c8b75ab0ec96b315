"""refserverctl library: the XMPP domains served here."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import click
from attrs import frozen

from refserver.app.commands.context import command
from refserver.app.commands.late import (
    Connection,
    RunningServer,
    account_removal,
    accounts,
    hooks,
    libraries,
    offices,
    queues,
)
from refserver.app.commands.request import Done, Refused, Request, domain_address, served_domain

SERVICES: Final = ("rooms", "guest", "upload", "pubsub")
"""Labels of the domains under a library's that are its services."""


@click.group()
def library() -> None:
    """Libraries: the XMPP domains served here."""


@command(library, click.Option(["--name"], help="The library's name for people."), done="domain")
@frozen
class AddLibrary(Request):
    """Add a library. If it is there, --name gives it another name."""

    words: ClassVar[str] = "library add"
    domain: str
    name: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        domain = domain_address(self.domain)
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
            done = "unchanged"
        return Done({"domain": domain, "name": name, "done": done})

    async def apply(self, server: RunningServer, done: Done) -> Any:
        if done.data["done"] != "unchanged":
            server.libraries.take_up(done.data["domain"], done.data["name"])
        return done.data


@command(library, columns=("domain", "name"), nothing="no library yet: refserverctl library add DOMAIN")
@frozen
class ListLibraries(Request):
    """List the libraries."""

    words: ClassVar[str] = "library list"
    writes: ClassVar[bool] = False

    def run(self, connection: Connection, now: float) -> Done:
        return Done([{"domain": each.domain, "name": each.name} for each in libraries.list(connection)])


@command(library, done="domain", sure="Remove {domain} with all its accounts, rooms, queues and questions?")
@frozen
class RemoveLibrary(Request):
    """Remove a library with its accounts, rooms, queues and questions. Statistics stay."""

    words: ClassVar[str] = "library remove"
    domain: str

    def run(self, connection: Connection, now: float) -> Done:
        domain = served_domain(connection, self.domain)
        lost_queues = queues.all_queues(connection, domain)
        lost_accounts = [account.jid for account in accounts.list(connection, domain)]
        events = [
            event for jid in lost_accounts for event in account_removal.remove_account(connection, jid, now)
        ]
        for queue in lost_queues:
            offices.remove_queue(connection, queue.id, now)
        libraries.remove(connection, domain)
        data = {
            "domain": domain,
            "accounts": len(lost_accounts),
            "queues": len(lost_queues),
            "done": "removed",
        }
        return Done(data, tuple(dict.fromkeys(events)))

    async def apply(self, server: RunningServer, done: Done) -> Any:
        """The accounts' contacts are told while the library is still served."""
        domain = done.data["domain"]
        ended = [event for event in done.events if isinstance(event, hooks.AccountRemoved)]
        await server.core.hooks.ask(hooks.QueuesChanged(domain))
        server.libraries.remove(domain, ended)
        for event in done.events:
            if event not in ended:
                await server.core.hooks.ask(event)
        return done.data


def _refuse_service_names(connection: Connection, domain: str) -> None:
    """Raise `Refused` if `domain` is a service of a library, or a library is a service of `domain`."""
    label, _, parent = domain.partition(".")
    if label in SERVICES and libraries.get(connection, parent) is not None:
        raise Refused(f"{domain} is a service of the library {parent}: choose another domain")
    for service in SERVICES:
        if libraries.get(connection, f"{service}.{domain}") is not None:
            raise Refused(f"the library {service}.{domain} is where {domain} would have its own service")
