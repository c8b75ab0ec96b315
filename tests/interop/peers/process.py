"""One process of a peer: started with its output in a file, waited for, and ended by its own id."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import SystemRandom

from tests.interop.peers.waiting import wait_until

_PR_SET_PDEATHSIG = 1
_LOW_PORT, _HIGH_PORT = 10000, 30000  # below the ports that the system hands out by itself
_PRCTL = ctypes.CDLL(None).prctl
_END_SECONDS = 15.0


class PeerProcess:
    """A running program that ends when the tests end, however they end."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                cwd=cwd,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - a call of prctl takes no lock
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr, its earlier runs with the same log included."""
        return self._log.read_text(errors="replace")

    def wait_for_port(self, host: str, port: int, timeout: float) -> None:
        """Return once the port takes connections; AssertionError if the process ends before, or is late."""
        where = f"{host}:{port} to take connections"
        answered = wait_until(lambda: self._look(host, port), where, timeout, lambda: self.output[-2000:])
        assert answered == "open", f"status {self.returncode} before {where}:\n{self.output[-2000:]}"

    def end(self, timeout: float = _END_SECONDS) -> int:
        """Ask it to end (SIGTERM) and return its status; it is killed if it takes longer than `timeout`."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once (SIGKILL), as a crash would."""
        if self._process.poll() is None:
            self._process.kill()
        return self._process.wait()

    def _look(self, host: str, port: int) -> str | None:
        if self.returncode is not None:
            return "ended"
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return None
        return "open"


def _die_with_parent() -> None:
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `host` that nobody listens on now."""
    random = SystemRandom()
    while True:
        port = random.randrange(_LOW_PORT, _HIGH_PORT)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
