"""The base of the peer servers: an address of their own, certificates, accounts, start and stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.peers.address import ServerAddress
from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.dnsmasq import asking
from tests.interop.peers.ports import free_port
from tests.interop.peers.process import PeerProcess
from tests.interop.peers.registration import register
from tests.interop.peers.waiting import wait_until

_START_SECONDS = 60.0
_STORE_SECONDS = 20.0


class PeerServer(ABC):
    """Another XMPP server for one domain, with open registration. As a context manager it runs inside.

    `routes` says where each foreign domain is found, instead of in DNS: address and port; all others are
    looked up as `resolv_conf` says, if that is given. `strict_s2s` asks foreign servers for a certificate
    that the authority of the tests has signed; otherwise dialback is enough.
    """

    name: str
    conference: str

    def __init__(
        self,
        folder: Path,
        domain: str,
        authority: TestAuthority,
        host: str = "127.0.0.1",
        s2s_port: int = 0,
        strict_s2s: bool = True,
        routes: Mapping[str, tuple[str, int]] | None = None,
        resolv_conf: Path | None = None,
    ) -> None:
        self.folder = folder
        self.domain = domain
        self.authority = authority
        self.host = host
        self.port = free_port(host)
        self.tls_port = free_port(host)
        self.s2s_port = s2s_port or free_port(host)
        self.s2s_tls_port = free_port(host)
        self.strict_s2s = strict_s2s
        self.resolv_conf = resolv_conf
        self.routes = {domain: ServerAddress(*where) for domain, where in (routes or {}).items()}
        self.rooms = f"{self.conference}.{domain}"
        self._process: PeerProcess | None = None
        authority.certify(domain)
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> ServerAddress:
        """The address of its port for other servers."""
        return ServerAddress(self.host, self.s2s_port)

    @property
    def process(self) -> PeerProcess:
        """Its process, while it runs."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()  # nobody needs its data any more, and ejabberd may take its time

    def start(self) -> None:
        """Start it, on the data of an earlier run if there was one; return once it takes connections."""
        command = asking(self.resolv_conf, self._command())
        self._process = PeerProcess(command, self.folder / "output", self._environment())
        try:
            self._process.wait_for_port(self.host, self.port, _START_SECONDS)
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; its data stay."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def kill(self) -> None:
        """End it as a crash would; what it had on disk stays."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def add_account(self, user: str, password: str) -> str:
        """Register `user` and return the bare JID."""
        register((self.host, self.port), self.domain, user, password)
        return f"{user}@{self.domain}"

    def wait_until_stored(self, user: str) -> None:
        """Return when an account would survive a crash: ejabberd writes it a few seconds later."""

        def is_stored() -> bool:
            files = (path for path in self.folder.glob("*/**/*") if path.is_file())
            return any(user in path.name or user.encode() in path.read_bytes() for path in files)

        wait_until(is_stored, f"{user} to be stored", _STORE_SECONDS, lambda: f"nothing in {self.folder}")

    @property
    def log(self) -> str:
        """Its log, for the message of a failed test."""
        logs = (self.folder / "output", *sorted(self.folder.glob("*.log")))
        return "".join(path.read_text(errors="replace") for path in logs if path.exists())

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """Write the configuration and return the command that runs the server in the foreground."""

    @abstractmethod
    def _environment(self) -> Mapping[str, str]:
        """The environment of the command."""
