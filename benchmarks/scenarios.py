"""The scenarios, the figures taken from them and the goals those have to meet: all of it data.

How a scenario loads a server is told in xload/README.md. Goals are those of docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

Options = Mapping[str, Any]


@frozen
class Scenario:
    """One run of the generator on a freshly started server."""

    name: str
    command: str
    options: Options
    quick: Options
    """The options of a run of seconds, which shows only that everything works."""
    saturates: bool = False
    """The server should be the limit: if it did not use its core, something else did."""
    between: bool = False
    """Two servers take part, and half of the sessions are at each (federated.py)."""

    def chosen(self, quick: bool) -> dict[str, Any]:
        """The generator's options, without the leading dashes."""
        return {**self.options, **(self.quick if quick else {})}

    def accounts(self, quick: bool) -> int:
        """The number of accounts: `presence` needs one whose contacts all the others are."""
        return int(self.chosen(quick)["users"]) + (self.command == "presence")


@frozen
class Goal:
    """At most `factor` times the figure of `peer`; without a peer, at most `factor`."""

    factor: float
    peer: str = ""


@frozen
class Measure:
    """A line of the table: one field of one scenario's result, less is better."""

    title: str
    scenario: str
    key: str
    unit: str
    goals: tuple[Goal, ...] = field(factory=tuple)


_BRIEF: Options = {"duration": 1, "warmup": 0.5, "settle": 0.2, "drain": 0.5}
_CHAT: Options = {"users": 200, "window": 4, "duration": 5, "warmup": 2}
_IDLE: Options = {"users": 2000, "duration": 3, "settle": 2}
_IDLE_BRIEF: Options = {"users": 200, "duration": 0.5, "settle": 0.5}
_BETWEEN: Options = {"users": 100, "one-way": True, "duration": 5, "warmup": 2}
_LOGIN: Options = {"users": 100, "concurrency": 20, "duration": 5, "warmup": 2}
_LOGIN_BRIEF: Options = {"users": 20, "concurrency": 5, "duration": 1, "warmup": 0.3}

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("chat", "chat", _CHAT, {**_BRIEF, "users": 20}, saturates=True),
    Scenario("chat-tls", "chat", {**_CHAT, "tls": "starttls"}, {**_BRIEF, "users": 20}, saturates=True),
    Scenario(
        "open",
        "chat",
        {
            "users": 10000,
            "rate": 625,
            "arrival": "poisson",
            "sources": 4,
            "duration": 15,
            "warmup": 3,
            "settle": 3,
        },
        {**_BRIEF, "users": 300, "rate": 100},
    ),
    Scenario("idle", "idle", _IDLE, _IDLE_BRIEF),
    Scenario("idle-tls", "idle", {**_IDLE, "tls": "starttls"}, _IDLE_BRIEF),
    Scenario(
        "rooms",
        "muc",
        {"users": 100, "senders": 4, "duration": 5, "warmup": 2},
        {**_BRIEF, "users": 10, "senders": 2},
        saturates=True,
    ),
    Scenario(
        "presence",
        "presence",
        {"users": 500, "window": 2, "duration": 5, "warmup": 2},
        {**_BRIEF, "users": 20},
        saturates=True,
    ),
    Scenario("login-tls", "login", {**_LOGIN, "tls": "starttls"}, _LOGIN_BRIEF, saturates=True),
    Scenario("login", "login", _LOGIN, _LOGIN_BRIEF, saturates=True),
    Scenario(
        "federation",
        "chat",
        {**_BETWEEN, "window": 4},
        {**_BRIEF, "users": 20},
        saturates=True,
        between=True,
    ),
    Scenario(
        "federation-open",
        "chat",
        {**_BETWEEN, "rate": 300, "arrival": "poisson", "duration": 10},
        {**_BRIEF, "users": 20, "rate": 100},
        between=True,
    ),
    Scenario(
        "federation-idle",
        "streams",
        {"users": 2, "before": 20, "streams": 1000, "settle": 2},
        {"streams": 50, "settle": 0.2},
        between=True,
    ),
)

_CPU = "server CPU s per 1,000"
_PER_MESSAGE = "cpu_s_per_1000_messages"

MEASURES: tuple[Measure, ...] = (
    Measure(
        "chat, 200 sessions, saturated",
        "chat",
        "server_cpu_s_per_1000_messages",
        f"{_CPU} messages",
        (Goal(0.5, "ejabberd"),),
    ),
    Measure(
        "chat, 200 sessions over TLS, saturated",
        "chat-tls",
        "server_cpu_s_per_1000_messages",
        f"{_CPU} messages",
        (Goal(0.5, "ejabberd"),),
    ),
    Measure(
        "chat, 10,000 sessions, 625 messages/s",
        "open",
        "server_cpu_s_per_1000_messages",
        f"{_CPU} messages",
    ),
    Measure("the same: time to arrive, p50", "open", "latency_ms.p50", "ms", (Goal(1.2, "prosody"),)),
    Measure(
        "the same: time to arrive, p99",
        "open",
        "latency_ms.p99",
        "ms",
        (Goal(1, "prosody"), Goal(1, "ejabberd")),
    ),
    Measure("idle session", "idle", "rss_kib_per_session", "KiB", (Goal(20),)),
    Measure("idle session over TLS", "idle-tls", "rss_kib_per_session", "KiB", (Goal(35),)),
    Measure(
        "room of 100",
        "rooms",
        "server_cpu_s_per_1000_deliveries",
        f"{_CPU} deliveries",
        (Goal(1, "ejabberd"),),
    ),
    Measure(
        "presence to 500 contacts",
        "presence",
        "server_cpu_s_per_1000_deliveries",
        f"{_CPU} deliveries",
        (Goal(1, "ejabberd"),),
    ),
    Measure(
        "log-in, SCRAM-SHA-1 over STARTTLS",
        "login-tls",
        "server_cpu_s_per_1000_logins",
        f"{_CPU} log-ins",
        (Goal(1, "prosody"),),
    ),
    Measure("log-in, SCRAM-SHA-1, plain", "login", "server_cpu_s_per_1000_logins", f"{_CPU} log-ins"),
    *(
        measure
        for scenario, load, goals in (
            ("federation", "saturated", (Goal(0.5, "prosody"),)),
            ("federation-open", "300 messages/s", ()),
        )
        for measure in (
            Measure(
                f"to Prosody, {load}: the sending end",
                scenario,
                f"sending.server_{_PER_MESSAGE}",
                f"{_CPU} messages",
                goals,
            ),
            Measure(
                f"from Prosody, {load}: the receiving end",
                scenario,
                f"receiving.peer_{_PER_MESSAGE}",
                f"{_CPU} messages",
                goals,
            ),
            Measure(
                f"to its like, {load}: both ends",
                scenario,
                f"both.{_PER_MESSAGE}",
                f"{_CPU} messages",
                goals,
            ),
        )
    ),
    Measure(
        "to its like, 300 messages/s: time to arrive, p50", "federation-open", "both.latency_ms.p50", "ms"
    ),
    Measure("the same, p99", "federation-open", "both.latency_ms.p99", "ms", (Goal(1, "prosody"),)),
    Measure(
        "idle stream of another server", "federation-idle", "rss_kib_per_stream", "KiB", (Goal(1, "prosody"),)
    ),
)
