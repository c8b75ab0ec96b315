"""Builds xload and runs it: one scenario on one server, on the generator's own core."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks import processes
from benchmarks.credentials import ACCOUNT_PREFIX, PASSWORD
from benchmarks.servers import Server

_FOLDER = Path(__file__).resolve().parent / "xload"
_LONGEST_RUN = 300


class RunFailed(Exception):
    """The generator gave no figures; the message holds what it said."""


@frozen
class Generator:
    """xload, ready to run on `core`."""

    core: int

    @staticmethod
    def build() -> None:
        """Compile xload if its sources are newer than it; raises RunFailed with the compiler's words."""
        try:
            made = subprocess.run(["make", "-s", "-C", _FOLDER], capture_output=True, text=True, check=False)
        except OSError as error:
            raise RunFailed("xload needs make, gcc and libssl-dev to be built") from error
        if made.returncode:
            raise RunFailed(f"xload could not be built (gcc, libssl-dev): {made.stderr.strip()}")

    def run_between(self, server: Server, peer: Server, options: dict[str, Any]) -> dict[str, Any]:
        """Let every account of `server` write to one of `peer`; figures as `run`, with the peer's beside."""
        other = {
            "peer-host": peer.host,
            "peer-port": peer.port,
            "peer-pid": peer.pid,
            "peer-domain": peer.domain,
        }
        return self.run(server, "chat", {**other, **options})

    def run(self, server: Server, command: str, options: dict[str, Any]) -> dict[str, Any]:
        """Run one scenario on `server`; returns xload's figures (xload/README.md says what they mean).

        An option that is True is a flag.
        """
        fixed = {
            "host": server.host,
            "port": server.port,
            "server-pid": server.pid,
            "domain": server.domain,
            "muc": server.rooms,
            "prefix": ACCOUNT_PREFIX,
            "password": PASSWORD,
            "mech": server.mechanism,
            "max-time": _LONGEST_RUN,
        }
        words = [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in {**fixed, **options}.items()
        ]
        process = subprocess.Popen(
            [_FOLDER / "xload", command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=processes.confined_to(self.core),  # noqa: PLW1509 - there are no threads here
        )
        try:
            figures, said = process.communicate(timeout=_LONGEST_RUN + 30)
        finally:
            process.kill()
            process.wait()
        if process.returncode or not figures.strip():
            raise RunFailed(said.strip().replace("\n", " | ")[-600:] or "xload said nothing")
        result: dict[str, Any] = json.loads(figures)
        return result
