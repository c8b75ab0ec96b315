"""A process that writes to servers that never answer, and prints what became of it as JSON; run by a test.

python -m tests.server.black_hole_process FOLDER COUNT

COUNT messages go to each of three domains: `silent.example` takes the connection and says nothing,
`deaf.example` takes the stream and one message more, and stops reading, and for `nameless.example` the name
server does not answer. Meanwhile somebody writes to `calm.example`. The deadlines of the server that writes
are on a clock of their own, which stands still until all is written: nothing depends on the machine's speed.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock, react
from twisted.names.client import Resolver as NameClient

from refserver.net.mux import Mux
from refserver.s2s.acknowledgement import ASK_SECONDS
from refserver.s2s.resolver import Resolver, Target
from refserver.stanza import Stanza
from tests.server.federated import FederatedServer
from tests.server.loopback import reactor, until

HERE = "library.example"
HOLES = ("silent.example", "deaf.example", "nameless.example")


def memory(what: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at the most."""
    return int(re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024


class Returned:
    """Counts what comes back to mia, by domain and condition."""

    def __init__(self) -> None:
        self.by_domain: dict[str, Counter[str]] = {hole: Counter() for hole in HOLES}

    def deliver(self, stanza: Stanza) -> None:
        if stanza.type == "error" and stanza.from_ is not None:
            condition = stanza.element[0][0].tag.partition("}")[2]
            self.by_domain[stanza.from_.domainpart][condition] += 1

    def total(self, domain: str) -> int:
        return sum(self.by_domain[domain].values())


class Deaf(FederatedServer):
    """Stops reading with the first message, and takes no stream after that."""

    def _deliver(self, stanza: Stanza) -> None:
        super()._deliver(stanza)
        for connection in self.service.connections:
            connection._connection.throttled(True)
        self.places[HOLES[1]] = self.places[HOLES[0]]


def make(folder: Path, mux: Mux, silent: socket.socket, names: socket.socket) -> list[FederatedServer]:
    """Our server, the deaf one and the calm one."""
    places: dict[str, Target] = {HOLES[0]: Target(*silent.getsockname())}
    here = FederatedServer(mux, folder, places, [HERE], bidi=False)
    asked = Resolver(NameClient(servers=[names.getsockname()], reactor=reactor), reactor)
    known = here.service.resolver.targets

    async def targets(domain: str) -> list[Target]:
        return await (asked.targets(domain) if domain == HOLES[2] else known(domain))

    resolver: Any = here.service.resolver
    resolver.targets = targets
    deaf = Deaf(mux, folder, places, [HOLES[1]], bidi=False)
    calm = FederatedServer(mux, folder, places, ["calm.example"], bidi=False)
    return [here, deaf, calm]


async def write(folder: Path, count: int) -> dict[str, Any]:
    """Everything; what is to be known of it."""
    mux = Mux(reactor)
    mux.start()
    silent = socket.create_server(("127.0.0.1", 0))
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 0))
    here, deaf, calm = make(folder, mux, silent, names)
    here.service.pool.connector.clock = clock = Clock()
    for server in (here, deaf, calm):
        await server.listen()
    returned = Returned()
    here.router.accounts = returned
    pool, budget = here.service.pool, here.service.pool.budget.left
    here.send(f"mia@{HERE}/desk", "pat@calm.example")
    here.send(f"mia@{HERE}/desk", f"pat@{HOLES[1]}")
    await calm.until_got(1)
    await deaf.until_got(1)
    before, least, latency = memory("VmRSS"), budget, 0.0
    for number in range(count):
        for hole in HOLES:
            here.send(f"mia@{HERE}/desk", f"pat@{hole}", "x" * 200)
        if number % (count // 5) == 0:
            least = min(least, pool.budget.left)
            latency = max(latency, await spoken(here, calm))
    least = min(least, pool.budget.left)
    await give_up(here, clock)
    latency = max(latency, await spoken(here, calm))
    await here.until_confirmed()
    return {
        "returned": returned.by_domain,
        "arrived": len(deaf.got),
        "latency": latency,
        "budget used": budget - least,
        "budget lost": budget - pool.budget.left,
        "attempts": len(pool.attempts),
        "memory": memory("VmHWM") - before,
    }


async def give_up(here: FederatedServer, clock: Clock) -> None:
    """Let the deadlines pass, but not before the calm server has confirmed all."""
    pool = here.service.pool
    clock.advance(ASK_SECONDS)
    await until(lambda: all(queue.idle for queue in pool if queue.remote not in HOLES))

    def are_over() -> bool:
        clock.advance(1.0)
        pool.look()
        return all(queue.idle for queue in pool)

    await until(are_over)


async def spoken(here: FederatedServer, calm: FederatedServer) -> float:
    """Seconds that a message to the calm server takes."""
    began, before = reactor.seconds(), len(calm.got)
    here.send(f"mia@{HERE}/desk", "pat@calm.example")
    await calm.until_got(before + 1)
    return float(reactor.seconds() - began)


def main(_: Any, folder: str, count: str) -> Any:
    """Run it, and print."""
    return ensureDeferred(write(Path(folder), int(count))).addCallback(
        lambda figures: print(json.dumps(figures))
    )


if __name__ == "__main__":
    react(main, sys.argv[1:])
