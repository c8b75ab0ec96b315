"""The control socket of a running server: each request is a transaction, and holds at once."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from refserver.app.commands import Refused, Request, load_requests
from refserver.app.commands.accounts import (
    AddAccount,
    DisableAccount,
    EnableAccount,
    ListAccounts,
    RemoveAccount,
    SetPassword,
)
from refserver.app.commands.blocks import AddAllow, AddBlock, AllowOnly, RemoveAllow, RemoveBlock
from refserver.app.commands.context import Caller
from refserver.app.commands.librarians import AddLibrarian, RemoveLibrarian
from refserver.app.commands.libraries import AddLibrary, ListLibraries, RemoveLibrary
from refserver.app.commands.queues import AddQueue, QueueOptions, RemoveQueue, SetQueue
from refserver.app.commands.request import decode, encode, from_json
from refserver.app.commands.status import ShowStatus
from refserver.app.control import Control
from refserver.app.data import SOCKET
from refserver.app.parts import CannotStart, Libraries, LibraryCertificates, RunningServer
from refserver.app.settings import Server, Settings
from refserver.core.hooks import AccountAdded, AccountRemoved, HostAdded, HostRemoved, QueuesChanged
from refserver.core.hosts import Verdict
from refserver.errors import StreamCondition, StreamError
from refserver.features.library_access import LibraryAccess
from refserver.features.registration import Registration
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.sasl.verifier import Verifier, make_verifiers
from refserver.storage import accounts, libraries
from tests.server.harness import Client, Harness

reactor: Any = _reactor
DOMAIN = "library.example"
MIA = JID.parse(f"mia@{DOMAIN}")
ASK = JID.parse(f"ask@{DOMAIN}")
VERIFIERS = make_verifiers("secret")


class Running:
    """A server in memory with a control socket on the real reactor, and refserverctl's way to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Harness([LibraryAccess, Registration], domains=())
        self.core = self.server.core
        self.told: list[object] = []
        self.queue_changes: list[str] = []
        self.served_when_told: list[bool] = []
        self.hold: Deferred[None] | None = None
        self.fault: Exception | None = None
        self.reviews = 0
        certificates = LibraryCertificates(folder)
        served = Libraries(self.core, certificates)
        self.control = Control(folder / SOCKET, RunningServer(self.core, served, cast(Any, self)), reactor)
        self._listen_to_hooks()

    def review(self) -> None:
        """Other servers' streams are looked at."""
        self.reviews += 1

    def status(self) -> list[Any]:
        """No other server has had to do with us."""
        return []

    def take(self, event: QueuesChanged) -> Deferred[None] | None:
        """What looks after queues is told of a change."""
        if self.fault is not None:
            raise self.fault
        self.queue_changes.append(event.domain)
        self.served_when_told.append(self.core.hosts.get(DOMAIN) is not None)
        return self.hold

    def ask(self, request: Request) -> Deferred[Any]:
        """Do a request as refserverctl does, in a thread."""
        caller = Caller(Settings(server=Server(data=self.folder)))
        return deferToThread(caller.ask_running, request)

    async def refused(self, request: Request) -> str:
        """The line with which a request is refused."""
        with pytest.raises(Refused) as caught:
            await self.ask(request)
        return str(caught.value)

    async def with_mia(self) -> Client:
        """A library with an account that is logged in."""
        await self.ask(AddLibrary(DOMAIN))
        await self.ask(AddAccount(MIA.text, VERIFIERS))
        return self.server.client(f"{MIA}/desk")

    def _listen_to_hooks(self) -> None:
        kinds = (HostAdded, HostRemoved, AccountAdded, AccountRemoved)
        handlers = dict(self.core.hooks._handlers)
        for kind in kinds:
            handlers[kind] = (*self.core.hooks.of(kind), self.told.append)
        handlers[QueuesChanged] = (self.take,)
        self.core.hooks.freeze(handlers)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    made.control.start()
    yield made
    if made.hold is not None and not made.hold.called:  # a test that failed must not hang, too
        made.hold.callback(None)
    pytest_twisted.blockon(Deferred.fromCoroutine(made.control.stop()))


def closed_with(client: Client) -> tuple[StreamCondition, str]:
    """With which stream error the server has closed a client's stream."""
    assert isinstance(client.closed, StreamError), client.closed
    return client.closed.condition, client.closed.text


