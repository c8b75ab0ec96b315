"""refserverctl check: what is wrong is found, named, and the way to mend it said; status 1 only then."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from refserver.app.certificates import Authority, Certificate, ensure
from refserver.app.checks import Finding, Result, ServerUser, certificates
from refserver.app.checks.certificates import check_certificates
from refserver.app.checks.data import check_data
from refserver.app.checks.ports import check_ports, listeners
from refserver.app.settings import C2S, S2S, Components, Listen, Settings
from refserver.storage import Database
from tests.unit.ctl_runner import CONFIGURATION, Ctl
from tests.unit.peer_certificates import dns, issued, root

DOMAIN = "library.example"
ME = ServerUser.of(Path("/nowhere"))


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    """A library with all that it needs."""
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", DOMAIN)
    ctl.ok("queue", "add", f"ask@{DOMAIN}")
    ctl.add_account(f"mia@{DOMAIN}")
    ctl.ok("librarian", "add", f"ask@{DOMAIN}", f"mia@{DOMAIN}")
    ensure(tmp_path / "certs", [Certificate(DOMAIN)])
    return ctl


def wrong(ctl: Ctl) -> list[dict[str, Any]]:
    """The findings that something is wrong; the status must agree."""
    result = ctl.run("--json", "check")
    findings = [found for found in json.loads(result.stdout) if found["result"] == "wrong"]
    assert result.exit_code == (1 if findings else 0)
    assert all(found["mend"] for found in findings)
    return findings


def test_where_all_is_well_nothing_is_wrong(ctl: Ctl) -> None:
    assert wrong(ctl) == []
    printed = ctl.ok("check").splitlines()
    assert {line.split()[0] for line in printed} == {"good"}
    assert {line.split()[1].rstrip(":") for line in printed} == {
        "configuration",
        "data",
        "database",
        "libraries",
        "queues",
        "certificate",
    }


def test_how_to_mend_it_is_said_below(ctl: Ctl) -> None:
    ctl.database.chmod(0o644)
    lines = ctl.run("check").stdout.splitlines()
    index = lines.index(f"wrong  database: others than its owner may read {ctl.database}")
    assert lines[index + 1] == f"       to mend it: chmod 600 {ctl.database}"


def test_each_fault_of_the_configuration_is_a_finding(ctl: Ctl) -> None:
    ctl.config.write_text('[server]\ndatum = 1\n[listen]\nc2s = ["upd:1"]\n')
    assert [found["about"] for found in wrong(ctl)] == ["configuration", "configuration"]


def test_before_the_first_start_everything_is_a_note(tmp_path: Path) -> None:
    ctl = Ctl(tmp_path, CONFIGURATION.replace('"data"', '"new"'))
    (tmp_path / "certs").mkdir()
    assert ctl.ok("check").count("note ") == 2
    assert not (tmp_path / "new").exists()


def test_a_database_of_a_newer_refserver_is_wrong(ctl: Ctl) -> None:
    with closing(sqlite3.connect(ctl.database, isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    (found,) = wrong(ctl)
    assert found["found"].startswith("schema 9999, written by a newer refserver")


def test_a_database_of_an_older_refserver_is_a_note(ctl: Ctl) -> None:
    with closing(sqlite3.connect(ctl.database, isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    assert "note   database: schema 0000, the next start brings it to " in ctl.run("check").stdout


def test_a_database_that_is_none_is_wrong(ctl: Ctl) -> None:
    ctl.database.write_bytes(b"no database " * 1000)
    assert "database" in [found["about"] for found in wrong(ctl)]


def test_a_folder_that_everybody_may_write_to_is_wrong(ctl: Ctl) -> None:
    ctl.database.parent.chmod(0o777)
    (found,) = wrong(ctl)
    assert found["mend"] == f"chmod o-w {ctl.database.parent}"


def test_a_queue_without_librarians_is_a_note(ctl: Ctl) -> None:
    ctl.ok("librarian", "remove", f"ask@{DOMAIN}", f"mia@{DOMAIN}")
    assert f"note   queues: ask@{DOMAIN}: nobody works there" in ctl.ok("check")


# -- certificates ----------------------------------------------------------------


def found_in(folder: Path, *domains: str, now: datetime | None = None) -> list[Finding]:
    """The findings that are not good."""
    found = check_certificates(folder, domains, ME, now=now)
    return [finding for finding in found if finding.result is not Result.GOOD]


def test_a_good_certificate_is_good_for_the_library_and_its_rooms(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate(DOMAIN)])
    found = [finding.found for finding in check_certificates(tmp_path, [DOMAIN], ME)]
    assert [text.partition(":")[0] for text in found] == [DOMAIN, f"rooms.{DOMAIN}"]


def test_a_library_without_certificate_is_found(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate(DOMAIN)])
    assert [finding.found for finding in found_in(tmp_path, "other.example")] == [
        "none for other.example",
        "none for rooms.other.example",
    ]


def test_a_certificate_for_another_name_is_found(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate(DOMAIN, names=("other.example",))])
    first, second = found_in(tmp_path, DOMAIN)
    assert first.found == f"{tmp_path / DOMAIN}.pem is shown for {DOMAIN}, and is for other.example"
    assert second.found.endswith(f"is shown for rooms.{DOMAIN}, and is for other.example")


def test_a_certificate_without_the_rooms_is_found(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate(DOMAIN, names=(DOMAIN,))])
    (found,) = found_in(tmp_path, DOMAIN)
    assert f"rooms.{DOMAIN}" in found.found


def test_a_common_name_is_no_name(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate(DOMAIN, common_name_only=True)])
    assert found_in(tmp_path, DOMAIN)[0].found.endswith("and is for no name at all")


def test_an_international_domain_has_its_certificate(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate("bücherei.example")])
    assert found_in(tmp_path, "bücherei.example") == []


@pytest.mark.parametrize(
    ("days", "result", "says"),
    [
        (-60, Result.WRONG, "is valid only from"),
        (360, Result.GOOD, ""),
        (370, Result.NOTE, "only"),
        (400, Result.WRONG, "is over since"),
    ],
)
def test_what_is_over_is_wrong_and_what_soon_is_a_note(
    tmp_path: Path, days: int, result: Result, says: str
) -> None:
    ensure(tmp_path, [Certificate(DOMAIN)])
    found = found_in(tmp_path, now=datetime.now(UTC) + timedelta(days=days))
    assert [(finding.result, says in finding.found) for finding in found] == (
        [] if result is Result.GOOD else [(result, True)]
    )


def test_a_key_that_everybody_may_read_is_wrong(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate(DOMAIN)])
    file = tmp_path / f"{DOMAIN}.pem"
    file.chmod(0o644)
    (found,) = found_in(tmp_path, DOMAIN)
    assert (found.result, found.mend) == (Result.WRONG, f"chmod 600 {file}")


def test_a_file_that_cannot_be_used_is_wrong(tmp_path: Path) -> None:
    (tmp_path / f"{DOMAIN}.pem").write_text("nothing")
    assert found_in(tmp_path)[0].found == (
        f"{tmp_path / DOMAIN}.pem: there is no private key in it that can be read"
    )


def test_a_chain_of_strangers_is_wrong(tmp_path: Path) -> None:
    issued = Authority.new().issue(Certificate(DOMAIN))
    own = issued[: issued.rindex(b"-----BEGIN CERTIFICATE-----")]
    file = tmp_path / f"{DOMAIN}.pem"
    file.write_bytes(own + Authority.new("another").pem)
    file.chmod(0o600)
    (found,) = found_in(tmp_path, DOMAIN)
    assert (found.result, "chain" in found.found) == (Result.WRONG, True)


def test_a_certificate_alone_is_a_note(tmp_path: Path) -> None:
    issued = Authority.new().issue(Certificate(DOMAIN))
    file = tmp_path / f"{DOMAIN}.pem"
    file.write_bytes(issued[: issued.rindex(b"-----BEGIN CERTIFICATE-----")])
    file.chmod(0o600)
    (found,) = found_in(tmp_path, DOMAIN)
    assert (found.result, "holds no chain" in found.found) == (Result.NOTE, True)


def test_a_certificate_alone_is_enough_where_its_authority_is_known(tmp_path: Path) -> None:
    authority = Authority.new()
    issued = authority.issue(Certificate(DOMAIN))
    file, known = tmp_path / f"{DOMAIN}.pem", tmp_path / "known"
    file.write_bytes(issued[: issued.rindex(b"-----BEGIN CERTIFICATE-----")])
    file.chmod(0o600)
    known.write_bytes(authority.pem)
    assert [found.result for found in check_certificates(tmp_path, [DOMAIN], ME, known)] == [Result.GOOD] * 2


@pytest.mark.parametrize(("missing", "results"), [(False, []), (True, [Result.NOTE])])
def test_a_missing_certificate_between_is_told(
    tmp_path: Path, missing: bool, results: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other servers know the root; those between it and ours they must be shown."""
    above = root("above")
    chain = issued(above, [dns("peer.example"), dns("*.peer.example")], ca_usages=())
    if missing:
        chain = chain[: chain.rindex(b"-----BEGIN CERTIFICATE-----")]
    file, known = tmp_path / "peer.example.pem", tmp_path / "known"
    file.write_bytes(chain)
    file.chmod(0o600)
    known.write_bytes(above.pem)
    monkeypatch.setattr(certificates, "ENDS_SOON", timedelta())
    found = [each for each in check_certificates(tmp_path, ["peer.example"], ME, known) if each.mend]
    assert [each.result for each in found] == results
    assert all("CN=between, who has signed the last one" in each.found for each in found)


