"""`python benchmarks/run.py`: refserver beside Prosody and ejabberd, in one run, and the table of ratios.

The servers have one core, the generator the other. Each scenario starts each server anew, in turn, as often
as `--repeat` says; the table holds medians. Results go to benchmarks/results/, or where `--out` says:
results.jsonl (a line on the machine, then one a run), table.txt and table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import credentials, interpreter, processes
from benchmarks.federated import FEDERATED, Pairs
from benchmarks.generator import Generator, RunFailed
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import HERE, SERVERS, CannotStart, Server, Site
from benchmarks.table import Result, Table, markdown, text


def main() -> int:
    """Run as asked; 0 if every server that is here gave all its figures, 1 if one did not."""
    options = _options()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="refserver-benchmark-"))
    try:
        with (out / "results.jsonl").open("w") as lines:
            return _run(options, work, out, lines)
    except KeyboardInterrupt:
        print("interrupted; the runs so far are in results.jsonl", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"logs and data are in {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare refserver with the other XMPP servers of this machine."
    )
    servers = [server.name for server in SERVERS]
    scenarios = [scenario.name for scenario in SCENARIOS]
    add = parser.add_argument
    add("--servers", nargs="+", choices=servers, default=servers, metavar="NAME", help=", ".join(servers))
    add(
        "--scenarios",
        nargs="+",
        choices=scenarios,
        default=scenarios,
        metavar="NAME",
        help=", ".join(scenarios),
    )
    add("--repeat", type=int, default=1, help="runs of each, interleaved; the table has medians")
    add("--quick", action="store_true", help="a few minutes in all: shows that it works, not how fast")
    add("--python", help="refserver's interpreter (default: one made from /usr/bin/python3)")
    add("--out", default=HERE / "results", help="folder for results.jsonl, table.txt and table.md")
    add("--keep", action="store_true", help="keep the scratch folder with logs and data")
    return parser.parse_args()


def _run(options: argparse.Namespace, work: Path, out: Path, lines: TextIO) -> int:
    processes.raise_file_limit()
    server_core, generator_core = processes.cores()
    if server_core == generator_core:
        print("only one core: server and generator share it, the figures mean little", file=sys.stderr)
    try:
        Generator.build()
        python = (
            interpreter.choose(options.python) if "refserver" in options.servers else Path(sys.executable)
        )
    except (RunFailed, CannotStart) as error:
        print(error, file=sys.stderr)
        return 1
    credentials.write_certificate(work / "certificates")
    site = Site(work=work, certificates=work / "certificates", core=server_core, python=python)
    servers, versions = _installed([kind(site) for kind in SERVERS if kind.name in options.servers])
    environment = _environment(versions, options)
    _write(lines, environment)
    results, failures = _measure(servers, Pairs(site), Generator(generator_core), options, lines)
    if results:
        measured = {result.server for result in results}
        compared = [server.name for server in servers if server.name in measured]
        _report(Table(compared, results), environment, out)
    return 1 if failures else 0


def _installed(servers: Sequence[Server]) -> tuple[list[Server], dict[str, str]]:
    """Those of `servers` that are here, and their versions; says which are not."""
    versions = {}
    for server in servers:
        try:
            versions[server.name] = server.version()
        except CannotStart as error:
            print(f"left out: {error}", file=sys.stderr)
    return [server for server in servers if server.name in versions], versions


def _measure(
    servers: Sequence[Server], pairs: Pairs, generator: Generator, options: argparse.Namespace, lines: TextIO
) -> tuple[list[Result], int]:
    """Every scenario on every server in turn; returns the results and how many runs failed.

    A server that once did not start is left out of the rest.
    """
    results: list[Result] = []
    failures = 0
    broken: set[str] = set()
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in options.scenarios]
    turns = product(range(1, options.repeat + 1), scenarios, servers)
    for repeat, scenario, server in turns:
        if server.name in broken or not _able(server, scenario):
            continue
        try:
            figures = _once(server, pairs, scenario, generator, options.quick)
        except (CannotStart, RunFailed) as error:
            print(f"FAILED {server.name} {scenario.name}: {error}", file=sys.stderr)
            failures += 1
            if isinstance(error, CannotStart):
                broken.add(server.name)
            continue
        run = {"server": server.name, "scenario": scenario.name, "repeat": repeat}
        _write(lines, {**run, "figures": figures})
        results.append(Result(server.name, scenario.name, repeat, figures))
        used = f"server CPU {figures.get('server_cpu_pct', 0):.0f} %"
        print(f"{server.name} {scenario.name} {repeat}: done, {used}", file=sys.stderr)
    return results, failures


def _able(server: Server, scenario: Scenario) -> bool:
    if scenario.between:
        return server.name in FEDERATED
    return server.able is None or scenario.name in server.able


def _once(
    server: Server, pairs: Pairs, scenario: Scenario, generator: Generator, quick: bool
) -> dict[str, Any]:
    if scenario.between:
        if scenario.command == "streams":
            return pairs.measure_idle(server.name, scenario.chosen(quick))
        return pairs.measure(server.name, generator, scenario.accounts(quick), scenario.chosen(quick))
    try:
        server.start(scenario.accounts(quick))
        return generator.run(server, scenario.command, scenario.chosen(quick))
    finally:
        server.stop()


def _environment(versions: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Return the facts of the machine that the figures depend on."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in processors if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "servers": versions,
        "repeat": options.repeat,
        "quick": options.quick,
    }


def _write(lines: TextIO, record: dict[str, Any]) -> None:
    lines.write(json.dumps(record) + "\n")
    lines.flush()


def _report(table: Table, environment: dict[str, Any], out: Path) -> None:
    rows, notes = table.rows(), table.notes()
    about = (
        f"{environment['date']} · {environment['processor']}, {environment['cores']} cores · "
        f"{' · '.join(environment['servers'].values())} · median of {environment['repeat']}"
        f"{' · QUICK: not for quoting' if environment['quick'] else ''}"
    )
    plain = "\n".join([about, "", text(rows), *(f"! {note}" for note in notes)])
    (out / "table.txt").write_text(plain + "\n")
    (out / "table.md").write_text(
        "\n".join([about, "", markdown(rows), "", *(f"- {n}" for n in notes)]) + "\n"
    )
    print(plain)


if __name__ == "__main__":
    sys.exit(main())
