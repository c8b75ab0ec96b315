"""refserverctl about other servers, as processes: what it knows of real ones, and of real DNS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import require
from tests.interop.peers import RefserverProcess, TestAuthority
from tests.interop.peers.ports import free_address, free_port
from tests.interop.peers.process import PeerProcess

pytestmark = [pytest.mark.peers, pytest.mark.slow]

HERE, THERE, NOBODY = "library.example", "there.example", "nobody.example"
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def show(server: RefserverProcess, domain: str) -> Any:
    return json.loads(server.ctl("--json", "s2s", "show", domain))


class NameServer:
    """dnsmasq at `place`. It knows what `publish` says, and nothing else in the world."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._host = free_address()
        self._port = free_port(self._host)
        self._process: PeerProcess | None = None

    @property
    def place(self) -> str:
        """Where it is asked."""
        return f"{self._host}:{self._port}"

    def publish(self, *lines: str) -> None:
        """Answer from now on as these lines of dnsmasq's configuration say."""
        self.end()
        fixed = [f"listen-address={self._host}", f"port={self._port}", "bind-interfaces", "no-resolv"]
        fixed += ["no-hosts", "local=/#/", "pid-file=", "user=root", "group=root", "log-facility=-"]
        configuration = self._folder / "dnsmasq.conf"
        configuration.write_text("\n".join([*fixed, *lines]) + "\n")
        command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}"]
        self._process = PeerProcess(command, self._folder / "output", {"PATH": _PATH})
        self._process.wait_for_port(self._host, self._port, 10)

    def end(self) -> None:
        """Answer no more."""
        if self._process is not None:
            self._process.end()


# -- servers that run ----------------------------------------------------------------


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, authority: TestAuthority) -> Iterator[RefserverProcess]:
    """A library with mia, another server that it knows, and a DNS in which there is nothing."""
    require("dnsmasq")
    names = NameServer(tmp_path_factory.mktemp("names"))
    names.publish()
    with RefserverProcess(tmp_path_factory.mktemp("there"), authority, domains=[THERE]) as there:
        there.add_library(THERE)
        routes = {THERE: ("127.0.0.1", there.s2s_port)}
        settings = {"s2s": {"name_servers": [names.place]}}
        folder = tmp_path_factory.mktemp("here")
        with RefserverProcess(folder, authority, settings, routes=routes) as server:
            server.add_library(HERE)
            server.add_account(f"mia@{HERE}", "a long word")
            yield server
    names.end()


def test_a_server_that_was_talked_to_is_listed_and_shown(here, slixmpp_client):
    """The stanza for nobody there comes back from there, so both directions have carried one."""
    mia = slixmpp_client(f"mia@{HERE}", "a long word", here.port)
    mia.message(f"nobody@{THERE}", "Is anybody there?")
    mia.wait_for(lambda e: e.get("type") == "error" and e.get("from") == f"nobody@{THERE}")
    (row,) = [line.split() for line in here.ctl("s2s", "list").splitlines() if line.startswith(THERE)]
    assert row[1] == "1"
    assert row[3:] == ["certificate", "0", "1", "1", "valid", "-"]
    shown = show(here, THERE)
    assert THERE in shown["certificate_names"]
    assert shown["certificate_issuer"].startswith("CN=")
    assert shown["certificate_expires"].endswith("Z")
    assert (shown["last_error"], shown["meaning"], shown["paused_until"]) == ("", "", None)


def test_a_server_that_is_not_there_is_shown_with_what_to_do(here, slixmpp_client):
    mia = slixmpp_client(f"mia@{HERE}", "a long word", here.port)
    mia.message(f"pat@{NOBODY}", "Is anybody there?")
    mia.wait_for(lambda e: e.get("type") == "error" and e.get("from") == f"pat@{NOBODY}")
    shown = show(here, NOBODY)
    assert (shown["last_error"], shown["returned"], shown["certificate"]) == ("no such server", 1, "")
    assert shown["advice"].startswith("Look whether the name is spelt right.")
    assert shown["paused_until"] is not None
    printed = here.ctl("s2s", "show", NOBODY)
    assert f"DNS knows no XMPP server for {NOBODY}." in printed


def test_a_server_that_had_nothing_to_do_with_us_is_not_known(here):
    refused = here.try_ctl("s2s", "show", "stranger.example")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "has had nothing to do with this server since it started" in refused.stderr