def test_an_authority_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate(DOMAIN)])
    known = tmp_path / "known"
    known.write_text("nothing")
    assert {found.result for found in check_certificates(tmp_path, [DOMAIN], ME, known)} == {Result.GOOD}


def test_a_name_that_clients_take_and_other_servers_do_not_is_wrong(tmp_path: Path) -> None:
    """OpenSSL and other servers let no wildcard stand directly below a top-level name."""
    ensure(tmp_path, [Certificate("localhost", names=("localhost", "*.localhost"))])
    (found,) = found_in(tmp_path, "localhost")
    assert "is shown for rooms.localhost, and is for localhost, *.localhost" in found.found


def test_a_missing_folder_is_wrong(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path / "none", DOMAIN)
    assert found.found == f"there is no folder {tmp_path / 'none'}"


# -- whose server it is --------------------------------------------------------------

SOMEBODY = ServerUser("somebody", 65533, frozenset({65533}))
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's own."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@only_root
def test_a_key_that_only_root_can_read_is_wrong_where_the_server_is_not_roots(open_folder: Path) -> None:
    ensure(open_folder, [Certificate(DOMAIN)])
    file = open_folder / f"{DOMAIN}.pem"
    found = [each for each in check_certificates(open_folder, [], SOMEBODY) if each.result is Result.WRONG]
    assert [(each.found, each.mend) for each in found] == [
        (
            f"somebody, as whom the server runs, cannot read {file}: {file} does not allow it",
            f"chown somebody {file}, then SIGHUP the server (systemctl reload)",
        )
    ]


