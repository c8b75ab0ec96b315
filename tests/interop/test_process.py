"""The server as a process: it starts, ends in order, and starts again on what it had."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.interop.peers.ports import free_port
from tests.interop.peers.process import PeerProcess

CLOCK_THAT_JUMPS = """
import signal, sys, time
real, back = time.time, 0.0
def set_back(*_):
    global back
    back = 3600.0
    print("the clock was set back", flush=True)
time.time = lambda: real() - back
signal.signal(signal.SIGUSR2, set_back)
from twisted.scripts.twistd import run
run()
"""


def test_it_ends_in_order_on_sigterm(start_refserver):
    """It is not killed for being late, twistd ends by the signal it was given, and the port is free again."""
    server = start_refserver()
    assert server.stop() == -signal.SIGTERM
    with socket.socket() as probe:
        assert probe.connect_ex((server.host, server.port)) != 0


def test_timers_go_on_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """A silent connection is closed in time, though the wall clock says that it comes in an hour."""
    port = free_port()
    config = tmp_path / "refserver.toml"
    config.write_text(
        f'[listen]\nc2s = ["tcp:{port}:interface=127.0.0.1"]\nc2s_tls = []\ns2s = []\ns2s_tls = []\n'
        "[c2s]\nunauthenticated_timeout = 2\n"
    )
    words = ["twistd", "-n", "--pidfile=", "refserver", "--config", str(config)]
    code = f"import sys; sys.argv = {words!r}\n{CLOCK_THAT_JUMPS}"
    process = PeerProcess([sys.executable, "-c", code], tmp_path / "output", {}, cwd=tmp_path)
    try:
        process.wait_for(lambda: "refserver is ready" in process.output, "ready", 20)
        with socket.create_connection(("127.0.0.1", port)) as silent:
            os.kill(process.pid, signal.SIGUSR2)
            process.wait_for(lambda: "was set back" in process.output, "a clock set back", 10)
            silent.settimeout(10)
            while silent.recv(4096):
                pass
    finally:
        process.end(10)


def refused_start(config: Path, *, user: int | None = None) -> str:
    """What twistd says, on one line, when it cannot start with this configuration."""
    command = [sys.executable, Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "refserver"]
    done = subprocess.run(
        [*map(str, command), "--config", str(config)],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=user,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "] refserver: " in line]
    return line.partition("] refserver: ")[2]


def test_an_address_of_another_machine_is_no_place_to_listen(tmp_path: Path) -> None:
    """What is wrong, and what to do, is one line."""
    config = tmp_path / "refserver.toml"
    config.write_text('[listen]\nc2s = ["tcp:5222:interface=192.0.2.1"]\n')
    assert refused_start(config) == (
        "cannot listen on tcp:5222:interface=192.0.2.1: this machine has no address 192.0.2.1: "
        "choose one of its addresses (ip address lists them): listen.c2s"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as another user")
@pytest.mark.parametrize("taken", ["folder", "database"])
def test_data_that_the_servers_user_cannot_write_are_named(taken: str) -> None:
    """It says which file, and how to give it to that user."""
    with TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        config, data = folder / "refserver.toml", folder / "data"
        config.write_text('[server]\ndata = "data"\n')
        data.mkdir()
        if taken == "database":
            (data / "refserver.sqlite").touch()
            os.chown(data, 65534, 65534)
        said = refused_start(config, user=65534)
        file = data / ("lock" if taken == "folder" else "refserver.sqlite")
        assert said == (
            f"{file} cannot be written to (Permission denied): give the data folder to the user the server "
            f"runs as (chown -R nobody {data}), or set server.data to another folder"
        )


def test_it_starts_again_after_a_crash(start_refserver):
    """SIGKILL leaves nothing behind that hinders the next start."""
    server = start_refserver()
    process = server.process
    server.kill()
    assert process.returncode == -signal.SIGKILL
    server.start()
    assert server.process.returncode is None


def test_it_may_have_as_many_connections_as_the_system_allows(start_refserver):
    """Whatever the shell's limit was with which it was started."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, most))
    try:
        server = start_refserver()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
    assert (most, most) == resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)


def test_an_account_added_while_it_runs_can_log_in_and_talk(start_refserver, slixmpp_client):
    """Over STARTTLS and over direct TLS, both verified; the next start finds the account again."""
    server = start_refserver()
    server.add_library("library.example", name="The Library")
    server.add_account("pat@library.example", "pat's word")
    server.add_account("mia@library.example", "mia's word")

    pat = slixmpp_client("pat@library.example", "pat's word", server.port)
    mia = slixmpp_client("mia@library.example", "mia's word", server.tls_port, direct_tls=True)
    pat.message("mia@library.example", "is this seat taken?")
    assert mia.wait_for_message("is this seat taken?").get("from") == pat.bound_jid

    server.kill()
    server.start()
    again = slixmpp_client("pat@library.example", "pat's word", server.port)
    assert again.bound_jid.startswith("pat@library.example/")


def test_profanity_talks_to_slixmpp(start_refserver, profanity, slixmpp_client):
    """A console client as patrons have it, over verified TLS."""
    server = start_refserver()
    server.add_library("library.example")
    server.add_account("pat@library.example", "a long word")
    server.add_account("mia@library.example", "a long word")
    mia = slixmpp_client("mia@library.example", "a long word", server.port)
    pat = profanity("pat@library.example", "a long word", server.port)

    pat.message("mia@library.example", "good morning")
    heard = mia.wait_for_message("good morning")
    mia.message(heard.get("from", ""), "good day")

    assert "good day" in pat.wait_for_text("good day")
