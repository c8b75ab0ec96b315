"""The server as a process: it starts, ends in order, and starts again on what it had."""

from __future__ import annotations

import signal
import socket


def test_it_ends_in_order_on_sigterm(start_refserver):
    """It is not killed for being late, twistd ends by the signal it was given, and the port is free again."""
    server = start_refserver()
    assert server.stop() == -signal.SIGTERM
    with socket.socket() as probe:
        assert probe.connect_ex((server.host, server.port)) != 0


def test_it_starts_again_after_a_crash(start_refserver):
    """SIGKILL leaves nothing behind that hinders the next start."""
    server = start_refserver()
    process = server.process
    server.kill()
    assert process.returncode == -signal.SIGKILL
    server.start()
    assert server.process.returncode is None
