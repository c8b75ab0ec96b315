"""refserverctl s2s: what went wrong with another server is said in plain words, with what to do next."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from refserver.app.commands import Refused
from refserver.app.commands.request import ok
from refserver.app.commands.s2s import ListRemotes, ShowRemote, explain
from refserver.app.data import SOCKET, DataLock
from refserver.errors import Cause, StreamFault
from refserver.s2s.known_servers import KnownServer
from refserver.stream.policy import ShownCertificate, TLSInfo
from tests.unit.ctl_runner import Ctl

THERE = "there.example"
NOW = 1_767_225_600.0  # 2026-01-01


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    return Ctl(tmp_path)


# -- words -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "short", "meant"),
    [
        (StreamFault(Cause.NO_SERVER), "no such server", "DNS knows no XMPP server for there.example."),
        (
            StreamFault(Cause.NO_ADDRESS, "xmpp.there.example"),
            "its server has no address",
            "DNS says that the server of there.example is xmpp.there.example, and has no address for that.",
        ),
        (
            StreamFault(Cause.CONNECTION_REFUSED, "192.0.2.1:5269"),
            "connection refused",
            "connections at 192.0.2.1:5269:",
        ),
        (StreamFault(Cause.NO_ROUTE, "[2001:db8::1]:5269"), "no way there", "to [2001:db8::1]:5269."),
        (StreamFault(Cause.CONNECTION_LOST, "slow reader"), "it hung up", "was lost (slow reader)"),
        (StreamFault(Cause.WRONG_NAME, "not for a"), "wrong name", "not for there.example"),
        (StreamFault(Cause.PROTOCOL_BROKEN, "bad-format"), "broke the protocol", "(bad-format)"),
        (StreamFault(Cause.CLOSED_WITH_ERROR, "conflict"), "closed with an error", "calls conflict."),
    ],
)
def test_what_went_wrong_is_said_in_plain_words_with_its_details(
    fault: StreamFault, short: str, meant: str
) -> None:
    explained = explain(fault, THERE)
    assert explained.short == short
    assert meant in explained.meaning


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_words_and_advice(cause: Cause) -> None:
    explained = explain(StreamFault(cause, "a detail"), THERE)
    assert explained.short
    assert explained.meaning
    assert explained.advice
    assert "{" not in explained.meaning + explained.advice


def test_what_the_peer_says_is_quoted_and_not_taken_for_our_own_words() -> None:
    explained = explain(StreamFault(Cause.WE_ARE_REFUSED, said="the certificate has expired"), THERE)
    assert explained.short == "we are refused"
    assert explained.meaning.endswith("who we say. It says: the certificate has expired")


def test_no_error_needs_no_words() -> None:
    assert explain(None, THERE) == explain(None, "other.example")
    assert explain(None, THERE).advice == ""


def test_braces_of_the_peers_are_left_alone() -> None:
    assert "is {domain}, and" in explain(StreamFault(Cause.NO_ADDRESS, "{domain}"), THERE).meaning


# -- verbs -------------------------------------------------------------------------


class Known:
    """A running server that knows these others."""

    def __init__(self, *remotes: KnownServer) -> None:
        self._remotes = remotes

    @property
    def servers(self) -> Self:
        return self

    def status(self) -> Sequence[KnownServer]:
        return list(self._remotes)


def known(*remotes: KnownServer) -> Any:
    return Known(*remotes)


def remote(**more: Any) -> KnownServer:
    made = KnownServer(
        THERE, connecting=True, waiting=2, unacknowledged=1, paused_until=NOW + 30, now=lambda: NOW
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_all_that_is_known_of_a_server_is_shown() -> None:
    there = remote(outgoing=1, outgoing_method="dialback", sent=3, received=4, refused=1, returned=2)
    there.failed(StreamFault(Cause.CONNECTION_REFUSED, "192.0.2.1:5269"))
    there.shows(
        TLSInfo(
            "TLSv1.3",
            why_not=lambda domain: StreamFault(Cause.CERTIFICATE_EXPIRED),
            certificate=ShownCertificate((THERE, f"*.{THERE}"), "CN=An Authority", NOW - 86400),
        )
    )
    shown = ShowRemote(THERE.upper()).answer(known(there))
    assert [shown] == ListRemotes().answer(known(there))
    assert shown == {
        "domain": THERE,
        "streams_out": 1,
        "streams_in": 0,
        "connecting": True,
        "method": "dialback",
        "waiting": 2,
        "unacknowledged": 1,
        "sent": 3,
        "received": 4,
        "refused": 1,
        "returned": 2,
        "certificate": "expired",
        "certificate_fault": "the certificate has expired",
        "certificate_names": [THERE, f"*.{THERE}"],
        "certificate_issuer": "CN=An Authority",
        "certificate_expires": "2025-12-31T00:00:00Z",
        "last_error": "connection refused",
        "last_error_at": "2026-01-01T00:00:00Z",
        "reason": "connection refused: 192.0.2.1:5269",
        "meaning": f"Nothing takes connections at 192.0.2.1:5269: the server of {THERE} is down, or listens "
        "elsewhere.",
        "advice": "Wait: the next stanza for it begins another attempt. If it lasts, tell its operator. "
        "s2s.hosts names another place for it.",
        "paused_until": "2026-01-01T00:00:30Z",
    }


def test_both_methods_are_shown_where_they_differ() -> None:
    there = remote(outgoing=1, incoming=1, outgoing_method="dialback", incoming_method="certificate")
    assert ShowRemote(THERE).answer(known(there))["method"] == "dialback, certificate"


def test_a_good_certificate_is_valid() -> None:
    there = remote()
    there.shows(TLSInfo("TLSv1.3", proves=lambda domain: True))
    shown = ShowRemote(THERE).answer(known(there))
    assert (shown["certificate"], shown["certificate_fault"]) == ("valid", "")


def test_a_server_that_is_not_known_is_refused() -> None:
    with pytest.raises(Refused, match="has had nothing to do with this server since it started"):
        ShowRemote("other.example").answer(known(remote()))


@pytest.mark.parametrize("domain", ["", "mia@there.example", "there.example/x", "a b", "\u202eexample"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(Refused, match="is no domain: write it like"):
        ShowRemote(domain).answer(known())


def test_where_other_servers_are_not_talked_to_that_is_said() -> None:
    with pytest.raises(Refused, match=r"s2s\.enabled is false"):
        ListRemotes().answer(cast(Any, SimpleNamespace(servers=None)))


# -- the command line ----------------------------------------------------------------


@pytest.mark.parametrize("words", [("s2s", "list"), ("s2s", "show", THERE)])
def test_without_a_running_server_there_is_one_clear_line(ctl: Ctl, words: Sequence[str]) -> None:
    command = " ".join(words[:2])
    assert ctl.refused(*words) == f"{command} needs a running server, and none runs: start it, and ask again"


def test_a_server_that_is_just_starting_is_waited_for(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = DataLock(ctl.database.parent)
    lock.take()
    threads: list[threading.Thread] = []

    def start(_: float) -> None:
        threads.append(running(ctl, []))
        lock.release()

    monkeypatch.setattr("time.sleep", start)
    assert ctl.json("s2s", "list") == []
    for thread in threads:
        thread.join()


def test_before_the_first_start_nothing_is_made(ctl: Ctl) -> None:
    ctl.config.write_text('[server]\ndata = "new"\n')
    assert "none runs" in ctl.refused("s2s", "list")
    assert not (ctl.folder / "new").exists()


def running(ctl: Ctl, data: Any) -> threading.Thread:
    """A server that answers the one request that comes with `data`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(ctl.database.parent / SOCKET))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(ok(data))

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_the_list_has_a_line_for_each_server(ctl: Ctl) -> None:
    there = remote(outgoing=1, outgoing_method="certificate", certificate_shown=True, sent=12)
    thread = running(ctl, ListRemotes().answer(known(there)))
    head, line = ctl.ok("s2s", "list").splitlines()
    thread.join()
    assert head.split("  ")[0] == "domain"
    assert line.split() == [THERE, "1", "0", "certificate", "2", "12", "0", "valid", "-"]


