"""One class a server: how it is found, seeded with accounts, started for speed on one core, and ended.

A server always starts on a copy of a freshly seeded data folder, so that no scenario pays for what another
one left behind. Nothing here knows what is measured.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from attrs import define, field, frozen

from benchmarks import processes
from benchmarks.credentials import ACCOUNT_PREFIX, DOMAIN, ITERATIONS, SALT, verifier

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_START_SECONDS = 60.0
_SEED_SECONDS = 600.0


class CannotStart(Exception):
    """A server is not installed, or did not come up; the message says why."""


@frozen
class Site:
    """The place of a run: its scratch folder, its certificates, the server's core, refserver's Python."""

    work: Path
    certificates: Path
    core: int
    python: Path


@frozen
class Place:
    """The address at which a domain takes connections from other servers."""

    domain: str
    host: str
    port: int


@define
class Server(ABC):
    """A server under test, for `domain`. `start` makes it listen on `port` and `tls_port` of `host`."""

    name: ClassVar[str]
    rooms: ClassVar[str] = f"conference.{DOMAIN}"
    mechanism: ClassVar[str] = "scram-sha-1"
    able: ClassVar[frozenset[str] | None] = None
    """The scenarios it can run; None is all."""

    site: Site
    port: int = 0
    tls_port: int = 0
    domain: str = DOMAIN
    host: str = processes.LOOPBACK
    _process: subprocess.Popen[bytes] | None = None
    _seeded: dict[int, Path] = field(factory=dict)

    @abstractmethod
    def version(self) -> str:
        """Name and version of what is installed; raises CannotStart where nothing is."""

    @abstractmethod
    def seed(self, data: Path, accounts: int) -> None:
        """Make `data` a data folder that holds `accounts` accounts."""

    @abstractmethod
    def launch(self, data: Path) -> subprocess.Popen[bytes]:
        """Start the server on `data`; the process returned is the root of all its processes."""

    @property
    def pid(self) -> int:
        """The id of the running server's first process."""
        if self._process is None:
            raise CannotStart(f"{self.name} is not running")
        return self._process.pid

    def start(self, accounts: int) -> None:
        """Start afresh with that many accounts and return once it takes connections."""
        data = self._fresh_data(accounts)
        self.port, self.tls_port = processes.free_port(self.host), processes.free_port(self.host)
        self._process = process = self.launch(data)
        if not all(processes.answers(port, process, _START_SECONDS, self.host) for port in self.ports()):
            self.stop()
            raise CannotStart(f"{self.name} did not start; it said: {_tail(self.log)}")

    def ports(self) -> tuple[int, ...]:
        """Those that must take connections before the server counts as started."""
        return (self.port,)

    def stop(self) -> None:
        """End the server, if it runs."""
        if self._process is not None:
            processes.end(self._process)
            self._process = None

    @property
    def log(self) -> Path:
        """The file with the server's output."""
        return self.site.work / f"{self.name}.log"

    def _fresh_data(self, accounts: int) -> Path:
        if accounts not in self._seeded:
            template = self.site.work / f"{self.name}-{accounts}-accounts"
            shutil.rmtree(template, ignore_errors=True)
            template.mkdir()
            self.seed(template, accounts)
            self._seeded[accounts] = template
        data = self.site.work / f"{self.name}-data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self._seeded[accounts], data)
        return data

    def _spawn(self, command: list[str | Path], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return processes.start(command, self.site.core, self.log, env)

    def _run(self, command: list[str | Path], env: Mapping[str, str]) -> None:
        """Run a command of the server to its end; raises CannotStart if it fails."""
        process = self._spawn(command, env)
        try:
            code = process.wait(_SEED_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            processes.end(process)
        if code:
            raise CannotStart(f"{self.name}: {Path(command[0]).name} failed: {_tail(self.log)}")


@define
class Prosody(Server):
    """Prosody with the generational collector; accounts are written as the files its storage uses."""

    name = "prosody"

    def version(self) -> str:
        return f"Prosody {_package_version('prosody')}"

    def seed(self, data: Path, accounts: int) -> None:
        keys = verifier()
        content = (
            f'return {{ ["iteration_count"] = {ITERATIONS}; ["salt"] = "{SALT.decode()}"; '
            f'["stored_key"] = "{keys.stored_key.hex()}"; ["server_key"] = "{keys.server_key.hex()}"; }};\n'
        )
        folder = data / self.domain.replace(".", "%2e") / "accounts"
        folder.mkdir(parents=True)
        for number in range(accounts):
            (folder / f"{ACCOUNT_PREFIX}{number}.dat").write_text(content)

    def launch(self, data: Path) -> subprocess.Popen[bytes]:
        env = {
            "BENCH_DATA": str(data),
            "BENCH_CERTS": str(self.site.certificates),
            "BENCH_PORT": str(self.port),
            "BENCH_TLS_PORT": str(self.tls_port),
        }
        return self._spawn(["prosody", "--config", HERE / "conf/prosody.cfg.lua", "-F"], env)


@define
class Ejabberd(Server):
    """ejabberd without distribution (hence no epmd) and without busy waiting: its CPU time is work done."""

    name = "ejabberd"

    def version(self) -> str:
        return f"ejabberd {_package_version('ejabberd')}"

    def seed(self, data: Path, accounts: int) -> None:
        keys = verifier()
        stored, server, salt = (
            base64.b64encode(value).decode() for value in (keys.stored_key, keys.server_key, SALT)
        )
        write = (
            f'lists:foreach(fun(I) -> U = list_to_binary("{ACCOUNT_PREFIX}" ++ integer_to_list(I)), '
            f'ok = mnesia:dirty_write(passwd, {{passwd, {{U, <<"{DOMAIN}">>}}, '
            f'{{scram, <<"{stored}">>, <<"{server}">>, <<"{salt}">>, sha, {ITERATIONS}}}}}) end, '
            f"lists:seq(0, {accounts - 1})), init:stop()."
        )
        self.port, self.tls_port = processes.free_port(), processes.free_port()
        self._run([*self._command(data), "-eval", write], self._environment(data))

    def launch(self, data: Path) -> subprocess.Popen[bytes]:
        return self._spawn(self._command(data), self._environment(data))

    def _command(self, data: Path) -> list[str | Path]:
        limits = ["+P", "1000000", "+Q", "65536"]
        no_waiting = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
        place = ["-mnesia", "dir", f'"{data}/mnesia"']
        return ["erl", *limits, *no_waiting, "-noinput", *place, "-s", "ejabberd"]

    def _environment(self, data: Path) -> dict[str, str]:
        config = (HERE / "conf/ejabberd.yml").read_text()
        words = {"CERTS": str(self.site.certificates), "PORT": str(self.port), "TLS_PORT": str(self.tls_port)}
        for word, value in words.items():
            config = config.replace(f"@{word}@", value)
        (data / "ejabberd.yml").write_text(config)
        return {
            "EJABBERD_CONFIG_PATH": str(data / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(data / "ejabberd.log"),
            "ERL_CRASH_DUMP": str(data / "crash.dump"),
            "ERL_LIBS": _erlang_libraries(),
            "HOME": str(data),
        }


@define
class Refserver(Server):
    """refserver as `twistd` runs it, from this checkout, without limits on what a client may send."""

    name = "refserver"
    rooms = f"rooms.{DOMAIN}"

    def version(self) -> str:
        program = "import platform; print(platform.python_version(), platform.python_compiler())"
        python = subprocess.run([self.site.python, "-c", program], capture_output=True, text=True, check=True)
        revision = _output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
        return f"refserver {revision or 'without revision'} on Python {python.stdout.strip()}"

    def seed(self, data: Path, accounts: int) -> None:
        self._configure(data)
        self._run(
            [
                self.site.python,
                "-m",
                "benchmarks.seed_refserver",
                data / "bench.toml",
                self.domain,
                str(accounts),
            ],
            self._environment(),
        )

    def launch(self, data: Path) -> subprocess.Popen[bytes]:
        twistd = self.site.python.parent / "twistd"
        if not twistd.exists():
            raise CannotStart(f"refserver: no twistd beside {self.site.python.name}; install Twisted there")
        command: list[str | Path] = [self.site.python, twistd, "-n", "--pidfile=", "refserver"]
        return self._spawn([*command, "--config", self._configure(data)], self._environment())

    def _configure(self, data: Path) -> Path:
        limits = ("c2s_bytes_per_second", "s2s_bytes_per_second", "stanza_bytes", "connections_per_ip")
        others = ("registrations_per_ip_hour", "questions_per_patron_hour", "questions_per_domain_hour")
        listeners, federation = self._federation()
        config = data / "bench.toml"
        config.write_text(
            f'[server]\ndata = "{data}"\n'
            f"[listen]\nc2s = {self._endpoint(self.port)}\nc2s_tls = {self._endpoint(self.tls_port)}\n"
            f"{listeners}s2s_tls = []\ncomponent = []\n"
            f'[tls]\ncertificates = "{self.site.certificates}"\n'
            '[c2s]\nrequire_tls = false\nplain_without_tls = true\nregistration = "open"\n'
            f"{federation}"
            "[limits]\n" + "".join(f"{name} = 0\n" for name in (*limits, *others))
        )
        return config

    def _endpoint(self, port: int) -> str:
        return f'["tcp:{port}:interface={self.host}:backlog=1024"]'

    def _federation(self) -> tuple[str, str]:
        """The lines of `[listen]` and of `[s2s]` that are about other servers: there are none."""
        return "s2s = []\n", "[s2s]\nenabled = false\n"

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}


@define
class Relay(Server):
    """The lower bound: a relay in C that scans with expat, looks up and writes, and does nothing else."""

    name = "relay"
    mechanism = "plain"
    able = frozenset({"chat", "open", "idle"})

    def version(self) -> str:
        made = subprocess.run(
            ["make", "-s", "-C", HERE / "relay"], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise CannotStart("relay could not be built (gcc, libexpat1-dev)")
        return "C relay (lower bound)"

    def seed(self, data: Path, accounts: int) -> None:
        """It knows every account."""

    def launch(self, data: Path) -> subprocess.Popen[bytes]:
        return self._spawn([HERE / "relay/relay", str(self.port)], {})


SERVERS: tuple[type[Server], ...] = (Refserver, Prosody, Ejabberd, Relay)


def _package_version(package: str) -> str:
    version = _output(["dpkg-query", "--show", "--showformat=${Version}", package])
    if not version:
        raise CannotStart(f"{package} is not installed (apt-get install {package})")
    return version


def _erlang_libraries() -> str:
    """The ERL_LIBS of ejabberd's own start script: where Debian keeps its modules."""
    script = Path(shutil.which("ejabberdctl") or "/usr/sbin/ejabberdctl")
    for line in script.read_text().splitlines():
        if line.startswith("ERL_LIBS="):
            return line.partition("=")[2].strip("'\"")
    return ""


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _tail(log: Path, lines: int = 5) -> str:
    if not log.exists():
        return "nothing"
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:]) or "nothing"
