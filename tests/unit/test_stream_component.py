"""The accepting side of a component's stream, XEP-0114: header, handshake, stanzas, faults."""

from __future__ import annotations

import hashlib
import re

import pytest

from refserver.errors import StreamCondition, StreamError
from refserver.stanza import Stanza
from refserver.stream.component import ComponentStream
from refserver.stream.events import Authenticated, Malformed, StreamClosed, StreamFailed
from refserver.xml import Limits

DOMAIN = "sms.library.example"
SECRET = "a shared secret"
FROM = f"from='+431@{DOMAIN}'"
TO = "to='ask@library.example'"
MESSAGE = f"<message {FROM} {TO}><body>Hello</body></message>"


def header(to: str | None = DOMAIN, content: str = "jabber:component:accept") -> str:
    address = "" if to is None else f" to='{to}'"
    return f"<stream:stream xmlns='{content}' xmlns:stream='http://etherx.jabber.org/streams'{address}>"


class Component:
    """What a component sees, and the events its sending led to."""

    def __init__(self) -> None:
        self.stream = ComponentStream.begin({DOMAIN: SECRET}.get, Limits(10_000), Limits(50_000))
        self.events: list[object] = []

    def send(self, text: str) -> str:
        self.events = list(self.stream.receive(text.encode()))
        return self.stream.take_output().decode()

    def proof(self, secret: str = SECRET) -> str:
        digest = hashlib.sha1((self.stream.id + secret).encode()).hexdigest()
        return f"<handshake>{digest}</handshake>"

    def attached(self) -> Component:
        self.send(header())
        assert self.send(self.proof()) == "<handshake/>"
        return self

    def failed(self, condition: StreamCondition) -> bool:
        """True if the last thing that happened was that error."""
        last = self.events[-1]
        assert isinstance(last, StreamFailed), self.events
        assert last.error.condition is condition
        return self.stream.closed


def test_the_answer_to_the_header_names_the_component_and_has_an_id_and_no_version() -> None:
    component = Component()
    answer = component.send(header())
    found = re.fullmatch(
        r"<\?xml version='1.0'\?><stream:stream xmlns='jabber:component:accept'"
        r" xmlns:stream='http://etherx.jabber.org/streams' id='([^']{16,})' from='sms.library.example'>",
        answer,
    )
    assert found is not None
    assert component.stream.id == found[1]
    assert Component().send(header()) != answer


def test_who_knows_the_secret_is_authenticated() -> None:
    component = Component()
    component.send(header())
    assert component.stream.account is None
    assert component.send(component.proof()) == "<handshake/>"
    (event,) = component.events
    assert isinstance(event, Authenticated)
    assert str(event.account) == DOMAIN
    assert component.stream.account == event.account


def test_the_domain_is_prepared_before_it_is_looked_up() -> None:
    component = Component()
    assert f"from='{DOMAIN}'" in component.send(header("SMS.Library.Example"))


def test_everything_may_come_byte_by_byte() -> None:
    component = Component()
    for character in header():
        component.send(character)
    told = [component.send(character) for character in component.proof() + MESSAGE]
    assert "".join(told) == "<handshake/>"
    (stanza,) = component.events
    assert isinstance(stanza, Stanza)
    assert stanza.body == "Hello"


@pytest.mark.parametrize(
    "proof",
    [
        "<handshake/>",
        "<handshake></handshake>",
        "<handshake>0000000000000000000000000000000000000000</handshake>",
        "<handshake>é</handshake>",
        MESSAGE,
        "<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>",
        "<proof/>",
    ],
)
def test_nothing_but_the_right_proof_is_taken(proof: str) -> None:
    component = Component()
    component.send(header())
    answer = component.send(proof)
    assert component.failed(StreamCondition.NOT_AUTHORIZED)
    assert "<not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" in answer
    assert answer.endswith("</stream:stream>")
    assert component.stream.account is None


def test_a_proof_with_another_secret_or_of_another_stream_or_in_capitals_is_wrong() -> None:
    other = Component()
    other.send(header())
    for proof in (
        lambda component: component.proof("another secret"),
        lambda component: other.proof(),
        lambda component: re.sub("[0-9a-f]{40}", lambda found: found[0].upper(), component.proof()),
        lambda component: component.proof().replace(">", "><a/>", 1),
    ):
        component = Component()
        component.send(header())
        component.send(proof(component))
        assert component.failed(StreamCondition.NOT_AUTHORIZED)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (header("fax.library.example"), StreamCondition.HOST_UNKNOWN),
        (header("someone@sms.library.example"), StreamCondition.HOST_UNKNOWN),
        (header(None), StreamCondition.IMPROPER_ADDRESSING),
        (header(""), StreamCondition.IMPROPER_ADDRESSING),
        (header(content="jabber:client"), StreamCondition.INVALID_NAMESPACE),
        (header(content="jabber:component:connect"), StreamCondition.INVALID_NAMESPACE),
        (header(content="jabber:server"), StreamCondition.INVALID_NAMESPACE),
        ("<?xml version='1.0'?><!DOCTYPE a><a/>", StreamCondition.RESTRICTED_XML),
        ("hello", StreamCondition.NOT_WELL_FORMED),
    ],
)
def test_a_wrong_header_is_answered_with_a_header_the_error_and_the_end(
    text: str, condition: StreamCondition
) -> None:
    component = Component()
    answer = component.send(text)
    assert component.failed(condition)
    assert answer.startswith("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'")
    assert f"<{condition.value} " in answer
    assert answer.endswith("</stream:stream>")


