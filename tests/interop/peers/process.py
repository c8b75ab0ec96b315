"""One process of a peer: started with its output in a file, waited for, and ended by its own id."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.interop.peers.waiting import wait_until

_PR_SET_PDEATHSIG = 1
_PRCTL = ctypes.CDLL(None).prctl
_END_SECONDS = 15.0
_ABORT_SECONDS = 2.0
_LAST_WORDS = 6000  # characters: the stacks of a few threads
_ENDED = object()


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
                preexec_fn=_be_a_child,  # noqa: PLW1509 - these calls take no lock
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
        """Its output on stdout and stderr, with that of earlier runs with the same log."""
        return self._log.read_text(errors="replace")

    def wait_for_port(self, host: str, port: int, timeout: float) -> None:
        """Return once the port takes connections; AssertionError if the process ends before, or is late."""
        self.wait_for(lambda: _is_open(host, port), f"{host}:{port} to take connections", timeout)

    def wait_for(self, look: Callable[[], object], what: str, timeout: float) -> None:
        """Return once `look` returns something true; AssertionError if the process ends before, or is late.

        The error ends with what the process wrote. One that is late is aborted first (SIGABRT): where
        Python's faulthandler is on (PYTHONFAULTHANDLER=1), it writes what each of its threads was doing.
        """
        happened = wait_until(lambda: look() or self._has_ended(), what, timeout, self._abort)
        assert happened is not _ENDED, f"status {self.returncode} before {what}:\n{self.output[-2000:]}"

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

    def _has_ended(self) -> object:
        return None if self.returncode is None else _ENDED

    def _abort(self) -> str:
        """Have it say what it was doing, and end it; its last words."""
        self._process.send_signal(signal.SIGABRT)
        self.end(_ABORT_SECONDS)
        return self.output[-_LAST_WORDS:]


def _is_open(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _be_a_child() -> None:
    """End with us; and heed Ctrl-C, which whoever runs us in the background may have had ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
