"""Stanzas: what is taken, made, answered and copied."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest

from refserver import ns
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError, default_type
from refserver.jid import JID
from refserver.stanza import Stanza, Tracked, new_id
from refserver.xml.element import clark, element
from refserver.xml.write import serialise

MIA, PAT = JID.parse("mia@library.example/desk"), JID.parse("pat@library.example")


def tree(text: str) -> Element:
    return fromstring(f"<s xmlns='{ns.CLIENT}'>{text}</s>")[0]


def received(text: str) -> Stanza:
    return Stanza.received(tree(text))


# -- what a stream delivers --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, condition",
    [
        ("<message to='@'/>", Condition.JID_MALFORMED),
        ("<message to=''/>", Condition.JID_MALFORMED),
        ("<presence from='a@b@c'/>", Condition.JID_MALFORMED),
        ("<presence type='here'/>", Condition.BAD_REQUEST),
        ("<presence type='available'/>", Condition.BAD_REQUEST),
        ("<iq id='1'><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='ask' id='1'><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='get'><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='get' id=''><a/></iq>", Condition.BAD_REQUEST),
        ("<iq type='get' id='1'/>", Condition.BAD_REQUEST),
        ("<iq type='set' id='1'><a/><b/></iq>", Condition.BAD_REQUEST),
        ("<iq type='result'/>", Condition.BAD_REQUEST),
        ("<iq type='result' id='1'><a/><b/></iq>", Condition.BAD_REQUEST),
    ],
)
def test_a_malformed_stanza_is_an_error(text: str, condition: Condition) -> None:
    with pytest.raises(StanzaError) as raised:
        received(text)
    assert condition is raised.value.condition
    assert ("modify", condition.value) == (raised.value.type, str(raised.value))


@pytest.mark.parametrize(
    "text",
    [
        "<iq type='get' id='1'><a/></iq>",
        "<iq type='result' id='1'/>",
        "<iq type='result' id='1'><a/></iq>",
        "<iq type='error' id='1'><a/><error type='cancel'/></iq>",
        *(f"<presence type='{type}'/>" for type in ("unavailable", "probe", "subscribe", "error")),
        *(f"<message type='{type}'/>" for type in ("chat", "normal", "groupchat", "headline", "error")),
    ],
)
def test_good_ones_keep_their_type(text: str) -> None:
    stanza = received(text)
    assert tree(text).get("type") == stanza.type
    assert tree(text).tag == clark(ns.CLIENT, stanza.kind)


def test_a_message_of_an_unknown_type_is_normal_and_its_bytes_are_not_forwarded() -> None:
    raw = b"<message type='urgent' to='pat@library.example'/>"
    stanza = Stanza.received(tree(raw.decode()), raw)
    assert "normal" == stanza.type
    assert not stanza.can_splice
    assert b"urgent" not in stanza.wire()


def test_a_server_s_stanza_is_one_too() -> None:
    assert "message" == Stanza.received(element(ns.SERVER, "message")).kind


def test_parts_are_read() -> None:
    stanza = received(
        "<message to='pat@library.example' from='mia@library.example/desk' id='7'>"
        "<x xmlns='urn:x'>1</x><body>a</body><body>b</body></message>"
    )
    assert (PAT, MIA, "7", "", "a") == (stanza.to, stanza.from_, stanza.id, stanza.type, stanza.body)
    found = stanza.child("urn:x", "x")
    assert found is not None
    assert found is stanza.payload
    assert stanza.child("urn:x", "y") is None
    empty = received("<message/>")
    assert (None, None, "", "", "", None) == (
        empty.to,
        empty.from_,
        empty.id,
        empty.type,
        empty.body,
        empty.payload,
    )
    assert "" == received("<message><body/></message>").body


# -- our own -----------------------------------------------------------------------------------


def test_messages_presences_and_iqs_are_made() -> None:
    said = Stanza.message(PAT, MIA, "chat", "1", (element("urn:x", "x"),), "a<b")
    assert (
        b"<message to='pat@library.example' from='mia@library.example/desk' type='chat' id='1'>"
        b"<body>a&lt;b</body><x xmlns='urn:x'/></message>"
    ) == said.wire()
    gone = Stanza.presence(None, MIA, "unavailable")
    assert b"<presence from='mia@library.example/desk' type='unavailable'/>" == gone.wire()
    asked = Stanza.iq("get", PAT, None, "2", element(ns.PING, "ping"))
    assert (
        b"<iq to='pat@library.example' type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>" == asked.wire()
    )


def test_ids_of_ours_are_used_once() -> None:
    ids = {new_id() for _ in range(100)} | {Stanza.message(PAT, MIA).id, Stanza.iq("get", PAT, MIA).id}
    assert 102 == len(ids)


def test_an_empty_id_is_left_out() -> None:
    assert "id" not in Stanza.message(PAT, MIA, id="").element.attrib


# -- answers -----------------------------------------------------------------------------------


def test_a_result_goes_back_under_the_same_id() -> None:
    answer = Stanza.iq("get", PAT, MIA, "7", element("urn:x", "x")).result(element("urn:y", "y"))
    assert (MIA, PAT, "7", "result") == (answer.to, answer.from_, answer.id, answer.type)
    assert answer.payload is not None
    assert "{urn:y}y" == answer.payload.tag


def test_an_error_goes_back_with_condition_text_and_application_condition() -> None:
    error = StanzaError(Condition.CONFLICT, "no", "wait", element("urn:app", "taken"))
    answer = Stanza.message(PAT, MIA, id="7", body="secret").error(error)
    assert (
        b"<message to='mia@library.example/desk' from='pat@library.example' type='error' id='7'>"
        b"<error type='wait'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no</text>"
        b"<taken xmlns='urn:app'/></error></message>"
    ) == answer.wire()


def test_each_condition_has_the_type_that_the_rfc_recommends() -> None:
    """RFC 6120 8.3.3; where it allows two, the one that says that trying again is of no use."""
    types = {condition: default_type(condition) for condition in Condition}
    expected = {
        "auth": {"forbidden", "not-authorized", "registration-required", "subscription-required"},
        "modify": {
            "bad-request",
            "jid-malformed",
            "not-acceptable",
            "policy-violation",
            "redirect",
        },
        "wait": {
            "recipient-unavailable",
            "remote-server-timeout",
            "resource-constraint",
            "unexpected-request",
        },
    }
    for type, names in expected.items():
        assert names == {condition.value for condition, found in types.items() if found == type}
    assert {"auth", "modify", "wait", "cancel"} == set(types.values())


def test_a_stream_error_is_written_in_its_namespace() -> None:
    error = StreamError(StreamCondition.POLICY_VIOLATION, "no", element("urn:app", "too-much"))
    space = "urn:ietf:params:xml:ns:xmpp-streams"
    assert (
        f"<stream:error><policy-violation xmlns='{space}'/><text xmlns='{space}' xml:lang='en'>no</text>"
        "<too-much xmlns='urn:app'/></stream:error>"
    ).encode() == serialise(error.element())
    assert "policy-violation" == str(error)


# -- copies ------------------------------------------------------------------------------------


def test_a_copy_may_be_changed_without_harm() -> None:
    stanza = Stanza.message(PAT, MIA, id="1", body="a")
    wire = stanza.wire()
    copy = stanza.copy()
    copy.element.append(element("urn:x", "x"))
    copy.to = MIA
    assert wire == stanza.wire()
    assert 2 == len(copy.element)


def test_the_bytes_are_made_once() -> None:
    stanza = Stanza.message(PAT, MIA, id="1", body="a")
    assert stanza.wire() is stanza.wire()
    assert stanza.copy_to(MIA)._rest is stanza.copy_to(PAT)._rest


def test_received_bytes_are_forwarded_with_the_sender_put_in() -> None:
    raw = b'<message\n to="pat@library.example"><body>a</body></message>'
    stanza = Stanza.received(tree(raw.decode()), raw)
    assert stanza.can_splice
    stanza.from_ = MIA
    assert raw.replace(b"<message", b"<message from='mia@library.example/desk'") == stanza.wire()


def test_without_a_sender_nothing_is_put_in() -> None:
    raw = b"<presence><show>away</show></presence>"
    assert raw == Stanza.received(tree(raw.decode()), raw).wire()


def test_a_tracked_stanza_tells_its_sender_once_what_became_of_it() -> None:
    told: list[StanzaError | None] = []
    stanza = Tracked(
        Stanza.message(JID.parse("pat@a.example"), JID.parse("ask@b.example"), body="words"), told.append
    )
    envelope = stanza.envelope()
    assert envelope.body == ""
    error = StanzaError(Condition.REMOTE_SERVER_TIMEOUT)
    assert envelope.settle(error)
    assert envelope.settle(None)
    assert stanza.settle(None)
    assert told == [error]


def test_an_ordinary_stanza_has_nobody_to_tell() -> None:
    assert not Stanza.message(JID.parse("pat@a.example"), JID.parse("ask@b.example")).settle(None)