@only_root
def test_what_locks_the_server_out_is_not_advised(open_folder: Path) -> None:
    ensure(open_folder, [Certificate(DOMAIN)])
    file = open_folder / f"{DOMAIN}.pem"
    file.chmod(0o644)
    found = [each.mend for each in check_certificates(open_folder, [], SOMEBODY) if "everybody" in each.found]
    assert found == [f"chown somebody {file}, then chmod 600 {file}"]


@only_root
def test_a_folder_above_that_keeps_the_server_out_is_named(open_folder: Path) -> None:
    folder = open_folder / "private" / "certs"
    ensure(folder, [Certificate(DOMAIN)])
    folder.parent.chmod(0o700)
    (folder / f"{DOMAIN}.pem").chmod(0o644)
    (found,) = [each for each in check_certificates(folder, [], SOMEBODY) if "cannot read" in each.found]
    assert found.mend.startswith(f"chmod o+x {folder.parent}, ")


@only_root
def test_a_group_that_the_servers_user_is_in_lets_it_read(open_folder: Path) -> None:
    ensure(open_folder, [Certificate(DOMAIN)])
    file = open_folder / f"{DOMAIN}.pem"
    os.chown(file, 0, 65533)
    file.chmod(0o640)
    assert [
        each for each in check_certificates(open_folder, [], SOMEBODY) if each.result is Result.WRONG
    ] == []


