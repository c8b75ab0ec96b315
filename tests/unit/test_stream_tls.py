"""STARTTLS and direct TLS."""

from __future__ import annotations

import pytest

from refserver.errors import StreamCondition, StreamError
from refserver.stream.events import StartTLS
from tests.unit.stream_shell import HEADER, STARTTLS, TLS, Shell, authenticated, bound, opened, plain

PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
FAILURE = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


def test_starttls_is_granted_and_the_stream_begins_anew():
    shell = opened(tls=None)
    assert PROCEED == shell.send(STARTTLS)
    assert [StartTLS("library.example")] == shell.events
    assert shell.stream.tls is TLS
    assert b"<mechanisms " in shell.send(HEADER)
    assert b"<success " in shell.send(plain())


def test_the_shell_is_told_which_certificate_is_meant():
    shell = Shell(tls=None)
    shell.send(HEADER.replace(b"library", b"other") + STARTTLS)
    assert [StartTLS("other.example")] == shell.events


def test_what_is_pipelined_behind_starttls_is_never_executed():
    shell = opened(tls=None, require_tls=False, plain_without_tls=True)
    assert PROCEED == shell.send(STARTTLS + HEADER + plain())
    assert 1 == len(shell.events)
    assert b"<mechanisms " in shell.send(HEADER)
    assert shell.stream.account is None


def test_what_comes_before_the_handshake_is_dropped():
    shell = opened(tls=None, asks=False)
    shell.send(STARTTLS[:20])
    shell.send(STARTTLS[20:] + b"<iq")
    assert b"" == shell.send(b" type='get'/>" + HEADER)
    shell.stream.tls_started(TLS)
    assert b"<mechanisms " in shell.send(HEADER)
    assert 1 == len(shell.events)


def test_a_header_must_follow_the_handshake():
    shell = opened(tls=None)
    shell.send(STARTTLS)
    answer = shell.send(plain())
    assert answer.startswith(b"<?xml version='1.0'?><stream:stream ")
    assert shell.condition == "invalid-namespace"


@pytest.mark.parametrize(
    "shell",
    [opened(), opened(tls=None, offer_tls=False, require_tls=False), authenticated(), bound()],
    ids=["under TLS", "without certificate", "authenticated", "bound"],
)
def test_where_tls_was_not_offered_it_fails_and_the_stream_closes(shell):
    answer = shell.send(STARTTLS)
    assert answer.startswith(FAILURE)
    assert answer.endswith(b"</stream:error></stream:stream>")
    assert shell.condition == "policy-violation"


def test_starttls_amid_an_authentication_fails():
    from tests.unit.stream_shell import auth

    shell = opened(tls=None, require_tls=False)
    shell.send(auth("SCRAM-SHA-1"))
    assert shell.send(STARTTLS).startswith(FAILURE)
    assert shell.stream.closed


def test_a_failed_authentication_before_tls_still_counts_after_it():
    shell = opened(tls=None, require_tls=False)
    for _ in range(4):
        shell.send(plain())
    shell.send(STARTTLS)
    shell.send(HEADER + plain(password="wrong"))
    assert shell.condition == "policy-violation"


def test_the_handshake_cannot_finish_where_none_began():
    with pytest.raises(RuntimeError):
        opened().stream.tls_started(TLS)


@pytest.mark.parametrize(
    "end",
    [
        lambda stream: stream.fail(StreamError(StreamCondition.CONNECTION_TIMEOUT)),
        lambda stream: stream.close(),
    ],
)
def test_an_end_during_the_handshake_is_not_sent_in_plain(end):
    shell = opened(tls=None, asks=False)
    shell.send(STARTTLS)
    end(shell.stream)
    assert b"" == shell.take()
    assert shell.stream.closed