def test_a_stanza_is_in_the_namespace_that_the_server_uses_inside() -> None:
    component = Component().attached()
    component.send(MESSAGE)
    (stanza,) = component.events
    assert isinstance(stanza, Stanza)
    assert (str(stanza.from_), str(stanza.to)) == (f"+431@{DOMAIN}", "ask@library.example")
    assert stanza.element.tag == "{jabber:client}message"
    assert stanza.encode("jabber:component:accept").startswith(b"<message ")
    assert stanza.wire() == MESSAGE.encode()


@pytest.mark.parametrize("sender", [DOMAIN, f"+431@{DOMAIN}", f"+431@{DOMAIN}/phone", f"A@{DOMAIN.upper()}"])
def test_any_address_at_the_domain_may_be_the_sender(sender: str) -> None:
    component = Component().attached()
    component.send(f"<presence from='{sender}' {TO}/>")
    assert isinstance(component.events[0], Stanza)


@pytest.mark.parametrize(
    ("attributes", "condition"),
    [
        (f"from='mia@library.example' {TO}", StreamCondition.INVALID_FROM),
        (f"from='a@x.{DOMAIN}' {TO}", StreamCondition.INVALID_FROM),
        (f"from='library.example' {TO}", StreamCondition.INVALID_FROM),
        (TO, StreamCondition.IMPROPER_ADDRESSING),
        (f"from='' {TO}", StreamCondition.IMPROPER_ADDRESSING),
        (f"from='@{DOMAIN}' {TO}", StreamCondition.IMPROPER_ADDRESSING),
        (FROM, StreamCondition.IMPROPER_ADDRESSING),
        (f"{FROM} to=''", StreamCondition.IMPROPER_ADDRESSING),
    ],
)
def test_addresses_that_are_missing_or_not_the_components_end_the_stream(
    attributes: str, condition: StreamCondition
) -> None:
    for kind in ("message", "presence", "iq type='result' id='1'"):
        component = Component().attached()
        component.send(f"<{kind} {attributes}/>")
        assert component.failed(condition)


def test_a_stanza_with_a_fault_is_answered_and_the_stream_goes_on() -> None:
    component = Component().attached()
    answer = component.send(f"<message {FROM} to='@' id='m1'><body>Hi</body></message>")
    assert answer.startswith(f"<message to='+431@{DOMAIN}' from='{DOMAIN}' type='error' id='m1'>")
    assert "<jid-malformed " in answer
    assert "jabber:client" not in answer
    assert isinstance(component.events[0], Malformed)

    answer = component.send(f"<iq {FROM} {TO} type='get' id='i1'/>")
    assert "<bad-request " in answer
    component.send(MESSAGE)
    assert isinstance(component.events[0], Stanza)


def test_an_error_with_a_fault_is_not_answered() -> None:
    component = Component().attached()
    assert component.send(f"<message {FROM} to='@' type='error'/>") == ""
    assert isinstance(component.events[0], Malformed)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("<handshake/>", StreamCondition.POLICY_VIOLATION),
        ("<log xmlns='jabber:component:accept'/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (f"<message xmlns='jabber:server' {FROM} {TO}/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ("<!-- -->", StreamCondition.RESTRICTED_XML),
        ("<message></presence>", StreamCondition.NOT_WELL_FORMED),
    ],
)
def test_what_is_no_stanza_ends_the_stream(text: str, condition: StreamCondition) -> None:
    component = Component().attached()
    component.send(text)
    assert component.failed(condition)


def test_before_the_handshake_less_is_taken_than_after() -> None:
    long = f"<message {FROM} {TO}><body>{'a' * 20_000}</body></message>"
    component = Component()
    component.send(header())
    component.send(f"<handshake>{'a' * 10_001}")
    assert component.failed(StreamCondition.POLICY_VIOLATION)

    component = Component().attached()
    component.send(long)
    assert isinstance(component.events[0], Stanza)
    component.send(f"<message {FROM} {TO}><body>{'a' * 50_001}")
    assert component.failed(StreamCondition.POLICY_VIOLATION)


def test_what_follows_the_handshake_in_the_same_bytes_is_read() -> None:
    component = Component()
    component.send(header())
    assert component.send(component.proof() + MESSAGE) == "<handshake/>"
    assert [type(event) for event in component.events] == [Authenticated, Stanza]


def test_the_closing_tag_is_answered_once() -> None:
    component = Component().attached()
    assert component.send("</stream:stream>") == "</stream:stream>"
    assert isinstance(component.events[0], StreamClosed)
    assert component.stream.closed
    assert component.send(MESSAGE) == ""
    assert component.events == []


def test_a_components_stream_error_ends_the_stream() -> None:
    component = Component().attached()
    error = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    assert component.send(error) == "</stream:stream>"
    assert component.events == [StreamClosed("system-shutdown")]


def test_our_closing_tag_waits_for_the_components() -> None:
    component = Component().attached()
    component.stream.close()
    component.stream.close()
    assert component.stream.take_output() == b"</stream:stream>"
    assert component.send(MESSAGE) == ""
    assert component.events == []
    assert component.send("</stream:stream>") == ""
    assert component.events == [StreamClosed()]


def test_a_stream_that_never_began_is_closed_without_a_word() -> None:
    component = Component()
    component.stream.close()
    assert component.stream.closed
    assert component.stream.take_output() == b""


def test_an_error_of_ours_is_told_with_a_header_if_there_was_none() -> None:
    component = Component()
    component.stream.fail(StreamError(StreamCondition.CONNECTION_TIMEOUT))
    output = component.stream.take_output()
    assert output.startswith(b"<?xml")
    assert b"<connection-timeout " in output

    component = Component().attached()
    component.stream.fail(StreamError(StreamCondition.CONFLICT))
    assert component.stream.take_output().startswith(b"<stream:error>")
    component.stream.fail(StreamError(StreamCondition.CONFLICT))
    assert component.stream.take_output() == b""
