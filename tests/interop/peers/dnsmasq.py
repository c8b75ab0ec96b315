"""dnsmasq as the name server of a test, and how a program is made to ask it: by a resolv.conf of its own.

Name servers are asked on port 53, so that dnsmasq has an address of 127.0.0.0/8 to itself. resolv.conf is
replaced in a mount namespace, for that program only. Both need root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import frozen

from tests.interop.peers.ports import free_address
from tests.interop.peers.process import PeerProcess

_PORT = 53
_START_SECONDS = 10.0
_NAMESPACE = ["unshare", "--mount", "--propagation", "private"]
_REPLACE = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


@frozen
class Service:
    """An SRV record (RFC 2782): where a domain's `_xmpp-server` is, or its `_xmpps-server` if `direct_tls`.

    Without a `target` the record's is the root: decidedly no such service.
    """

    domain: str
    target: str = ""
    port: int = 0
    priority: int = 10
    weight: int = 0
    direct_tls: bool = False

    @property
    def name(self) -> str:
        """The question in a query."""
        return f"_{'xmpps' if self.direct_tls else 'xmpp'}-server._tcp.{self.domain}"


class Dnsmasq:
    """dnsmasq 2.80 or later, in the foreground. It knows what `publish` says and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = free_address()
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {self.address}\n")
        self._process: PeerProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.end()

    def publish(self, services: Sequence[Service], hosts: dict[str, str]) -> None:
        """Start to answer; `hosts` are A records."""
        lines = [
            f"listen-address={self.address}\nport={_PORT}\nbind-interfaces",
            "no-resolv\nno-hosts\nlocal=/#/\npid-file=\nuser=root\ngroup=root",
            "log-queries\nlog-facility=-",
            *(f"srv-host={s.name},{s.target},{s.port},{s.priority},{s.weight}" for s in services if s.target),
            *(f"srv-host={s.name}" for s in services if not s.target),
            *(f"host-record={name},{address}" for name, address in hosts.items()),
        ]
        configuration = self.folder / "dnsmasq.conf"
        configuration.write_text("\n".join(lines) + "\n")
        command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}"]
        self._process = PeerProcess(command, self.folder / "output", {})
        self._process.wait_for_port(self.address, _PORT, _START_SECONDS)

    @property
    def log(self) -> str:
        """The queries it has received."""
        return "" if self._process is None else self._process.output


def asking(resolv_conf: Path | None, command: Sequence[str | Path]) -> list[str | Path]:
    """The command that runs `command` with that /etc/resolv.conf; the system's own if there is none."""
    if resolv_conf is None:
        return list(command)
    return [*_NAMESPACE, "sh", "-c", _REPLACE, resolv_conf, *command]


@cache
def why_not() -> str:
    """Why `asking` does not work here, in plain words; "" if it does."""
    if os.geteuid() != 0:
        return "a resolv.conf for one program needs root"
    tried = subprocess.run([*_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    return f"no mount namespace here: {tried.stderr.strip()}" if tried.returncode else ""
