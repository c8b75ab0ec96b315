"""Registration before authentication (XEP-0077), where policy lets strangers in."""

from __future__ import annotations

import pytest

from refserver.stream.events import Malformed, RegistrationRequest
from tests.unit.stream_shell import HEADER, bound, header, opened, plain
from tests.unit.stream_shell import Shell as StreamShell

FORM = b"<iq type='get' id='r1'><query xmlns='jabber:iq:register'/></iq>"


def test_a_request_is_answered_by_the_shell():
    shell = opened(registration=True)
    assert b"<iq type='result' id='r1'/>" == shell.send(FORM)
    request = shell.last
    assert isinstance(request, RegistrationRequest)
    assert request.host == "library.example"
    assert request.stanza.type == "get"
    assert b"<success " in shell.send(plain())


def test_it_goes_to_the_host_that_was_asked_for():
    shell = StreamShell(registration=True)
    shell.send(header("other.example") + FORM.replace(b"id='r1'", b"id='r1' to='other.example'"))
    assert shell.last.host == "other.example"


def test_a_sender_that_is_nobody_is_forgotten():
    shell = opened(registration=True)
    shell.send(FORM.replace(b"id=", b"from='pat@library.example' id="))
    assert shell.last.stanza.from_ is None


def test_one_request_at_a_time():
    shell = opened(registration=True, asks=False)
    shell.send(FORM + FORM.replace(b"r1", b"r2"))
    assert 1 == len(shell.events)
    shell.walk(shell.stream.registration_answered(shell.last.stanza.result()))
    assert ["r1", "r2"] == [event.stanza.id for event in shell.events]


def test_an_error_is_an_answer_too():
    from refserver.errors import Condition, StanzaError

    shell = opened(registration=True, asks=False)
    shell.send(FORM)
    shell.walk(shell.stream.registration_answered(shell.last.stanza.error(StanzaError(Condition.CONFLICT))))
    assert b"<conflict " in shell.take()


def test_a_malformed_request_is_answered():
    shell = opened(registration=True)
    assert b"<bad-request " in shell.send(FORM.replace(b" id='r1'", b""))
    assert isinstance(shell.last, Malformed)
    assert b"type='result'" in shell.send(FORM)


def test_a_malformed_request_from_somebody_closes_the_stream():
    shell = opened(registration=True)
    shell.send(FORM.replace(b" id='r1'", b" from='pat@library.example'"))
    assert shell.condition == "invalid-from"


@pytest.mark.parametrize(
    "stanza",
    [
        FORM.replace(b"id=", b"to='mia@library.example' id="),
        FORM.replace(b"id=", b"to='elsewhere.example' id="),
        FORM.replace(b"get", b"result"),
        FORM.replace(b"jabber:iq:register", b"jabber:iq:auth"),
        b"<message><query xmlns='jabber:iq:register'/></message>",
        b"<presence type='set'><query xmlns='jabber:iq:register'/></presence>",
        b"<iq type='get' id='1'/>",
    ],
)
def test_anything_else_is_not_authorized(stanza):
    shell = opened(registration=True)
    shell.send(stanza)
    assert shell.condition == "not-authorized"


@pytest.mark.parametrize("options", [{}, {"tls": None, "registration": True}])
def test_where_it_is_not_offered_it_is_not_authorized(options):
    shell = opened(**options)
    shell.send(FORM)
    assert shell.condition == "not-authorized"


def test_amid_an_authentication_it_is_not_authorized():
    from tests.unit.stream_shell import auth

    shell = opened(registration=True)
    shell.send(auth("PLAIN") + FORM)
    assert shell.condition == "not-authorized"


def test_once_bound_it_is_a_stanza_like_others():
    shell = bound(registration=True)
    assert b"" == shell.send(FORM)
    assert ["iq"] == [stanza.kind for stanza in shell.stanzas]


def test_an_answer_that_nobody_asked_for_is_a_fault_of_ours():
    shell = opened(registration=True)
    shell.send(FORM)
    with pytest.raises(RuntimeError):
        shell.stream.registration_answered(shell.last.stanza.result())


def test_an_answer_on_a_closed_stream_does_nothing():
    shell = opened(registration=True, asks=False)
    shell.send(FORM + HEADER[:0])
    shell.stream.close()
    shell.take()
    assert [] == list(shell.stream.registration_answered(shell.last.stanza.result()))
    assert b"" == shell.take()