# -- DNS -----------------------------------------------------------------------------

DOMAIN, ROOMS, HOST = "library.org", "rooms.library.org", "xmpp.library.org"


@pytest.fixture
def names(new_folder: Callable[[str], Path]) -> Iterator[NameServer]:
    """A name server that does not answer yet."""
    require("dnsmasq")
    server = NameServer(new_folder("names"))
    yield server
    server.end()


@pytest.fixture
def looking(
    names: NameServer, new_folder: Callable[[str], Path], authority: TestAuthority
) -> RefserverProcess:
    """A library that asks that name server. It does not run: `check` works without."""
    settings = {"s2s": {"name_servers": [names.place]}}
    server = RefserverProcess(new_folder("looking"), authority, settings, domains=[DOMAIN])
    server.add_library(DOMAIN)
    return server


def dns_findings(server: RefserverProcess) -> list[tuple[str, str, str]]:
    """What `check` finds about DNS but that we listen on loopback, which is so in all these tests."""
    found = json.loads(server.try_ctl("--json", "check").stdout)
    return [
        (each["result"], each["found"], each["mend"])
        for each in found
        if each["about"] == "dns" and "listen.s2s and listen.s2s_tls" not in each["found"]
    ]


def records(server: RefserverProcess, host: str = HOST) -> list[str]:
    """What is needed, as dnsmasq has it."""
    return [
        f"srv-host=_xmpp-server._tcp.{DOMAIN},{host},{server.s2s_port},0,5",
        f"srv-host=_xmpp-server._tcp.{ROOMS},{host},{server.s2s_port},0,5",
        f"srv-host=_xmpp-client._tcp.{DOMAIN},{host},{server.port},0,5",
        f"host-record={HOST},127.0.0.1",
    ]


def test_records_that_lead_here_are_good(looking, names):
    names.publish(*records(looking))
    assert dns_findings(looking) == [
        ("good", f"{DOMAIN}: clients find it at {HOST}:{looking.port}", ""),
        ("good", f"{DOMAIN}: other servers find it at {HOST}:{looking.s2s_port}", ""),
        ("good", f"{ROOMS}: other servers find it at {HOST}:{looking.s2s_port}", ""),
    ]


def test_the_records_that_check_says_to_add_make_all_good(looking, names):
    """What it prints for one who has nothing yet is published word for word, but for the address."""
    names.publish(f"host-record={HOST},127.0.0.1", f"srv-host=_xmpp-client._tcp.{DOMAIN},{HOST},1,0,5")
    printed = looking.try_ctl("check").stdout.splitlines()
    lines = {line.strip() for line in printed if " IN SRV " in line and "_xmpp" in line}
    assert {line.split()[0] for line in lines} >= {
        f"_xmpp-server._tcp.{DOMAIN}.",
        f"_xmpp-server._tcp.{ROOMS}.",
    }
    published = [_as_dnsmasq(line) for line in lines]
    again = [line for line in records(looking) if "_xmpp-client" in line or "host-record" in line]
    names.publish(*published, *again)
    assert {result for result, *_ in dns_findings(looking)} == {"good"}


def _as_dnsmasq(record: str) -> str:
    owner, _, _, priority, weight, port, target = record.split()
    return f"srv-host={owner.rstrip('.')},{target.rstrip('.')},{port},{priority},{weight}"


def test_an_alias_as_target_is_wrong(looking, names):
    alias = f"alias.{DOMAIN}"
    names.publish(*records(looking, alias), f"cname={alias},{HOST}")
    found = dns_findings(looking)
    assert {result for result, *_ in found} == {"wrong"}
    assert all("is an alias (CNAME)" in text and f"point to {HOST}" in mend for _, text, mend in found)


def test_a_service_that_is_decidedly_not_there_is_wrong(looking, names):
    kept = [line for line in records(looking) if f"_xmpp-server._tcp.{ROOMS}" not in line]
    names.publish(*kept, f"srv-host=_xmpp-server._tcp.{ROOMS}")
    (found,) = [each for each in dns_findings(looking) if each[0] != "good"]
    assert found[1].startswith(f"{ROOMS}: DNS says to other servers that there is no such server")


def test_a_name_server_that_is_not_there_is_a_note_and_no_delay(looking):
    started = time.monotonic()
    (found,) = dns_findings(looking)
    assert found[0] == "note"
    assert found[1].startswith("no name server has answered")
    assert time.monotonic() - started < 15