# -- libraries -------------------------------------------------------------------


async def test_a_new_library_is_served_at_once_with_its_rooms(running: Running) -> None:
    assert await running.ask(AddLibrary(DOMAIN, "City Library")) == {
        "domain": DOMAIN,
        "name": "City Library",
        "done": "added",
    }
    host = running.core.hosts.get(DOMAIN)
    assert host is not None
    assert host.name == "City Library"
    assert isinstance(running.core.hosts.service(f"rooms.{DOMAIN}"), RoomService)
    assert [type(event) for event in running.told] == [HostAdded]


async def test_a_renamed_library_stays_the_same_host(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    before = running.core.hosts.get(DOMAIN)
    await running.ask(AddLibrary(DOMAIN, "City Library"))
    assert before is running.core.hosts.get(DOMAIN)
    assert before is not None
    assert before.name == "City Library"


async def test_a_removed_library_ends_its_sessions_and_no_others(running: Running) -> None:
    client = await running.with_mia()
    await running.ask(AddLibrary("other.example"))
    await running.ask(AddAccount("mia@other.example", VERIFIERS))
    other = running.server.client("mia@other.example/desk")
    removed = await running.ask(RemoveLibrary(DOMAIN))
    assert removed == {"domain": DOMAIN, "accounts": 1, "queues": 0, "done": "removed"}
    assert closed_with(client) == (StreamCondition.HOST_GONE, "")
    assert other.closed is False
    assert running.core.hosts.get(DOMAIN) is None
    assert running.core.hosts.service(f"rooms.{DOMAIN}") is None
    assert AccountRemoved(MIA).account in [
        event.account for event in running.told if isinstance(event, AccountRemoved)
    ]


async def test_the_queues_of_a_removed_library_are_closed_first(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    await running.ask(AddQueue(ASK.text))
    await running.ask(RemoveLibrary(DOMAIN))
    assert running.queue_changes == [DOMAIN, DOMAIN]
    assert running.served_when_told == [True, True]


# -- accounts --------------------------------------------------------------------


async def test_a_new_account_can_log_in_with_what_was_sent(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    assert await running.ask(AddAccount(MIA.text, VERIFIERS)) == {"jid": MIA.text, "done": "added"}
    assert running.server.database.read_now(accounts.verifiers, MIA) == VERIFIERS
    assert [event.account for event in running.told if isinstance(event, AccountAdded)] == [MIA]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (RemoveAccount(MIA.text), (StreamCondition.NOT_AUTHORIZED, "the account was removed")),
        (DisableAccount(MIA.text), (StreamCondition.NOT_AUTHORIZED, "the account was disabled")),
        (SetPassword(MIA.text, VERIFIERS), (StreamCondition.RESET, "the password was changed")),
    ],
    ids=lambda value: getattr(value, "words", ""),
)
async def test_sessions_end_with_the_account_or_its_password(
    running: Running, asked: Request, error: tuple[StreamCondition, str]
) -> None:
    mia = await running.with_mia()
    await running.ask(AddAccount(f"tom@{DOMAIN}", VERIFIERS))
    tom = running.server.client(f"tom@{DOMAIN}/desk")
    await running.ask(asked)
    assert closed_with(mia) == error
    assert tom.closed is False


async def test_a_removed_account_is_announced(running: Running) -> None:
    await running.with_mia()
    await running.ask(RemoveAccount(MIA.text))
    assert [event.account for event in running.told if isinstance(event, AccountRemoved)] == [MIA]


async def test_what_changes_nothing_ends_no_session(running: Running) -> None:
    mia = await running.with_mia()
    assert (await running.ask(EnableAccount(MIA.text)))["done"] == "unchanged"
    assert mia.closed is False


# -- queues and librarians ---------------------------------------------------------


async def test_whoever_looks_after_queues_is_told_each_change(running: Running) -> None:
    await running.with_mia()
    await running.ask(AddQueue(ASK.text))
    await running.ask(SetQueue(ASK.text, QueueOptions(title="Ask us")))
    await running.ask(AddLibrarian(ASK.text, MIA.text))
    await running.ask(RemoveLibrarian(ASK.text, MIA.text))
    await running.ask(RemoveQueue(ASK.text))
    assert running.queue_changes == [DOMAIN] * 5


async def test_a_change_that_takes_time_holds_before_it_is_answered(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    running.hold = Deferred()
    answered = running.ask(AddQueue(ASK.text))
    await _until(lambda: bool(running.queue_changes))
    later = running.ask(ListLibraries())
    await _until(lambda: len(running.control._one_at_a_time.waiting) == 1)  # one request at a time
    assert not answered.called
    assert not later.called
    running.hold.callback(None)
    assert (await answered)["done"] == "added"
    assert await later == [{"domain": DOMAIN, "name": ""}]


# -- senders -----------------------------------------------------------------------


async def test_whom_a_library_lets_in_holds_at_once(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    eve, gates = JID.parse("eve@spam.example"), running.core.hosts.gates
    await running.ask(AddBlock("*", "spam.example"))
    assert gates[DOMAIN].judge(eve) is Verdict.STOPPED
    assert not gates[DOMAIN].welcomes("spam.example")
    await running.ask(AddAllow(DOMAIN, eve.text))
    assert gates[DOMAIN].judge(eve) is Verdict.ALLOWED
    await running.ask(RemoveBlock("*", "spam.example"))
    await running.ask(RemoveAllow(DOMAIN, eve.text))
    assert gates == {}
    assert running.reviews == 4
    await running.ask(AllowOnly(DOMAIN, on=True))
    assert gates[DOMAIN].judge(eve) is Verdict.STOPPED
    await running.ask(AllowOnly(DOMAIN, on=False))
    assert gates == {}


async def test_what_holds_everywhere_holds_for_a_library_that_comes(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    await running.ask(AddBlock("*", "spam.example"))
    await running.ask(AddLibrary("other.example"))
    assert set(running.core.hosts.gates) == {DOMAIN, "other.example"}
    await running.ask(RemoveLibrary("other.example"))
    assert set(running.core.hosts.gates) == {DOMAIN}


# -- what goes wrong ---------------------------------------------------------------


async def test_what_is_refused_changes_nothing(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    told = list(running.told)
    assert (await running.refused(AddQueue("ask@other.example"))).startswith(
        "there is no library other.example"
    )
    assert await running.refused(AddQueue(ASK.text, QueueOptions(hours="always"))) == (
        "not opening hours: 'always'; write for example Mon-Fri 09:00-17:00"
    )
    assert running.told == told
    assert running.queue_changes == []


async def test_nothing_holds_before_it_is_durable(running: Running) -> None:
    with running.server.holding():
        answered = running.ask(AddLibrary(DOMAIN))
        await _until(lambda: running.server.database.read_now(libraries.get, DOMAIN) is not None)
        assert running.core.hosts.get(DOMAIN) is None
        assert not answered.called
    await answered
    assert running.core.hosts.get(DOMAIN) is not None


async def test_a_change_that_the_server_cannot_take_up_is_said_to_be_stored(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    running.fault = RuntimeError("a secret of the server")
    refusal = await running.refused(AddQueue(ASK.text))
    assert refusal.startswith("this was stored, but the running server could not act on it: restart it")
    running.fault = None
    assert (await running.ask(AddQueue(ASK.text)))["done"] == "unchanged"


async def test_an_unexpected_fault_costs_one_verb(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret of the server")

    with monkeypatch.context() as patched:
        patched.setattr(ListLibraries, "run", fail)
        assert await running.refused(ListLibraries()) == "the server failed at this; its log says more"
    assert await running.ask(ListLibraries()) == []


def talk(path: Path, *lines: bytes) -> list[Any]:
    """Send lines over one connection; the answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(b"".join(line + b"\n" for line in lines))
        with connection.makefile("rb") as stream:
            return [json.loads(stream.readline()) for _ in lines]


GARBAGE = [
    b"",
    b"hello",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b'"library list"',
    b'{"request": 1}',
    b'{"request": []}',
    b'{"request": "library frob"}',
    b'{"request": "library add"}',
    b'{"request": "library add", "arguments": []}',
    b'{"request": "library add", "arguments": {"domain": "a.example", "frob": 1}}',
    b'{"request": "account add", "arguments": {"jid": "a@a.example", "verifiers": {"SHA-1": 1}}}',
    b'{"request": "account add", "arguments": {"jid": "a@a.example", "verifiers": "x"}}',
    b'{"request": "question show", "arguments": {"number": "many"}}',
    b"[" * 2000,
]


async def test_garbage_is_refused_and_the_connection_goes_on(running: Running) -> None:
    wish = encode(ListLibraries()).strip()
    answers = await deferToThread(talk, running.folder / SOCKET, *GARBAGE, wish)
    assert [list(answer) for answer in answers] == [["refused"]] * len(GARBAGE) + [["ok"]]


async def test_requests_on_one_connection_are_answered_in_order(running: Running) -> None:
    wishes = [encode(AddLibrary(f"l{number}.example")).strip() for number in range(20)]
    answers = await deferToThread(talk, running.folder / SOCKET, *wishes)
    assert [answer["ok"]["domain"] for answer in answers] == [f"l{number}.example" for number in range(20)]


async def test_a_line_without_end_costs_the_connection_only(running: Running) -> None:
    def endless() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(running.folder / SOCKET))
            try:
                connection.sendall(b"x" * 200_000)
                return connection.recv(1)
            except (ConnectionResetError, BrokenPipeError):
                return b""

    assert await deferToThread(endless) == b""
    assert await running.ask(ListLibraries()) == []


# -- the socket ------------------------------------------------------------------


async def test_the_socket_is_the_owners_only_and_goes_with_the_server(running: Running) -> None:
    path = running.folder / SOCKET
    assert path.stat().st_mode & 0o777 == 0o600
    await running.control.stop()
    assert not path.exists()
    assert await running.ask(ListLibraries()) is None


async def test_a_socket_left_by_a_killed_server_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET))
    running = Running(tmp_path)
    running.control.start()
    assert await running.ask(ListLibraries()) == []
    await running.control.stop()


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / SOCKET).write_text("precious")
    with pytest.raises(CannotStart, match="it is no socket"):
        Running(tmp_path).control.start()
    assert (tmp_path / SOCKET).read_text() == "precious"


def test_a_socket_that_cannot_be_made_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot listen for refserverctl"):
        Running(tmp_path / "none").control.start()


async def test_the_data_may_lie_deep(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("er" * 30)
    folder.mkdir(parents=True)
    running = Running(folder)
    running.control.start()
    assert await running.ask(ListLibraries()) == []
    await running.control.stop()
    assert not (folder / SOCKET).exists()


async def test_a_verb_under_way_is_answered_before_the_server_ends(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    running.hold = Deferred()
    answered = running.ask(AddQueue(ASK.text))
    await _until(lambda: bool(running.queue_changes))
    stopped = Deferred.fromCoroutine(running.control.stop())
    assert not stopped.called
    running.hold.callback(None)
    await stopped
    assert (await answered)["done"] == "added"


# -- status and the wire ---------------------------------------------------------


async def test_status_counts_what_is_live_and_what_is_stored(running: Running) -> None:
    await running.with_mia()
    status = await running.ask(ShowStatus())
    assert status["running"] is True
    assert (status["sessions"], status["rooms"], status["s2s_streams"]) == (1, 0, 0)
    assert (status["libraries"], status["accounts"]) == (1, 1)
    assert status["uptime"] >= 0


async def test_lists_come_whole_however_long(running: Running) -> None:
    await running.ask(AddLibrary(DOMAIN))
    for number in range(2000):
        jid = JID.of(f"account-with-a-long-name-{number:05}", DOMAIN)
        running.server.database.write_now(accounts.add, jid, {}, 0.0)
    assert len(await running.ask(ListAccounts())) == 2000


def test_each_verb_travels_as_it_is() -> None:
    examples = [
        AddLibrary(DOMAIN, None),
        AddAccount(MIA.text, VERIFIERS),
        SetQueue(ASK.text, QueueOptions("T")),
    ]
    assert examples == [decode(encode(request).strip(), load_requests()) for request in examples]


def test_verifiers_come_back_from_data() -> None:
    data = json.loads(encode(AddAccount(MIA.text, VERIFIERS)))["arguments"]["verifiers"]
    assert from_json(data, dict[str, Verifier]) == VERIFIERS


async def _until(true: Any) -> None:
    """Wait, a turn of the reactor at a time, until something is true (the test has a deadline)."""
    while not true():
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.005, turn.callback, None)
        await turn
