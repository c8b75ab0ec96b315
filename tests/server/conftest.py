"""What tests are given: a library in memory (tests/server/library.py), and a real server with two clients for
those that send bytes over sockets (tests/server/live.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.peers.authority import TestAuthority
from tests.server.elsewhere import Home
from tests.server.library import Library
from tests.server.live import Bystanders, LiveServer
from tests.server.strangers import Town

LIBRARY = "library.example"
LIBRARIES = ["library.example", *(f"library{number}.example" for number in range(2, 21))]
SETTINGS: dict[str, dict[str, Any]] = {
    "c2s": {"require_tls": False, "plain_without_tls": True, "registration": "open"},
    "limits": {"c2s_bytes_per_second": 0},
    "s2s": {"enabled": False},  # nobody is asked where other servers are
}
"""TLS is there for who asks; no rate limit, so that large stanzas need no patience."""


@pytest.fixture
def library() -> Library:
    """One in memory, with a clock of its own."""
    return Library()


@pytest.fixture
def home(library: Library) -> Home:
    """The server around it."""
    return Home(library)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    """The authority that clients of live servers trust."""
    return TestAuthority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[LiveServer]:
    """A server with one library and accounts `one`, `other`, `mia`, `pat`, `eve` and `u1` to `u40`."""
    names = ["one", "other", "mia", "pat", "eve", *(f"u{number}" for number in range(1, 41))]
    folder = tmp_path_factory.mktemp("live") / "server"
    with LiveServer(folder, certificates, {LIBRARY: names}, SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[LiveServer]:
    """A server as it is when nobody changes a setting, but for less patience, with twenty LIBRARIES.

    In each are accounts `mia`, `pat` and `eve`.
    """
    folder = tmp_path_factory.mktemp("guarded") / "server"
    accounts = {domain: ["mia", "pat", "eve"] for domain in LIBRARIES}
    with LiveServer(folder, certificates, accounts, {"c2s": {"unauthenticated_timeout": 3}}) as server:
        yield server


@pytest.fixture(scope="session")
def bystanders(live: LiveServer) -> Bystanders:
    """Two clients logged in before all else happens."""
    return Bystanders(live, f"one@{LIBRARY}/desk", f"other@{LIBRARY}/phone")


@pytest.fixture
def unharmed(live: LiveServer, bystanders: Bystanders) -> Iterator[None]:
    """Whatever the test does, the others go on chatting, and nothing unexpected is logged."""
    with live.watched():
        yield
    bystanders.chat()


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[Town]:
    """A server among others, whom it believes their certificates alone."""
    with Town(tmp_path_factory.mktemp("town"), certificates, "certificate") as among:
        yield among


@pytest.fixture(scope="session")
def believing_town(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[Town]:
    """The same with dialback."""
    with Town(tmp_path_factory.mktemp("believing"), certificates, "dialback") as among:
        yield among
