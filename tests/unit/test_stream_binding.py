"""Binding a resource (RFC 6120 7), and the session that does nothing."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.stream.events import BindRequested, Malformed, Reply
from tests.unit.stream_shell import BIND, authenticated, bound

NS = "urn:ietf:params:xml:ns:xmpp-bind"
SESSION = b"<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"
PAT = JID.parse("pat@library.example")


def bind(resource: str, id="b1", attributes="") -> bytes:
    inner = f"<bind xmlns='{NS}'><resource>{resource}</resource></bind>"
    return f"<iq type='set' id='{id}'{attributes}>{inner}</iq>".encode()


def test_the_resource_that_was_asked_for_is_bound():
    shell = authenticated()
    jid = PAT.with_resource("desk")
    answer = f"<iq type='result' id='b1'><bind xmlns='{NS}'><jid>pat@library.example/desk</jid></bind></iq>"
    assert answer.encode() == shell.send(bind("desk"))
    assert [BindRequested(jid, "desk")] == shell.events
    assert shell.stream.jid == jid


@pytest.mark.parametrize("request_", [BIND, bind("")])
def test_without_one_a_new_one_is_made(request_):
    made = set()
    for _ in range(2):
        shell = authenticated()
        shell.send(request_)
        assert isinstance(shell.last, BindRequested)
        assert shell.last.resource is None
        assert shell.last.jid.bare is PAT
        assert len(shell.last.jid.resourcepart) >= 12
        assert shell.stream.jid is shell.last.jid
        made.add(shell.stream.jid)
    assert len(made) == 2


def test_the_resource_is_prepared():
    shell = authenticated()
    shell.send(bind("de\u0301sk\u3000x"))
    assert shell.last.resource == "d\u00e9sk x"


def test_the_shell_may_give_another_one():
    shell = authenticated()
    shell.asks = False
    shell.send(bind("desk"))
    shell.walk(shell.stream.bound(PAT.with_resource("other")))
    assert b"<jid>pat@library.example/other</jid>" in shell.take()
    assert shell.stream.jid.resourcepart == "other"


@pytest.mark.parametrize("resource", ["\u0600", "x" * 1024, "&#xfeff;", "\ue000"])
def test_an_impossible_resource_is_a_bad_request(resource):
    shell = authenticated()
    answer = shell.send(bind(resource))
    assert b"<error type='modify'><bad-request " in answer
    assert answer.startswith(b"<iq type='error' id='b1'>")
    assert not shell.events
    assert b"type='result'" in shell.send(bind("desk"))


def test_a_refusal_is_told_and_another_resource_may_be_tried():
    shell = authenticated()
    assert b"<error type='cancel'><conflict " in shell.send(bind("taken"))
    assert shell.stream.jid is None
    assert b"type='result'" in shell.send(bind("desk"))


def test_patience_ends_with_the_fifth_refusal():
    shell = authenticated()
    for _ in range(4):
        shell.send(bind("taken"))
        assert not shell.condition
    shell.send(bind("x" * 1024))
    assert shell.condition == "policy-violation"


@pytest.mark.parametrize(
    "stanza",
    [
        b"<message to='mia@library.example'><body>x</body></message>",
        b"<presence/>",
        b"<iq type='get' id='1' to='mia@library.example'><x xmlns='urn:x'/></iq>",
        b"<iq type='result' id='1'/>",
        bind("desk", attributes=" to='mia@library.example'"),
    ],
)
def test_before_it_no_stanza_is_processed(stanza):
    shell = authenticated()
    shell.send(stanza)
    assert shell.condition == "not-authorized"
    assert not shell.stanzas


@pytest.mark.parametrize(
    "stanza",
    [
        b"<iq type='get' id='1'><x xmlns='urn:x'/></iq>",
        b"<iq type='get' id='1' to='library.example'><x xmlns='urn:x'/></iq>",
        b"<iq type='get' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    ],
)
def test_before_it_another_request_to_the_server_is_answered(stanza):
    shell = authenticated()
    answer = shell.send(stanza)
    assert b"<error type='wait'><unexpected-request " in answer
    assert b"type='result'" in shell.send(bind("desk"))


@pytest.mark.parametrize(
    "stanza",
    [b"<iq type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", b"<iq type='set' id='1'/>"],
)
def test_a_malformed_request_is_a_bad_request(stanza):
    shell = authenticated()
    assert b"<bad-request " in shell.send(stanza)
    assert [Malformed] == list(map(type, shell.events))
    assert b"type='result'" in shell.send(bind("desk"))


def test_the_own_account_may_be_named_as_sender():
    shell = authenticated()
    assert b"type='result'" in shell.send(bind("desk", attributes=" from='pat@library.example'"))


def test_another_account_may_not_be_named_as_sender():
    shell = authenticated()
    shell.send(bind("desk", attributes=" from='mia@library.example'"))
    assert shell.condition == "invalid-from"


def test_what_is_pipelined_behind_it_is_read_when_it_is_answered():
    shell = authenticated()
    shell.asks = False
    shell.send(bind("desk") + b"<presence/>")
    shell.send(b"<message/>")
    assert not shell.stanzas
    shell.walk(shell.stream.bound(PAT.with_resource("desk")))
    assert ["presence", "message"] == [stanza.kind for stanza in shell.stanzas]


def test_an_answer_on_a_closed_stream_does_nothing():
    shell = authenticated()
    shell.asks = False
    shell.send(bind("desk"))
    shell.stream.close()
    shell.take()
    assert [] == list(shell.stream.bound(PAT.with_resource("desk")))
    assert b"" == shell.take()
    assert shell.stream.jid is None


def test_an_answer_that_nobody_asked_for_is_a_fault_of_ours():
    with pytest.raises(RuntimeError):
        bound().stream.bound(PAT.with_resource("desk"))


def test_a_legacy_session_is_there_already():
    shell = bound()
    answer = shell.send(b"<iq type='set' id='s1' to='library.example'>" + SESSION + b"</iq>")
    assert b"<iq to='pat@library.example/desk' from='library.example' type='result' id='s1'/>" == answer
    assert [Reply] == list(map(type, shell.events))


def test_a_second_resource_is_not_to_be_had():
    shell = bound()
    answer = shell.send(bind("second", "b2"))
    assert b"<error type='cancel'><not-allowed " in answer
    assert shell.stream.jid == PAT.with_resource("desk")


def test_what_is_asked_of_the_own_account_is_asked_of_the_server():
    shell = authenticated()
    own = b"<iq type='get' id='1' to='pat@library.example'><x xmlns='urn:x'/></iq>"
    assert b"<unexpected-request " in shell.send(own)
    shell.send(bind("desk"))
    answer = shell.send(own.replace(b"get", b"set").replace(b"<x xmlns='urn:x'/>", SESSION))
    assert b"type='result'" in answer
    assert not shell.stanzas


def test_only_an_iq_asks_for_a_session_or_a_resource():
    shell = bound()
    assert b"" == shell.send(b"<message type='chat'>" + SESSION + b"</message>")
    assert ["message"] == [stanza.kind for stanza in shell.stanzas]


@pytest.mark.parametrize("type_", ["result", "error"])
def test_an_answer_about_a_session_is_not_answered(type_):
    shell = bound()
    assert b"" == shell.send(f"<iq type='{type_}' id='1'>".encode() + SESSION + b"</iq>")
    assert not shell.events


def test_a_bind_request_to_somebody_else_is_theirs():
    shell = bound()
    assert b"" == shell.send(bind("x", attributes=" to='mia@library.example'"))
    assert ["iq"] == [stanza.kind for stanza in shell.stanzas]
