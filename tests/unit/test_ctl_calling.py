"""How refserverctl is called, reaches the data, and ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

import refserver
from refserver.app.commands import context as caller
from refserver.app.commands.questions import FORMATS
from refserver.app.commands.request import ok
from refserver.app.ctl import command
from refserver.app.data import DATABASE, SOCKET, DataLock, UnixPath
from refserver.reference import report
from tests.unit.ctl_runner import Ctl


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    return Ctl(tmp_path)


def test_the_first_use_makes_the_data_folder_for_its_owner_only(ctl: Ctl) -> None:
    ctl.config.write_text('[server]\ndata = "new"\n')
    ctl.ok("library", "add", "library.example")
    folder = ctl.folder / "new"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / DATABASE).stat().st_mode & 0o777 == 0o600


def test_a_faulty_configuration_is_refused_with_all_its_faults(ctl: Ctl) -> None:
    ctl.config.write_text("[server]\ndatum = 1\n")
    assert ctl.refused("library", "list") == (
        f"{ctl.config}: server.datum: found an unknown key, did you mean data?; allowed: data, database"
    )


def test_the_configuration_is_found_as_the_server_finds_it(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    ctl.ok("library", "add", "library.example")
    monkeypatch.chdir(ctl.folder)
    listed = CliRunner().invoke(command, ["library", "list"])
    assert "library.example" in listed.stdout


def test_where_nothing_says_which_server_is_meant_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("refserver.app.config.SEARCHED", (Path("refserver.toml"),))
    done = CliRunner().invoke(command, ["library", "add", "library.example"])
    assert done.exit_code == 1
    assert done.stderr.startswith("refserverctl: there is no configuration file here ")
    assert "name the server's configuration with -c FILE" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_configuration_data_in_var_are_used(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    ctl.ok("library", "add", "library.example")
    ctl.config.unlink()
    ctl.database.parent.rename(ctl.folder / "var")
    monkeypatch.chdir(ctl.folder)
    monkeypatch.setattr("refserver.app.config.SEARCHED", (Path("refserver.toml"),))
    assert "library.example" in CliRunner().invoke(command, ["library", "list"]).stdout


def test_help_needs_no_configuration(ctl: Ctl) -> None:
    ctl.config.write_text("[broken")
    assert "Usage: " in ctl.ok("account", "add", "--help")
    assert ctl.ok("--version") == f"refserverctl, version {refserver.__version__}\n"


def test_data_that_a_silent_process_holds_are_refused_in_the_end(
    ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller, "STARTING_SECONDS", 0.1)
    lock = DataLock(ctl.database.parent)
    lock.take()
    try:
        assert ctl.refused("library", "list").startswith(
            f"a process holds the data in {ctl.database.parent} and does not answer: "
        )
        assert "is just starting or ending" in ctl.run("status").stderr
    finally:
        lock.release()


def test_a_server_that_is_just_ending_is_waited_for(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = DataLock(ctl.database.parent)
    lock.take()
    monkeypatch.setattr("time.sleep", lambda _: lock.release())
    assert ctl.json("library", "list") == []


def test_the_lock_is_given_back(ctl: Ctl) -> None:
    ctl.ok("library", "add", "library.example")
    lock = DataLock(ctl.database.parent)
    lock.take()
    lock.release()


def test_a_socket_that_a_killed_server_left_is_in_nobodys_way(ctl: Ctl) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(ctl.database.parent / SOCKET))
    ctl.ok("library", "add", "library.example")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_anothers_data_are_refused(ctl: Ctl) -> None:
    ctl.database.parent.chmod(0)
    try:
        assert "run refserverctl as the user whose server it is" in ctl.refused("library", "list")
    finally:
        ctl.database.parent.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_folders_owner(ctl: Ctl) -> None:
    ctl.database.unlink()
    os.chown(ctl.database.parent, 65534, 65534)
    ctl.ok("library", "add", "library.example")
    owners = {path.name: path.stat().st_uid for path in ctl.database.parent.iterdir()}
    assert owners == {"lock": 65534, DATABASE: 65534}


def test_a_database_of_another_program_is_refused(ctl: Ctl) -> None:
    ctl.database.write_bytes(b"no database " * 1000)
    assert ctl.refused("library", "list").startswith(
        f"the database in {ctl.database.parent} cannot be used: "
    )


# -- a server that misbehaves ------------------------------------------------------


def answering(ctl: Ctl, answer: bytes) -> threading.Thread:
    """A server that takes one connection, reads a line, says `answer` and hangs up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(ctl.database.parent / SOCKET))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_running_server_is_asked(ctl: Ctl) -> None:
    thread = answering(ctl, ok([{"domain": "from.server.example", "name": ""}]))
    assert ctl.json("library", "list") == [{"domain": "from.server.example", "name": ""}]
    thread.join()


@pytest.mark.parametrize("answer", [b"", b'{"ok": [', b'{"ok": [1'])
def test_a_server_that_hangs_up_leaves_the_operator_with_a_clear_line(ctl: Ctl, answer: bytes) -> None:
    thread = answering(ctl, answer)
    assert ctl.refused("library", "list") == (
        "the server did not answer (it went away): ask it for its status, "
        "and look into its log, before you try again"
    )
    thread.join()


def test_a_server_that_says_nothing_is_given_up(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "ANSWER_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(ctl.database.parent / SOCKET))
        silent.listen()
        assert ctl.refused("library", "list").startswith("the server did not answer (timed out): ")


# -- long paths ----------------------------------------------------------------------


def test_a_socket_can_be_deeper_than_its_address_is_long(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("er" * 30)
    folder.mkdir(parents=True)
    here, there = UnixPath(folder / SOCKET), UnixPath(folder / SOCKET)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(here.name)
        listener.listen()
        client.connect(there.name)
    assert (folder / SOCKET).is_socket()
    for path in (here, there):
        path.close()


def test_a_short_path_is_taken_as_it_is() -> None:
    path = UnixPath(Path("/run/refserver/control.sock"))
    assert path.name == "/run/refserver/control.sock"
    path.close()


# -- what is imported ----------------------------------------------------------------


def imported(code: str) -> set[str]:
    """The packages outside Python that a new process has imported after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*{{m.partition('.')[0] for m in sys.modules}})"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(refserver.__file__).parents[1],
    )
    return set(done.stdout.split()) - sys.stdlib_module_names


def test_a_call_to_a_running_server_imports_what_is_quick_to_import_only(ctl: Ctl) -> None:
    """SQLAlchemy, alembic, Twisted and OpenSSL take longer to import than a server takes to answer."""
    thread = answering(ctl, ok([]))
    words = ["-c", str(ctl.config), "queue", "list"]
    call = f"from refserver.app.ctl import command\ncommand({words}, standalone_mode=False)"
    slow = {"sqlalchemy", "alembic", "twisted", "zope", "OpenSSL", "cryptography", "_cffi_backend"}
    assert imported(call) & slow == set()
    thread.join()


def test_the_formats_that_are_repeated_for_this_are_those_of_reports() -> None:
    assert list(FORMATS) == list(report.FORMATS)
