"""Components as a part of the server: the files with their secrets, and the sockets that they connect to."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define
from twisted.logger import Logger

from refserver.app.parts import open_ports
from refserver.app.server import CannotStart
from refserver.components.service import ComponentService, DomainTaken

log = Logger()


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
class Components:
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
    """The secrets by domain. Raises `CannotStart`."""
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