def test_a_list_of_nothing_says_so(ctl: Ctl) -> None:
    thread = running(ctl, [])
    assert ctl.ok("s2s", "list") == "no other server has had to do with this one yet\n"
    thread.join()


HOSTILE = "evil\x1b[2J\x9b31m\u202e\u2028"


def test_words_of_the_peers_choice_cannot_command_a_terminal(ctl: Ctl) -> None:
    there = remote()
    there.failed(StreamFault(Cause.CLOSED_WITH_ERROR, HOSTILE, HOSTILE))
    there.shows(
        TLSInfo(
            "",
            why_not=lambda _: StreamFault(Cause.WRONG_NAME, HOSTILE),
            certificate=ShownCertificate((HOSTILE,), HOSTILE, NOW),
        )
    )
    for printed in (remote_words(there), *[printed_of(ctl, options) for options in ((), ("--json",))]):
        assert all(each.isprintable() or each == "\n" for each in printed)


def remote_words(of: KnownServer) -> str:
    faults = str(of.last_error), str(of.certificate_fault)
    return "".join((*faults, *of.certificate.names, of.certificate.issuer))


def printed_of(ctl: Ctl, options: Sequence[str]) -> str:
    """What is printed of an answer that a server has not cleaned."""
    thread = running(ctl, {"domain": THERE, "reason": HOSTILE, "certificate_names": [HOSTILE]})
    printed = ctl.ok(*options, "s2s", "show", THERE)
    thread.join()
    (ctl.database.parent / SOCKET).unlink()
    return printed
