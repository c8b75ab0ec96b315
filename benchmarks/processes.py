"""Processes of a benchmark run: started on one core each, ended by their own id, never left behind."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom

LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_LOW_PORT, _HIGH_PORT = 20000, 30000  # below the range from which the generator's own sockets come


def raise_file_limit() -> int:
    """Allow as many open files as the machine permits; children inherit it. Returns the new limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cores() -> tuple[int, int]:
    """The core for the server and the core for the generator; the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def start(
    command: Sequence[str | Path], core: int, log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` on `core`; it ends when this process ends, however that happens."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            cwd=cwd,
            preexec_fn=confined_to(core),  # noqa: PLW1509 - there are no threads here
        )


def confined_to(core: int) -> Callable[[], None]:
    """Bind a child to one core and to its parent's life, before it becomes another program."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def confine() -> None:
        os.sched_setaffinity(0, {core})
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return confine


def end(process: subprocess.Popen[bytes], patience: float = 15) -> None:
    """Ask `process` to end and wait; after `patience` seconds it is killed."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port of `host` that nobody listens on now."""
    random = SystemRandom()
    while True:
        port = random.randrange(_LOW_PORT, _HIGH_PORT)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port


def answers(port: int, process: subprocess.Popen[bytes], patience: float, host: str = LOOPBACK) -> bool:
    """True if `process` takes connections on `port` of `host` within `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False
