"""The demonstration: made at the first start, found as it was left at the next."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import Connection

from refserver.app import demo
from refserver.app.commands.accounts import AccountVerifiers, SetPassword
from refserver.app.commands.context import Caller
from refserver.app.commands.librarians import ListLibrarians, RemoveLibrarian
from refserver.app.commands.libraries import ListLibraries
from refserver.app.commands.queues import ListQueues, RemoveQueue
from refserver.app.commands.request import from_json, ok
from refserver.app.config import load
from refserver.app.data import SOCKET
from refserver.app.demo import LIBRARIAN, PATRON, PEOPLE, QUEUE, CannotRun, Prepared, main, prepare
from refserver.jid import JID
from refserver.reference import asking
from refserver.reference.asking import Asker, Utterance
from refserver.sasl.verifier import Verifier, check_password, make_verifiers
from refserver.storage import queues

# Nobody listens on it, and nobody will: the tests only ask whether they could.
PORT = "17654"


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepare(tmp_path, PORT)


def caller(prepared: Prepared) -> Caller:
    return Caller(load(prepared.config))


def verifiers(prepared: Prepared, jid: str) -> Mapping[str, Verifier]:
    return from_json(caller(prepared).call(AccountVerifiers(jid)), dict[str, Verifier])


def test_there_are_a_library_a_queue_a_librarian_and_a_patron(prepared: Prepared) -> None:
    ask = caller(prepared).call
    assert [library["domain"] for library in ask(ListLibraries())] == ["localhost"]
    assert [queue["queue"] for queue in ask(ListQueues())] == [QUEUE]
    assert [(found["queue"], found["jid"]) for found in ask(ListLibrarians())] == [(QUEUE, LIBRARIAN)]
    for jid in PEOPLE:
        assert check_password(verifiers(prepared, jid)["SHA-256"], prepared.passwords[jid])


def test_each_start_has_passwords_of_its_own(prepared: Prepared, tmp_path: Path) -> None:
    other = prepare(tmp_path / "other", PORT)
    assert len({*prepared.passwords.values(), *other.passwords.values()}) == 4


def test_only_the_owner_can_read_the_passwords(prepared: Prepared, tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == prepared.passwords


def test_a_second_start_finds_everything_as_it_was_left(prepared: Prepared, tmp_path: Path) -> None:
    caller(prepared).call(RemoveLibrarian(QUEUE, LIBRARIAN))
    caller(prepared).call(RemoveQueue(QUEUE))
    before = verifiers(prepared, PATRON)
    certificate = (tmp_path / "certs" / "localhost.pem").read_bytes()
    again = prepare(tmp_path)
    assert caller(again).call(ListQueues()) == []
    assert verifiers(again, PATRON) == before
    assert (tmp_path / "certs" / "localhost.pem").read_bytes() == certificate
    assert again.passwords == prepared.passwords
    assert again.port == int(PORT)


def test_a_password_that_was_changed_is_not_claimed_to_be_known(prepared: Prepared, tmp_path: Path) -> None:
    caller(prepared).call(SetPassword(PATRON, make_verifiers("my own")))
    again = prepare(tmp_path)
    assert again.passwords[PATRON] == "(the one you have given it)"
    assert again.passwords[LIBRARIAN] == prepared.passwords[LIBRARIAN]


def test_where_the_passwords_are_lost_there_are_new_ones(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "demo.json").unlink()
    again = prepare(tmp_path)
    assert again.passwords[PATRON] != prepared.passwords[PATRON]
    assert check_password(verifiers(again, PATRON)["SHA-256"], again.passwords[PATRON])


def test_clients_are_told_whom_to_trust(prepared: Prepared, tmp_path: Path) -> None:
    authority = x509.load_pem_x509_certificate(prepared.authority.read_bytes())
    served = x509.load_pem_x509_certificate((tmp_path / "certs" / "localhost.pem").read_bytes())
    served.verify_directly_issued_by(authority)
    (hashed,) = prepared.trusted.iterdir()
    assert re.fullmatch(r"[0-9a-f]{8}\.0", hashed.name)
    assert hashed.read_bytes() == prepared.authority.read_bytes()


def test_a_new_authority_takes_the_place_of_the_old_one(prepared: Prepared, tmp_path: Path) -> None:
    (prepared.trusted / "00000000.0").write_text("an old one")
    prepare(tmp_path)
    assert len(list(prepared.trusted.iterdir())) == 1


def test_the_guide_names_the_number_that_the_next_question_gets(prepared: Prepared, tmp_path: Path) -> None:
    def ask(connection: Connection) -> None:
        queue = queues.find(connection, JID.parse(QUEUE))
        assert queue is not None
        asking.say(connection, queue.id, Asker(JID.parse(PATRON)), Utterance("a question"), now=0.0)

    data = caller(prepared).open_data()
    data.database.write_now(ask)
    data.close()
    assert (prepared.next_number, prepare(tmp_path).next_number) == (1, 2)


# -- ports -----------------------------------------------------------------------


def test_the_port_can_be_chosen_and_is_kept(prepared: Prepared, tmp_path: Path) -> None:
    listen = load(prepared.config).listen
    assert listen.c2s == ("tcp:17654:interface=127.0.0.1",)
    assert listen.c2s_tls == ("tcp:17655:interface=127.0.0.1",)
    assert prepare(tmp_path, "17664").port == 17664
    assert prepare(tmp_path).port == 17664


def test_the_usual_port_is_5222(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "bind_error", lambda host, port: 0)
    assert prepare(tmp_path).port == 5222


@pytest.mark.parametrize("port", ["0", "65535", "many", "-1", "5222 "])
def test_an_impossible_port_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(CannotRun, match="allowed is a number from 1 to 65534"):
        prepare(tmp_path, port)


def test_a_taken_port_is_said_with_how_to_choose_another(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(CannotRun) as caught:
            prepare(tmp_path, str(port))
    assert str(caught.value) == (
        f"port {port} cannot be had: Address already in use. "
        "Choose another one, and the next for TLS, like this: REFSERVER_PORT=15222 make run"
    )


def test_a_demonstration_that_runs_already_is_told_from_another_program(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Caller, "_ask_server", lambda self, verb: ok({"running": True, "process": 4711}))
    with pytest.raises(CannotRun, match=r"is running already \(process 4711\)"):
        prepare(tmp_path)
    assert not (tmp_path / "data" / SOCKET).exists()


# -- what is printed, and what is started --------------------------------------------


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed before the server is started in this process' place."""
    started: list[list[str]] = []

    def start(program: str, words: list[str]) -> None:
        started.append([program, *words])
        raise SystemExit(0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFSERVER_PORT", PORT)
    monkeypatch.setattr("os.execv", start)
    with pytest.raises(SystemExit):
        main()
    ((program, python, twistd, *words),) = started
    assert program == python
    assert Path(twistd).name == "twistd"
    assert words == ["-n", "--pidfile=", "refserver", "--config", "var/refserver.toml"]
    return capsys.readouterr().out


def test_the_guide_names_addresses_passwords_port_and_trust(printed: str, tmp_path: Path) -> None:
    passwords = json.loads((tmp_path / "var" / "demo.json").read_text())
    for text in (QUEUE, *PEOPLE, *passwords.values(), PORT, str(tmp_path / "var" / "certs" / "ca.pem")):
        assert text in printed


def test_the_guide_leads_from_the_question_to_the_report(printed: str, tmp_path: Path) -> None:
    steps = [
        f"/tls certpath set {tmp_path / 'var' / 'trusted'}",
        f"/connect {LIBRARIAN} server 127.0.0.1 port {PORT} tls force",
        "/join ask@rooms.localhost nick mia",
        f"/connect {PATRON} server 127.0.0.1 port {PORT} tls force",
        f"/msg {QUEUE} ",
        "!1\n",
        "/msg ask+1@localhost ",
        "!close 3\n",
        f"refserverctl -c var/refserver.toml report {QUEUE}\n",
    ]
    places = [printed.index(step) for step in steps]
    assert places == sorted(places)


def test_the_lines_of_the_guide_fit_a_terminal(printed: str, tmp_path: Path) -> None:
    here = str(tmp_path)
    long = [
        line for line in printed.splitlines() if len(line) > 100 and here not in line and "/bin/" not in line
    ]
    assert long == []


def test_what_cannot_run_ends_with_a_line_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFSERVER_PORT", "many")
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        "refserver: REFSERVER_PORT is 'many': allowed is a number from 1 to 65534\n"
    )
