"""refserver itself, as an operator runs it: `twistd -n refserver --config FILE`, beside it `refserverctl`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.interop.peers.address import ServerAddress
from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.dnsmasq import asking
from tests.interop.peers.ports import free_port
from tests.interop.peers.process import PeerProcess

_ROOT = Path(__file__).resolve().parents[3]
_COVERED_TWISTD = Path(__file__).with_name("covered_twistd.py")
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_CTL_SECONDS = 30.0
_READY = "refserver is ready"
_MEASURE = "COVERAGE_PROCESS_CONFIG"  # there while coverage is measured
_CTL = "import sys; from refserver.app.ctl import main; sys.exit(main())"


class RefserverProcess:
    """A real server in its own folder, with certificates of the tests' authority, on ports of its own.

    `settings` has tables as the configuration file has them, and replaces what stands in `_configuration`.
    `domains` have certificates from the start, `routes` says where foreign domains are found; all others are
    looked up as `resolv_conf` says, if that is given. Its lines are only counted, where coverage is, if
    `measured`: that costs as much again. As a context manager it runs inside. Its ports stay the same over
    restarts.
    """

    def __init__(
        self,
        folder: Path,
        authority: TestAuthority,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        domains: Sequence[str] = ("library.example",),
        host: str = "127.0.0.1",
        s2s_port: int = 0,
        routes: Mapping[str, tuple[str, int]] | None = None,
        resolv_conf: Path | None = None,
        measured: bool = False,
    ) -> None:
        self.folder = folder
        self.authority = authority
        self.host = host
        self.port = free_port(host)
        self.tls_port = free_port(host)
        self.s2s_port = s2s_port or free_port(host)
        self.s2s_tls_port = free_port(host)
        self.resolv_conf = resolv_conf
        self.measured = measured and _MEASURE in os.environ
        self.routes = {domain: ServerAddress(*where) for domain, where in (routes or {}).items()}
        self._settings = settings or {}
        self._process: PeerProcess | None = None
        authority.certify(*domains)
        folder.mkdir(parents=True, exist_ok=True)
        self.write_configuration()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "refserver.toml"

    @property
    def address(self) -> ServerAddress:
        """The address of its port for other servers."""
        return ServerAddress(self.host, self.s2s_port)

    @property
    def process(self) -> PeerProcess:
        """Its process, while it runs."""
        assert self._process is not None, "refserver was not started"
        return self._process

    @property
    def log(self) -> str:
        """Its output, with that of earlier runs."""
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it on its data; return once it is ready. AssertionError holds what it said."""
        twistd = _COVERED_TWISTD if self.measured else Path(sys.executable).parent / "twistd"
        command: list[str | Path] = [sys.executable, twistd, "-n", "--pidfile=", "refserver"]
        if not self.measured:
            command = ["env", "-u", _MEASURE, *command]
        command = asking(self.resolv_conf, [*command, "--config", self.config])
        earlier = len(self.log)
        self._process = PeerProcess(command, self.folder / "output", self._environment(), cwd=self.folder)
        try:
            self._process.wait_for_port(self.host, self.port, _START_SECONDS)
            # The port comes before the control socket; this line after both.
            self._process.wait_for(lambda: _READY in self.log[earlier:], f'"{_READY}"', _START_SECONDS)
        except AssertionError:
            self.kill()
            raise

    def stop(self) -> int | None:
        """End it in order (SIGTERM) and return its status; None if it did not run.

        In order, twistd ends by that same signal: the status is -SIGTERM; -SIGKILL is one that was too late.
        """
        process, self._process = self._process, None
        return process.end(_STOP_SECONDS) if process else None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); its data stay as they were at that moment."""
        process, self._process = self._process, None
        if process:
            process.kill()

    def restart(self) -> None:
        """Stop it in order and start it on the same data and ports."""
        self.stop()
        self.start()

    def ctl(self, *words: str, stdin: str = "") -> str:
        """Run `refserverctl` and return what it printed; AssertionError unless its status is 0."""
        done = self.try_ctl(*words, stdin=stdin)
        said = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"refserverctl {' '.join(words)}: status {done.returncode}: {said}"
        return done.stdout

    def try_ctl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `refserverctl` and return whatever came of it."""
        return subprocess.run(
            [sys.executable, "-c", _CTL, "-c", self.config, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_CTL_SECONDS,
            env={**os.environ, **self._environment()},
            cwd=self.folder,
            check=False,
        )

    def add_library(self, domain: str, name: str = "") -> None:
        """Add a library. Its certificate is there if the domain was named at the start."""
        self.ctl("library", "add", domain, *(["--name", name] if name else []))

    def add_account(self, jid: str, password: str) -> None:
        """Add an account of one of its libraries."""
        self.ctl("account", "add", jid, "--password-stdin", stdin=f"{password}\n")

    def write_configuration(self) -> None:
        """Write the configuration file anew, with what `routes` holds now."""
        tables = self._configuration()
        for table, values in self._settings.items():
            tables[table] = {**tables.get(table, {}), **values}
        self.config.write_text("".join(_table(name, values) for name, values in tables.items()))

    def _configuration(self) -> dict[str, dict[str, Any]]:
        def tcp(port: int) -> list[str]:
            return [f"tcp:{port}:interface={self.host}"]

        return {
            "server": {"data": "data"},
            "listen": {
                "c2s": tcp(self.port),
                "c2s_tls": tcp(self.tls_port),
                "s2s": tcp(self.s2s_port),
                "s2s_tls": tcp(self.s2s_tls_port),
                "component": [],
            },
            "c2s": {"scram_iterations": 4096},  # the least: tests log in often
            "tls": {"certificates": str(self.authority.folder)},
            "s2s": {
                "trusted_ca": str(self.authority.ca),
                "hosts": {domain: str(route) for domain, route in self.routes.items()},
            },
        }

    @staticmethod
    def _environment() -> dict[str, str]:
        return {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def _table(name: str, values: Mapping[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: object) -> str:
    """A value as TOML writes it; texts here hold no quotes, backslashes or control characters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = (f'"{key}" = {_value(item)}' for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return f'"{value}"' if isinstance(value, str) else str(value)