@only_root
def test_data_that_root_has_made_in_the_servers_folder_are_wrong(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir(mode=0o700)
    database = data / "refserver.sqlite"
    Database.open(database).close_now()
    os.chown(data, 65533, 65533)
    found = [each for each in check_data(database, SOMEBODY) if each.result is Result.WRONG]
    assert [(each.found, each.mend) for each in found] == [
        (f"somebody cannot write to {database}", f"chown somebody {database}")
    ]


@only_root
def test_a_data_folder_that_its_owner_cannot_write_to_is_wrong(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir()
    os.chown(data, 65533, 65533)
    data.chmod(0o500)
    (found,) = check_data(data / "refserver.sqlite", SOMEBODY)
    assert (found.result, found.mend) == (Result.WRONG, f"chmod u+rwx {data}")


@only_root
def test_who_owns_the_data_is_whose_server_it_is(open_folder: Path) -> None:
    os.chown(open_folder, 65534, 65534)
    assert (ServerUser.of(open_folder).name, ServerUser.of(open_folder / "none").uid) == ("nobody", 0)


# -- ports -----------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[str]:
    """The description of an address where somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"tcp:{listener.getsockname()[1]}:interface=127.0.0.1"


def ports(*descriptions: str, held: list[str] | None = None, require_tls: bool = True) -> list[Finding]:
    listen = Listen(c2s=descriptions, c2s_tls=())
    settings = Settings(listen=listen, c2s=C2S(require_tls=require_tls), s2s=S2S(enabled=False))
    return list(check_ports(settings, held))


def test_a_free_port_is_good() -> None:
    (found,) = ports("tcp:0:interface=127.0.0.1")
    assert found.result is Result.GOOD


def test_a_port_that_another_program_has_is_wrong(taken: str) -> None:
    (found,) = ports(taken)
    assert (found.result, found.found) == (Result.WRONG, f"{taken}: another program listens there")
    assert "listen.c2s" in found.mend


def test_a_port_that_our_server_has_is_good(taken: str) -> None:
    (found,) = ports(taken, held=[taken])
    assert (found.result, found.found) == (Result.GOOD, f"{taken}: our server listens there")


def test_a_port_that_our_server_should_have_is_wrong() -> None:
    (found,) = ports("tcp:0:interface=127.0.0.1", held=[])
    assert (found.result, "restart it" in found.mend) == (Result.WRONG, True)


def test_an_address_that_is_not_this_machines_is_wrong() -> None:
    (found,) = ports("tcp:5222:interface=192.0.2.1")
    assert found.found == "tcp:5222:interface=192.0.2.1: this machine has no address 192.0.2.1"


def test_what_is_no_port_is_not_looked_at() -> None:
    assert ports("systemd:domain=INET6:name=c2s") == []


def test_ports_for_other_servers_and_components_are_looked_at_where_they_are_used(tmp_path: Path) -> None:
    assert listeners(Settings()) == ("c2s", "c2s_tls", "s2s", "s2s_tls")
    assert listeners(Settings(s2s=S2S(enabled=False))) == ("c2s", "c2s_tls")
    gateways = Components(secret_files={"sms.library.example": tmp_path / "secret"})
    assert listeners(Settings(components=gateways))[-1] == "component"


@pytest.mark.parametrize(
    ("address", "is_wrong"),
    [
        ("tcp:0:interface=127.0.0.1", False),
        (r"tcp6:0:interface=\:\:1", False),
        ("tcp:0", True),
        ("tcp6:0", True),
    ],
)
def test_unencrypted_log_ins_are_for_loopback_only(address: str, is_wrong: bool) -> None:
    about = [found.about for found in ports(address, require_tls=False) if found.result is Result.WRONG]
    assert ("c2s.require_tls" in about) == is_wrong
