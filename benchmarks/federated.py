"""Two servers that write to each other, each for its own domain and on its own loopback address.

Between them is TLS with certificates of an authority made for the run, which both sides verify. `Pairs` knows
which pairs are measured for a server, and what is read from them. Both share the servers' core: CPU seconds
are each process' own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, evolve

from benchmarks import processes
from benchmarks.generator import Generator
from benchmarks.server_streams import Visitor, resident_kib
from benchmarks.servers import HERE, CannotStart, Place, Prosody, Refserver, Site
from refserver.app.certificates import Certificate, ensure

__all__ = ["FEDERATED", "Pair", "Pairs", "combined", "pairs_of"]

_REFERENCE = "prosody"  # the server at the other end when one end is measured


@define
class FederatedProsody(Prosody):
    """Prosody with what Debian's configuration loads for other servers: dialback and stream management."""

    here: Place | None = None
    other: Place | None = None

    def ports(self) -> tuple[int, ...]:
        return super().ports() if self.here is None else (*super().ports(), self.here.port)

    def launch(self, data: Path) -> subprocess.Popen[bytes]:
        assert self.here is not None
        assert self.other is not None
        env = {
            "BENCH_DATA": str(data),
            "BENCH_CERTS": str(self.site.certificates),
            "BENCH_MODULES": str(HERE / "conf/prosody-modules"),
            "BENCH_DOMAIN": self.domain,
            "BENCH_HOST": self.host,
            "BENCH_PORT": str(self.port),
            "BENCH_S2S_PORT": str(self.here.port),
            "BENCH_OTHER": self.other.domain,
            "BENCH_OTHER_HOST": self.other.host,
            "BENCH_OTHER_PORT": str(self.other.port),
        }
        return self._spawn(["prosody", "--config", HERE / "conf/prosody-s2s.cfg.lua", "-F"], env)


@define
class FederatedRefserver(Refserver):
    """refserver as it ships, told where the other domain is."""

    here: Place | None = None
    other: Place | None = None

    def ports(self) -> tuple[int, ...]:
        return super().ports() if self.here is None else (*super().ports(), self.here.port)

    def _federation(self) -> tuple[str, str]:
        if self.here is None or self.other is None:  # while its accounts are made
            return super()._federation()
        where = f'"{self.other.domain}" = "{self.other.host}:{self.other.port}"'
        trust = f'trusted_ca = "{self.site.certificates / "ca.pem"}"'
        return f"s2s = {self._endpoint(self.here.port)}\n", f"[s2s]\n{trust}\nhosts = {{ {where} }}\n"


_Federated: TypeAlias = FederatedProsody | FederatedRefserver

_CLASSES: dict[str, type[FederatedProsody] | type[FederatedRefserver]] = {
    each.name: each for each in (FederatedProsody, FederatedRefserver)
}
FEDERATED = frozenset(_CLASSES)
"""The names of the servers that can be measured so."""


Pair: TypeAlias = tuple[str, str]  # the sending server, the receiving one


def pairs_of(name: str) -> list[Pair]:
    """Return the measurements for server `name`, each pair once."""
    return list(dict.fromkeys(((name, _REFERENCE), (_REFERENCE, name), (name, name))))


def combined(name: str, runs: Mapping[Pair, dict[str, Any]]) -> dict[str, Any]:
    """xload's figures of the runs as `sending`, `receiving` and `both`; beside them what makes them doubtful.

    Doubtful are the losses of all runs, the most that disturbed one of them, and an idle core.
    """
    return {
        "sending": runs[name, _REFERENCE],
        "receiving": runs[_REFERENCE, name],
        "both": runs[name, name],
        **_doubts(runs.values()),
    }


class Pairs:
    """Starts pairs of servers in a folder of the run's, and keeps the accounts once made."""

    def __init__(self, site: Site) -> None:
        self._site = evolve(site, work=site.work / "federation", certificates=site.work / "authority")
        self._made: dict[tuple[str, str], _Federated] = {}

    def measure_idle(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        """Return the memory of an idle server stream in server `name`: `rss_kib_per_stream`."""
        count = options["streams"]
        north, south = self._server(name, "north", 1), self._server(name, "south", 2)
        self._introduce(north, south)
        assert south.here is not None
        visitor = Visitor(north.domain, self._site.certificates)
        try:
            south.start(options["users"])
            with visitor.streams(south.here, options["before"]):
                before = resident_kib(south.pid)
                with visitor.streams(south.here, count):
                    time.sleep(options["settle"])
                    grown = resident_kib(south.pid) - before
        finally:
            south.stop()
        return {"streams": count, "rss_kib_per_stream": grown / count}

    def measure(
        self, name: str, generator: Generator, accounts: int, options: dict[str, Any]
    ) -> dict[str, Any]:
        """The figures of server `name`: of each of its ends with Prosody at the other, and of both."""
        runs = {pair: self._run(*pair, generator, accounts, options) for pair in pairs_of(name)}
        return combined(name, runs)

    def _run(
        self, sender: str, receiver: str, generator: Generator, accounts: int, options: dict[str, Any]
    ) -> dict[str, Any]:
        north, south = self._server(sender, "north", 1), self._server(receiver, "south", 2)
        self._introduce(north, south)
        try:
            south.start(accounts)
            north.start(accounts)
            figures = generator.run_between(north, south, options)
        finally:
            north.stop()
            south.stop()
        return {**figures, **_per_thousand(figures)}

    @staticmethod
    def _introduce(north: _Federated, south: _Federated) -> None:
        """Tell each where it is and where the other one is."""
        north.here, south.here = (
            Place(each.domain, each.host, processes.free_port(each.host)) for each in (north, south)
        )
        north.other, south.other = south.here, north.here

    def _server(self, name: str, side: str, number: int) -> _Federated:
        if (name, side) not in self._made:
            if name not in _CLASSES:
                raise CannotStart(f"{name} has no configuration for other servers here")
            domain = f"{side}.test"
            ensure(self._site.certificates, [Certificate(domain)])
            site = evolve(self._site, work=self._site.work / side)
            site.work.mkdir(parents=True, exist_ok=True)
            self._made[name, side] = _CLASSES[name](site, domain=domain, host=f"127.0.0.{number}")
        return self._made[name, side]


def _per_thousand(figures: dict[str, Any]) -> dict[str, float]:
    """Return the cost of both ends together; nothing if one of them was not measured."""
    sending, receiving = (figures.get(f"{end}_cpu_s_per_1000_messages") for end in ("server", "peer"))
    if sending is None or receiving is None:
        return {}
    return {"cpu_s_per_1000_messages": sending + receiving}


def _doubts(runs: Iterable[dict[str, Any]]) -> dict[str, float]:
    all_runs = list(runs)
    losses = {
        key: sum(run.get(key, 0) for run in all_runs) for key in ("lost", "errors", "failed", "dropped")
    }
    most = {key: max(run.get(key, 0) for run in all_runs) for key in ("generator_cpu_pct", "other_cpu_pct")}
    busy = min(run.get("server_cpu_pct", 0) + run.get("peer_cpu_pct", 0) for run in all_runs)
    return {**losses, **most, "server_cpu_pct": busy}
