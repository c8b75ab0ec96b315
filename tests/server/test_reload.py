"""SIGHUP: certificates and settings are read again, and nobody is cut off."""

from __future__ import annotations

import os
import signal
import ssl
import time
from pathlib import Path

import pytest

from tests.interop.peers.authority import TestAuthority
from tests.server.live import LiveServer

LIBRARY = "library.example"


def hang_up_signal(server: LiveServer, told: str) -> None:
    """Send SIGHUP and wait until the log tells what came of it."""
    seen = server.process.log.count(told)
    os.kill(server.pid, signal.SIGHUP)
    deadline = time.monotonic() + 10
    while server.process.log.count(told) == seen:
        assert time.monotonic() < deadline, server.process.log[-2000:]
        os.sched_yield()


def set_registration(server: LiveServer, policy: str) -> None:
    """Write another value into the configuration."""
    text = server.process.config.read_text()
    for old in ("closed", "open", "ajar"):
        text = text.replace(f'registration = "{old}"', f'registration = "{policy}"')
    server.process.config.write_text(text)


@pytest.fixture
def server(tmp_path: Path, certificates: TestAuthority) -> LiveServer:
    settings = {"c2s": {"registration": "closed", "require_tls": False, "plain_without_tls": True}}
    return LiveServer(tmp_path / "server", certificates, {LIBRARY: ["mia", "pat"]}, settings)


def test_settings_hold_for_new_connections_and_old_ones_live_on(server: LiveServer) -> None:
    with server:
        mia = server.online(f"mia@{LIBRARY}/desk")
        assert b"iq-register" not in server.connect().open()
        set_registration(server, "open")
        hang_up_signal(server, "were read again")
        assert b"iq-register" in server.connect().open()
        assert mia.stanzas() == []


def test_a_faulty_file_is_reported_and_changes_nothing(server: LiveServer) -> None:
    server.process.start()
    set_registration(server, "ajar")
    hang_up_signal(server, "not reloaded")
    assert b"iq-register" not in server.connect().open()
    assert "registration" in server.process.log
    server.process.stop()


@pytest.fixture
def own_certificates(tmp_path: Path) -> TestAuthority:
    """An authority whose folder this test may damage."""
    return TestAuthority(tmp_path / "certs")


@pytest.fixture
def two_libraries(tmp_path: Path, own_certificates: TestAuthority) -> LiveServer:
    return LiveServer(tmp_path / "server", own_certificates, {LIBRARY: ["mia"], "town.example": ["pat"]})


def test_a_broken_certificate_costs_its_library_and_the_others_start(
    two_libraries: LiveServer, own_certificates: TestAuthority
) -> None:
    own_certificates.folder.joinpath("town.example.pem").write_text("nonsense")
    with two_libraries as server:
        server.login(f"mia@{LIBRARY}/desk", tls=True)
        errors = [line for line in server.process.log.splitlines() if "town.example: " in line]
        assert len(errors) == 1
        assert errors[0].endswith(
            "town.example.pem: there is no private key in it that can be read; it has no TLS"
        )


def test_certificates_stay_while_their_folder_is_missing_and_the_log_names_each_domain(
    two_libraries: LiveServer, own_certificates: TestAuthority
) -> None:
    with two_libraries as server:
        own_certificates.folder.rename(own_certificates.folder.parent / "away")
        hang_up_signal(server, "not reloaded")
        own_certificates.folder.parent.joinpath("away").rename(own_certificates.folder)
        server.login(f"mia@{LIBRARY}/desk", tls=True)
        for domain in (LIBRARY, "town.example"):
            told = [line for line in server.process.log.splitlines() if f" {domain}: " in line]
            assert len(told) == 1
            assert told[0].endswith("No such file or directory; the one it had stays")
        assert "were read again" not in server.process.log


def test_a_client_that_asks_for_a_library_without_certificate_is_logged(
    two_libraries: LiveServer, own_certificates: TestAuthority
) -> None:
    own_certificates.folder.joinpath("town.example.pem").unlink()
    with two_libraries as server:
        assert "there is no certificate for town.example" in server.process.log
        with pytest.raises(ssl.SSLError):
            server.open("town.example").starttls()
        assert server.process.log.count("no certificate for town.example in ") == 1
    assert "were read again" not in server.process.log


def test_the_level_of_the_log_holds_from_a_reload_on(server: LiveServer) -> None:
    server.process.start()
    config = server.process.config
    config.write_text(
        config.read_text().replace("component = []", 'component = ["tcp:0"]') + '\n[log]\nlevel = "warn"\n'
    )
    hang_up_signal(server, "[listen] has changed")
    server.process.stop()
    assert "were read again" not in server.process.log
