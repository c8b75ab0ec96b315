"""`refserverctl check` on components: their domains, secrets and ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from refserver.app.checks import Finding, Result, ServerUser
from refserver.app.checks.data import check_components
from refserver.app.checks.ports import check_ports
from refserver.app.settings import Components, Listen, Settings

DOMAIN = "sms.library.example"
ME = ServerUser.of(Path("/nowhere"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sms"
    path.write_text("a shared secret")
    path.chmod(0o600)
    return path


def look(file: Path, domain: str = DOMAIN) -> Finding:
    (found,) = check_components({domain: file}, ["library.example"], ME)
    return found


def test_a_secret_of_the_servers_own_is_good(file: Path) -> None:
    assert look(file) == Finding.good("components.secret_files", f"{DOMAIN} has a secret")


@pytest.mark.parametrize("domain", ["library.example", "rooms.library.example"])
def test_a_librarys_domain_is_wrong(file: Path, domain: str) -> None:
    found = look(file, domain)
    assert (found.result, found.found) == (Result.WRONG, f"{domain} is a library, or a service of one")


def test_a_file_that_everybody_can_read_is_wrong(file: Path) -> None:
    file.chmod(0o604)
    found = look(file)
    assert (found.result, found.mend) == (Result.WRONG, "chmod 600 the file")


def test_a_short_secret_is_a_note_and_a_missing_one_is_wrong_and_neither_is_told(file: Path) -> None:
    file.write_text("short")
    found = look(file)
    assert (found.result, found.found) == (
        Result.NOTE,
        f"the secret of {DOMAIN} has fewer than 8 characters: it can be guessed",
    )
    found = look(file.parent / "gone")
    assert (found.result, "No such file" in found.found) == (Result.WRONG, True)


def test_the_components_port_is_looked_at_once_there_is_a_component(file: Path) -> None:
    listen = Listen(c2s=(), c2s_tls=(), s2s=(), s2s_tls=(), component=("tcp:0:interface=127.0.0.1",))
    assert list(check_ports(Settings(listen=listen), None)) == []
    settings = Settings(listen=listen, components=Components({DOMAIN: file}))
    (found,) = check_ports(settings, None)
    assert (found.result, found.about) == (Result.GOOD, "listen.component")
