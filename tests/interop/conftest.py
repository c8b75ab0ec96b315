"""Fixtures of the tests against real peers.

A peer that is not installed skips its tests with a plain notice; where CI=true it fails them.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.interop.peers import (
    EJABBERD,
    LIBRARY,
    PROSODY,
    Dnsmasq,
    EjabberdServer,
    Library,
    PeerServer,
    Places,
    Profanity,
    ProsodyServer,
    RefserverProcess,
    Region,
    SlixmppClient,
    TestAuthority,
    new_places,
)
from tests.interop.peers.dnsmasq import why_not

T = TypeVar("T")
Started = Callable[[AbstractContextManager[T]], T]

# Tests send faster than people type, and all of them from one address.
UNLIMITED = {
    "limits": {
        "c2s_bytes_per_second": 0,
        "connections_per_ip": 0,
        "questions_per_patron_hour": 0,
        "questions_per_domain_hour": 0,
    },
}

_libraries = itertools.count(1)
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def require(*programs: str) -> None:
    """Skip the test, or fail it in CI, unless all these programs are installed."""
    path = f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}"
    missing = [program for program in programs if not shutil.which(program, path=path)]
    if missing:
        _do_without(f"not installed here: {', '.join(missing)}")


def _do_without(notice: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{notice} (CI=true: no peer may be missing)", pytrace=False)
    pytest.skip(notice)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    """The authority that every client of the run trusts."""
    return TestAuthority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def started() -> Iterator[Callable[[AbstractContextManager[T]], T]]:
    """Enter a context for the rest of the test: `client = started(SlixmppClient(…))`. The last ends first."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def new_folder(tmp_path: Path) -> Callable[[str], Path]:
    """A new folder each time it is called, named after what is in it."""
    numbers = itertools.count(1)

    def make(name: str) -> Path:
        folder = tmp_path / f"{name}{next(numbers)}"
        folder.mkdir()
        return folder

    return make


@pytest.fixture
def start_prosody(
    started: Started[ProsodyServer], new_folder: Callable[[str], Path], authority: TestAuthority
) -> Callable[..., ProsodyServer]:
    """`start_prosody("example.org")`: a Prosody for that domain; further arguments as for PeerServer."""
    require("prosody")
    return lambda domain, **more: started(ProsodyServer(new_folder("prosody"), domain, authority, **more))


@pytest.fixture
def start_ejabberd(
    started: Started[EjabberdServer], new_folder: Callable[[str], Path], authority: TestAuthority
) -> Callable[..., EjabberdServer]:
    """`start_ejabberd("example.org")`: an ejabberd for that domain; further arguments as for PeerServer."""
    require("ejabberdctl", "erl")
    return lambda domain, **more: started(EjabberdServer(new_folder("ejabberd"), domain, authority, **more))


@pytest.fixture
def start_refserver(
    started: Started[RefserverProcess], new_folder: Callable[[str], Path], authority: TestAuthority
) -> Callable[..., RefserverProcess]:
    """`start_refserver(settings={...})`: a refserver without libraries yet."""
    return lambda **more: started(RefserverProcess(new_folder("refserver"), authority, **more))


@pytest.fixture(scope="session")
def shared_refserver(
    tmp_path_factory: pytest.TempPathFactory, authority: TestAuthority
) -> Iterator[RefserverProcess]:
    """The refserver of all tests that need none of their own: each has a library of its own in it."""
    folder = tmp_path_factory.mktemp("refserver")
    with RefserverProcess(folder, authority, UNLIMITED, measured=True) as server:
        yield server


@pytest.fixture
def library(shared_refserver: RefserverProcess) -> Iterator[Library]:
    """A new library, to be `set_up`; afterwards the server's log must hold nothing unexpected."""
    known = len(shared_refserver.log)
    with Library(shared_refserver, f"library{next(_libraries)}.example") as new:
        yield new
    assert complaints(shared_refserver.log[known:]) == []


@pytest.fixture
def dnsmasq(started: Started[Dnsmasq], new_folder: Callable[[str], Path]) -> Dnsmasq:
    """A name server that answers as soon as it is told what to `publish`."""
    require("dnsmasq", "unshare")
    reason = why_not()
    if reason:
        _do_without(reason)
    return started(Dnsmasq(new_folder("dnsmasq")))


@pytest.fixture
def places() -> Places:
    """The addresses of the servers of a region."""
    return new_places()


@pytest.fixture
def region(start_refserver: Callable[..., RefserverProcess], places: Places) -> Iterator[Region]:
    """A library with the librarian mia; afterwards the server's log must hold nothing unexpected."""
    routes = {domain: place for domain, place in places.items() if not domain.endswith(LIBRARY)}
    limits: dict[str, Any] = {"limits": UNLIMITED["limits"] | {"s2s_bytes_per_second": 0}}
    server = start_refserver(settings=limits, s2s_port=places[LIBRARY][1], routes=routes)
    with Library(server, LIBRARY) as library:
        library.set_up(librarians=("mia",))
        yield Region(server, library, places)
    assert complaints(server.log) == []


@pytest.fixture(params=["prosody", "ejabberd"])
def peer(request: pytest.FixtureRequest, region: Region) -> PeerServer:
    """Each of the other servers in turn, strict about certificates."""
    start = request.getfixturevalue(f"start_{request.param}")
    return region.start(start, {"prosody": PROSODY, "ejabberd": EJABBERD}[request.param])


def complaints(log: str) -> list[str]:
    """The lines of a server's log that tell of something unexpected."""
    wrong = re.compile(r"Traceback|Unhandled|[Cc]ritical|Error\b|failed")
    return [line for line in log.splitlines() if wrong.search(line)]


@pytest.fixture
def slixmpp_client(started: Started[SlixmppClient], authority: TestAuthority) -> Callable[..., SlixmppClient]:
    """`slixmpp_client("mia@example.org", "password", port)`: a logged-in slixmpp over verified TLS."""
    return lambda jid, password, port, **more: started(
        SlixmppClient(jid, password, authority.ca, port, **more)
    )


@pytest.fixture
def profanity(
    started: Started[Profanity], new_folder: Callable[[str], Path], authority: TestAuthority
) -> Callable[..., Profanity]:
    """`profanity("pat@example.org", "password", port)`: a logged-in profanity over verified TLS."""
    require("profanity", "tmux", "openssl")
    return lambda jid, password, port, **more: started(
        Profanity(new_folder("profanity"), jid, password, authority, port, **more)
    )
