"""Biboumi as a peer: a gateway to IRC, which attaches to the server as a component."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.peers.process import PeerProcess


class Biboumi:
    """Biboumi 9 or later, in the foreground, with all its files in one folder; it runs inside the context."""

    def __init__(self, folder: Path, domain: str, secret: str, port: int, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self._configuration = folder / "biboumi.cfg"
        self._configuration.write_text(
            f"hostname={domain}\npassword={secret}\nxmpp_server_ip={host}\nport={port}\n"
            f"db_name={folder}/biboumi.sqlite\nlog_level=0\nidentd_port=0\n"
        )
        self._process: PeerProcess | None = None

    def __enter__(self) -> Self:
        self._process = PeerProcess(["biboumi", self._configuration], self.folder / "output", {}, self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """Its output."""
        assert self._process is not None
        return self._process.output

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process is not None
        self._process.kill()
