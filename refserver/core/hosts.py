"""The domains served here: libraries with their gates, and the services on their subdomains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from enum import Enum
from typing import Protocol

from attrs import define, field

from refserver.core.ports import Destination
from refserver.jid import JID


class Verdict(Enum):
    """The result of a library's access rules for a sender."""

    __hash__ = object.__hash__  # members are single; Enum's own hash is a Python function

    ALLOWED = "allowed"
    """Let in, and limits for strangers do not count."""
    OPEN = "open"
    """Let in: nothing is known of it."""
    STOPPED = "stopped"
    """Not let in: for this sender there is nobody here."""


class Gate(Protocol):
    """The gate of one library."""

    def judge(self, sender: JID) -> Verdict:
        """Return the verdict on a sender, by its bare JID and its domain."""

    def blocks(self, sender: JID) -> bool:
        """True if a rule blocks the sender; False if it is only unknown."""

    def welcomes(self, domain: str) -> bool:
        """True if anybody at another server's domain may be let in. If not, its streams are refused."""


def _nobody() -> Collection[JID]:
    return ()


@define(eq=False)
class Host:
    """A library: one XMPP domain. Nothing of one host is visible from another.

    `addresses` are the localparts that are not accounts. A localpart there also owns
    every `localpart+detail` (a queue `ask` owns `ask+417` and `ask+mia`). `staff` tells who works
    for the library (bare JIDs), here or on other servers.
    """

    domain: str
    name: str = ""
    addresses: dict[str, Destination] = field(factory=dict)
    staff: Callable[[], Collection[JID]] = _nobody
    jid: JID = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.jid = JID.parse(self.domain)

    def find(self, localpart: str) -> Destination | None:
        """The destination that owns `localpart`, None if it is left to accounts."""
        if not self.addresses:
            return None
        found = self.addresses.get(localpart)
        if found is None and "+" in localpart:
            found = self.addresses.get(localpart.partition("+")[0])
        return found


class Hosts:
    """All libraries and services of this server, by domain.

    `gates` are those of the libraries that do not let everybody in, by the library's domain.
    """

    def __init__(self) -> None:
        self.gates: dict[str, Gate] = {}
        self._hosts: dict[str, Host] = {}
        self._services: dict[str, Destination] = {}

    def add(self, host: Host) -> None:
        """Serve a library from now on."""
        self._hosts[host.domain] = host

    def remove(self, domain: str) -> None:
        """Serve a library no more."""
        self._hosts.pop(domain, None)

    def get(self, domain: str) -> Host | None:
        """The library with that prepared domain."""
        return self._hosts.get(domain)

    def add_service(self, domain: str, service: Destination) -> None:
        """Let `service` answer for a domain that is no library (rooms.library.example)."""
        self._services[domain] = service

    def remove_service(self, domain: str) -> None:
        """Take a service's domain away."""
        self._services.pop(domain, None)

    def service(self, domain: str) -> Destination | None:
        """The service that answers for a domain."""
        return self._services.get(domain)

    def gate_of(self, domain: str) -> Gate | None:
        """The gate that a library's domain, or a service's under it, lies behind."""
        if domain in self._hosts:
            return self.gates.get(domain)
        return self.gates.get(domain.partition(".")[2])

    def is_local(self, domain: str) -> bool:
        """True if a domain is ours: a library's or a service's."""
        return domain in self._hosts or domain in self._services

    def services_of(self, host: Host) -> list[str]:
        """The service domains under a library's domain, sorted."""
        return sorted(domain for domain in self._services if domain.endswith("." + host.domain))

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def __len__(self) -> int:
        return len(self._hosts)
