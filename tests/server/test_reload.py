"""SIGHUP: certificates and settings are read again, and nobody is cut off."""

from __future__ import annotations

import os
import signal
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
