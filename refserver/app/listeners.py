"""The parts of the server that listen: for clients, other servers and components."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from attrs import define
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from refserver.app.checks.ports import why_not
from refserver.app.parts import CannotStart, Part
from refserver.app.settings import Listen, tcp_address
from refserver.c2s.service import ClientService
from refserver.components.service import ComponentService, DomainTaken
from refserver.s2s.service import FederationService

log = Logger()


@define(eq=False)
class Streams(Part):
    """The streams of clients (`key` "c2s") or of other servers ("s2s"), and the sockets that they come to."""

    reactor: Any
    service: ClientService | FederationService
    listen: Listen
    key: Literal["c2s", "s2s"]

    def start(self) -> None:
        """Listen. Raises `CannotStart` if a port is taken."""
        for key, tls in ((self.key, False), (f"{self.key}_tls", True)):
            for port in open_ports(self.reactor, f"listen.{key}", getattr(self.listen, key)):
                self.service.listen(port, tls=tls)

    async def stop(self) -> None:
        """End all streams (system-shutdown); what waits, unavailable presence with it, goes out first."""
        await self.service.stop()


# -- components ----------------------------------------------------------------------


KEY: Final = "components.secret_files"  # in the configuration

SHORTEST: Final = 8  # characters; a shorter secret works, with a warning


class UnusableSecret(ValueError):
    """A component's file holds no secret; the text says why, and names neither the file nor what is in it."""


def read_secret(domain: str, file: Path) -> str:
    """Return a component's secret, without the white space around it. Raises `UnusableSecret`."""
    try:
        secret = file.read_text("utf-8").strip()
    except OSError as error:
        raise UnusableSecret(f"the file of {domain} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UnusableSecret(f"the file of {domain} is not UTF-8") from error
    if not secret:
        raise UnusableSecret(f"the file of {domain} is empty")
    return secret


def is_short(secret: str) -> bool:
    """Return True if the secret can be guessed because of its length."""
    return len(secret) < SHORTEST


def is_open(file: Path) -> bool:
    """Return True if everybody on this machine may read or write the file."""
    return bool(file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))


@define(eq=False)
class Components(Part):
    """The components of this server. `secret_files` are the files by domain, as configured now."""

    reactor: Any
    service: ComponentService
    endpoints: Iterable[str]
    secret_files: Mapping[str, Path]
    listening: bool = False

    def start(self) -> None:
        """Answer for their domains and listen. Raises `CannotStart`."""
        self.reload()

    async def stop(self) -> None:
        """End all streams in order (system-shutdown)."""
        self.service.stop()

    def reload(self) -> None:
        """Read the secrets again. Raises `CannotStart`, and then what was read before still holds."""
        secrets = read_secrets(self.secret_files)
        try:
            self.service.take_up(secrets)
        except DomainTaken as error:
            raise CannotStart(
                f"{error.domain} is a library here, or a service of one: a component cannot have it too. "
                f"Choose another domain: {KEY} in the configuration."
            ) from error
        if secrets and not self.listening:
            for port in open_ports(self.reactor, "listen.component", self.endpoints):
                self.service.listen(port)
            self.listening = True


def read_secrets(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the secrets by domain. Raises `CannotStart`."""
    return {domain: _secret(domain, file) for domain, file in files.items()}


def _secret(domain: str, file: Path) -> str:
    try:
        secret = read_secret(domain, file)
    except UnusableSecret as error:
        raise CannotStart(f"{error}: {KEY} in the configuration") from error
    if is_short(secret):
        log.warn(
            "the secret of {domain} has fewer than {least} characters: it can be guessed",
            domain=domain,
            least=SHORTEST,
        )
    if is_open(file):
        log.warn("the file with the secret of {domain} is open to everybody on this machine", domain=domain)
    return secret


# -- ports ---------------------------------------------------------------------------


@implementer(ILoggingContext)
class _Port(Factory):
    """Only opens a port, for the multiplexer to accept on; `key` is what the log calls it."""

    noisy = False

    def __init__(self, key: str) -> None:
        self._key = key

    def logPrefix(self) -> str:
        return self._key


def _why_not(failure: Failure, description: str, key: str) -> str:
    address, code = tcp_address(description), getattr(failure.value, "socketError", None)
    code = getattr(code, "errno", None)
    if address is None or code is None:
        return f"{failure.getErrorMessage()}: choose another: {key}"
    return ": ".join(why_not(code, *address, key))


def open_ports(reactor: Any, key: str, descriptions: Iterable[str]) -> list[Any]:
    """Listen on Twisted endpoint descriptions; `key` names the setting in the error. Raises `CannotStart`."""
    ports: list[Any] = []
    for description in descriptions:
        listening = serverFromString(reactor, description).listen(_Port(key))
        failures: list[Failure] = []
        listening.addCallbacks(ports.append, failures.append)
        if failures:
            raise CannotStart(f"cannot listen on {description}: {_why_not(failures[0], description, key)}")
    return ports
