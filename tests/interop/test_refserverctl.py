"""refserverctl and a server as processes: what the operator says holds at once."""

from __future__ import annotations

import itertools
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from attrs import frozen

from refserver.app.commands.accounts import AddAccount
from refserver.app.commands.context import Caller
from refserver.app.commands.libraries import AddLibrary
from refserver.app.config import load
from refserver.sasl.verifier import make_verifiers
from tests.interop.peers import RefserverProcess, TestAuthority
from tests.interop.peers.slixmpp_client import LoginFailed
from tests.interop.peers.waiting import wait_until

pytestmark = pytest.mark.slow

_numbers = itertools.count(1)
_VERIFIERS = make_verifiers("a long word")


@frozen
class Library:
    """A library of a running server, with the accounts mia and pat."""

    server: RefserverProcess
    domain: str

    @classmethod
    def new(cls, server: RefserverProcess) -> Library:
        """Add one to a server, and its certificate a moment before; in this process, which is faster."""
        library = cls(server, f"library{next(_numbers)}.example")
        server.authority.certify(library.domain)
        caller = Caller(load(server.config))
        caller.call(AddLibrary(library.domain))
        for jid in (library.mia, library.pat):
            caller.call(AddAccount(jid, _VERIFIERS))
        return library

    @property
    def mia(self) -> str:
        return f"mia@{self.domain}"

    @property
    def pat(self) -> str:
        return f"pat@{self.domain}"

    @property
    def ask(self) -> str:
        return f"ask@{self.domain}"

    def json(self, *words: str) -> Any:
        """What refserverctl prints with --json, whatever its status."""
        return json.loads(self.server.try_ctl("--json", *words).stdout)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, authority: TestAuthority) -> Iterator[RefserverProcess]:
    """A server for tests that leave it as it is."""
    with RefserverProcess(tmp_path_factory.mktemp("refserver"), authority) as server:
        yield server


@pytest.fixture
def library(shared: RefserverProcess) -> Library:
    """A new library of the shared server."""
    return Library.new(shared)


@pytest.fixture
def alone(start_refserver: Any) -> Library:
    """The library of a server that the test may end."""
    return Library.new(start_refserver())


# -- a running server --------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "condition"),
    [("disable", "not-authorized"), ("remove", "not-authorized"), ("password", "reset")],
)
def test_an_accounts_sessions_end_at_once(alone, slixmpp_client, verb, condition):
    """On a server of its own: who fails to log in is made to wait."""
    mia = slixmpp_client(alone.mia, "a long word", alone.server.port)
    how = {"password": ["--password-stdin"], "remove": ["--yes"]}.get(verb, [])
    alone.server.ctl("account", verb, alone.mia, *how, stdin="new word\n")
    mia.wait_for(lambda e: e.tag.endswith("}error") and any(c.tag.endswith(f"}}{condition}") for c in e))
    with pytest.raises(LoginFailed):
        slixmpp_client(alone.mia, "a long word", alone.server.port)
    if verb == "password":
        slixmpp_client(alone.mia, "new word", alone.server.port)
    if verb == "disable":
        alone.server.ctl("account", "enable", alone.mia)
        slixmpp_client(alone.mia, "a long word", alone.server.port)


def test_a_removed_librarys_sessions_end_at_once(library, slixmpp_client):
    mia = slixmpp_client(library.mia, "a long word", library.server.port)
    library.server.ctl("library", "remove", library.domain, "--yes")
    mia.wait_for(lambda e: e.tag.endswith("}error") and any(c.tag.endswith("}host-gone") for c in e))


def test_a_queue_takes_questions_as_soon_as_it_is_there(library, slixmpp_client):
    pat = slixmpp_client(library.pat, "a long word", library.server.port)
    library.server.ctl("queue", "add", library.ask, "--title", "Ask us")
    library.server.ctl("librarian", "add", library.ask, library.mia)
    pat.message(library.ask, "do you have a book about bees?")
    pat.wait_for_message("", sender=library.ask)
    (row,) = library.json("question", "list", "--queue", library.ask)
    assert (row["number"], row["state"]) == (1, "waiting")
    (report,) = library.json("report", library.ask)
    assert (report["questions"], report["open"]) == (1, 1)
    library.server.ctl("queue", "remove", library.ask, "--yes")
    pat.message(library.ask, "hello?")
    answer = pat.wait_for(lambda e: e.tag.endswith("}message") and e.get("type") == "error")
    assert answer.get("from") == library.ask


def test_check_finds_a_running_server_well(library):
    library.server.ctl("queue", "add", library.ask)
    library.server.ctl("librarian", "add", library.ask, library.mia)
    findings = library.json("check")
    assert [] == [finding for finding in findings if finding["result"] == "wrong"]
    assert [f["about"] for f in findings if "our server listens there" in f["found"]] == [
        "listen.c2s",
        "listen.c2s_tls",
        "listen.s2s",
        "listen.s2s_tls",
    ]


# -- a server that ends, and starts again --------------------------------------------


def test_status_tells_a_running_server_from_one_that_is_not(alone, slixmpp_client):
    slixmpp_client(alone.mia, "a long word", alone.server.port)
    shown = alone.json("status")
    assert (shown["running"], shown["sessions"], shown["accounts"]) == (True, 1, 2)
    assert shown["process"] == alone.server.process.pid
    alone.server.stop()
    ended = alone.server.try_ctl("status")
    assert (ended.returncode, "not running" in ended.stderr) == (1, True)
    assert "accounts    2\n" in ended.stdout


def test_after_a_crash_the_data_are_anybodys_again(alone):
    alone.server.kill()
    assert (alone.server.folder / "data" / "control.sock").is_socket()
    alone.server.add_account(f"tom@{alone.domain}", "a long word")
    alone.server.start()
    assert alone.json("status")["accounts"] == 3


def test_a_script_sees_each_command_done_while_the_server_is_restarted(alone):
    failures: list[str] = []

    def script() -> None:
        for number in range(5):
            done = alone.server.try_ctl("library", "add", f"l{number}.example")
            if done.returncode:
                failures.append(done.stderr)

    def first() -> bool:
        return "l0.example" in alone.server.ctl("library", "list")

    thread = threading.Thread(target=script)
    thread.start()
    wait_until(first, "the first command", 20, lambda: "")
    alone.server.stop()
    thread.join(60)
    alone.server.start()
    assert failures == []
    assert len(alone.json("library", "list")) == 6


def test_a_backup_of_a_running_server_is_whole_and_restored_when_it_has_ended(
    alone, slixmpp_client, tmp_path
):
    copy = tmp_path / "copy"
    alone.server.ctl("backup", str(copy))
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT count(*) FROM accounts").fetchone() == (2,)
    alone.server.ctl("account", "remove", alone.pat, "--yes")
    refused = alone.server.try_ctl("restore", str(copy), "--yes")
    assert (refused.returncode, "stop it first" in refused.stderr) == (1, True)
    alone.server.stop()
    alone.server.ctl("restore", str(copy), "--yes")
    alone.server.start()
    slixmpp_client(alone.pat, "a long word", alone.server.port)


def test_check_finds_a_port_taken_before_the_server_does(alone):
    server = alone.server
    server.stop()
    with socket.socket() as another_program:
        another_program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        another_program.bind((server.host, server.port))
        another_program.listen()
        checked = server.try_ctl("check")
    assert checked.returncode == 1
    assert f"tcp:{server.port}:interface=127.0.0.1: another program listens there" in checked.stdout
