"""Stanzas: what is checked when one is received, what answers it, and what is written of it."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest

from refserver import ns
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError, default_type
from refserver.jid import JID
from refserver.stanza import Stanza, new_id
from refserver.xml.element import element

MIA = JID.parse("mia@library.example/desk")
PAT = JID.parse("pat@home.example/phone")


def tree(text: str) -> Element:
    return fromstring(f"<stream xmlns='{ns.CLIENT}'>{text}</stream>")[0]


def received(text: str) -> Stanza:
    return Stanza.received(tree(text))


# -- receiving ---------------------------------------------------------------------


def test_what_a_stanza_says_can_be_read() -> None:
    stanza = received(
        "<message to='pat@home.example' from='mia@library.example/desk' type='chat' id='m1'>"
        "<body>first</body><body>second</body><x xmlns='urn:a'/></message>"
    )
    assert ("message", PAT.bare, MIA) == (stanza.kind, stanza.to, stanza.from_)
    assert ("chat", "m1", "first") == (stanza.type, stanza.id, stanza.body)
    assert stanza.child("urn:a", "x") is not None
    assert stanza.child("urn:b", "x") is None


def test_what_a_stanza_does_not_say_is_empty() -> None:
    stanza = received("<message/>")
    assert (None, None, "", "", "", None) == (
        stanza.to,
        stanza.from_,
        stanza.type,
        stanza.id,
        stanza.body,
        stanza.payload,
    )


def test_an_unknown_type_of_message_is_normal() -> None:
    assert "normal" == received("<message type='shout'/>").type


@pytest.mark.parametrize(
    "text, condition",
    [
        ("<message to='@'/>", Condition.JID_MALFORMED),
        ("<presence from='a b@c'/>", Condition.JID_MALFORMED),
        ("<presence type='here'/>", Condition.BAD_REQUEST),
        ("<iq type='get'><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='get' id=''><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='get' id='1'/>", Condition.BAD_REQUEST),
        ("<iq type='set' id='1'><a/><b/></iq>", Condition.BAD_REQUEST),
        ("<iq id='1'><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='ask' id='1'><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='result' id='1'><a/><b/></iq>", Condition.BAD_REQUEST),
    ],
)
def test_what_no_stanza_may_be_is_refused(text: str, condition: Condition) -> None:
    with pytest.raises(StanzaError) as caught:
        received(text)
    assert condition is caught.value.condition


@pytest.mark.parametrize(
    "text",
    [
        "<iq type='result' id='1'/>",
        "<iq type='result' id='1'><a/></iq>",
        "<iq type='error' id='1'><a/><b/></iq>",
    ],
)
def test_an_answer_may_be_empty(text: str) -> None:
    assert "1" == received(text).id


# -- answering ---------------------------------------------------------------------


def test_a_result_goes_back_to_who_asked() -> None:
    request = Stanza.iq("get", PAT, MIA, "i1", element("urn:a", "query"))
    result = request.result(element("urn:a", "answer"))
    assert ("iq", "result", "i1", MIA, PAT) == (result.kind, result.type, result.id, result.to, result.from_)
    assert result.payload is not None
    assert "{urn:a}answer" == result.payload.tag


def test_an_error_repeats_nothing_of_what_it_answers() -> None:
    message = Stanza.message(PAT, MIA, "chat", "m1", body="secret")
    error = message.error(StanzaError(Condition.FORBIDDEN, "not you", app=element("urn:a", "why")))
    assert (
        "<message to='mia@library.example/desk' from='pat@home.example/phone' type='error' id='m1'>"
        f"<error type='auth'><forbidden xmlns='{ns.STANZAS}'/>"
        f"<text xmlns='{ns.STANZAS}' xml:lang='en'>not you</text><why xmlns='urn:a'/></error></message>"
    ) == error.wire().decode()


@pytest.mark.parametrize(
    "condition, type_",
    [
        (Condition.FORBIDDEN, "auth"),
        (Condition.BAD_REQUEST, "modify"),
        (Condition.RESOURCE_CONSTRAINT, "wait"),
        (Condition.ITEM_NOT_FOUND, "cancel"),
    ],
)
def test_an_error_has_the_type_that_the_rfc_recommends(condition: Condition, type_: str) -> None:
    assert type_ == default_type(condition) == StanzaError(condition).type
    assert "wait" == StanzaError(condition, type="wait").type


def test_a_stream_error_has_its_condition_text_and_reason() -> None:
    error = StreamError(StreamCondition.CONFLICT, "replaced", element("urn:a", "why")).element()
    assert [f"{{{ns.STREAMS}}}conflict", f"{{{ns.STREAMS}}}text", "{urn:a}why"] == [
        child.tag for child in error
    ]
    assert [f"{{{ns.STREAMS}}}reset"] == [child.tag for child in StreamError(StreamCondition.RESET).element()]


# -- writing -----------------------------------------------------------------------


def test_its_own_idea_of_the_addresses_is_written_and_not_what_was_received() -> None:
    stanza = received("<message to='eve@home.example' from='eve@home.example' id='m1'/>")
    stanza.to, stanza.from_ = PAT, MIA
    assert b"<message to='pat@home.example/phone' from='mia@library.example/desk' id='m1'/>" == stanza.wire()
    stanza = received("<presence to='eve@home.example'/>")
    stanza.to = None
    assert b"<presence/>" == stanza.wire()


def test_for_a_servers_stream_it_is_written_in_that_namespace() -> None:
    stanza = Stanza.message(PAT, MIA, "chat", "m1", body="hi")
    assert (
        b"<message to='pat@home.example/phone' from='mia@library.example/desk' type='chat' id='m1'>"
        b"<body>hi</body></message>"
    ) == stanza.encode(ns.SERVER)


def test_copies_to_many_differ_in_nothing_but_the_recipient() -> None:
    stanza = Stanza.presence(None, MIA, children=[element(ns.CLIENT, "show", text="away")])
    copies = [stanza.copy_to(to).wire() for to in (PAT, PAT.bare)]
    rest = b" from='mia@library.example/desk'><show>away</show></presence>"
    assert [
        b"<presence to='pat@home.example/phone'" + rest,
        b"<presence to='pat@home.example'" + rest,
    ] == copies
    assert copies[0] == stanza.wire_to(PAT)
    assert stanza.to is None


def test_a_copy_may_be_changed_and_the_original_stays() -> None:
    stanza = Stanza.message(PAT, MIA, body="hi")
    before = stanza.wire()
    copied = stanza.copy()
    copied.element.append(element("urn:a", "x"))
    copied.changed()
    assert before == stanza.wire()
    assert b"<x xmlns='urn:a'/></message>" in copied.wire()


def test_what_was_changed_is_written_anew() -> None:
    raw = b"<message id='m1'/>"
    stanza = Stanza.received(tree(raw.decode()), raw)
    stanza.from_ = MIA
    assert b"<message from='mia@library.example/desk' id='m1'/>" == stanza.wire()
    stanza.element.set("id", "m2")
    stanza.changed()
    assert b"<message from='mia@library.example/desk' id='m2'/>" == stanza.wire()


@pytest.mark.parametrize(
    "raw",
    [b"<message from='eve@home.example'/>", b"<message to='PAT@home.example'/>", b"<message type='shout'/>"],
)
def test_bytes_that_say_something_else_are_not_forwarded(raw: bytes) -> None:
    stanza = Stanza.received(tree(raw.decode()), raw)
    stanza.from_ = MIA
    assert not stanza.can_splice
    assert b"eve" not in stanza.wire()
    assert b"PAT" not in stanza.wire()
    assert b"shout" not in stanza.wire()


def test_ids_are_used_once() -> None:
    assert new_id() != new_id()
    assert Stanza.message(PAT, MIA).id != Stanza.iq("get", PAT, MIA, payload=element("urn:a", "x")).id
