"""The bound stream: stanzas, their senders, and faults that cost one stanza or the stream."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.stream.events import Malformed
from tests.unit.stream_shell import bound

FULL = JID.parse("pat@library.example/desk")


def test_each_stanza_is_an_event_with_the_full_address():
    shell = bound()
    assert b"" == shell.send(b"<message to='mia@library.example' id='1'><body>hi</body></message><presence/>")
    message, presence = shell.stanzas
    assert ("message", JID.parse("mia@library.example"), FULL, "hi") == (
        message.kind,
        message.to,
        message.from_,
        message.body,
    )
    assert ("presence", None, FULL) == (presence.kind, presence.to, presence.from_)


def test_a_stanza_without_language_has_its_streams():
    shell = bound(more=" xml:lang='de'")
    shell.send(b"<message id='1'/><message id='2' xml:lang='fr'/>")
    assert ["de", "fr"] == [stanza.language for stanza in shell.stanzas]
    assert b"<message from='pat@library.example/desk' id='1'/>" == shell.stanzas[0].wire()


def test_its_bytes_are_kept_for_forwarding():
    shell = bound()
    shell.send(b"<message to='mia@library.example'><body>hi</body></message>")
    wire = b"<message from='pat@library.example/desk' to='mia@library.example'><body>hi</body></message>"
    assert wire == shell.stanzas[0].wire()


def test_whitespace_between_stanzas_is_nothing():
    shell = bound()
    assert b"" == shell.send(b" ") + shell.send(b"\n\r\t ")
    assert not shell.events


@pytest.mark.parametrize("own", ["pat@library.example", "pat@library.example/desk", "PAT@library.example"])
def test_the_own_address_as_sender_becomes_the_full_one(own):
    shell = bound()
    shell.send(f"<message from='{own}' to='mia@library.example'/>".encode())
    assert shell.stanzas[0].from_ is shell.stream.jid
    assert b" from='pat@library.example/desk'" in shell.stanzas[0].wire()


@pytest.mark.parametrize(
    "other",
    [
        "mia@library.example",
        "pat@library.example/other",
        "pat@other.example",
        "library.example",
        "",
        "@",
        "a b@c",
    ],
)
@pytest.mark.parametrize("to", ["mia@library.example", "@@"])
def test_any_other_sender_closes_the_stream(other, to):
    shell = bound()
    shell.send(f"<presence/><message from='{other}' to='{to}'/><presence/>".encode())
    assert shell.condition == "invalid-from"
    assert 1 == len(shell.stanzas)


class TestMalformed:
    @pytest.mark.parametrize(
        "to", ["", "@", "a b@c", "mia@", "x" * 1024, "mia@library.example/", "a@b@c", "\u202ea@b"]
    )
    def test_a_bad_address_is_answered_and_the_stream_lives(self, to):
        shell = bound()
        answer = shell.send(f"<message to='{to}' id='m1'/><presence/>".encode())
        assert (
            b"<message to='pat@library.example/desk' type='error' id='m1'><error type='modify'>"
            b"<jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        ) == answer
        assert isinstance(shell.events[0], Malformed)
        assert shell.events[0].error.condition.value == "jid-malformed"
        assert ["presence"] == [stanza.kind for stanza in shell.stanzas]

    @pytest.mark.parametrize(
        "iq",
        [
            "<iq type='get'><x xmlns='urn:x'/></iq>",
            "<iq type='get' id=''><x xmlns='urn:x'/></iq>",
            "<iq type='get' id='1'/>",
            "<iq type='set' id='1'><x xmlns='urn:x'/><y xmlns='urn:x'/></iq>",
            "<iq type='what' id='1'><x xmlns='urn:x'/></iq>",
            "<iq id='1'><x xmlns='urn:x'/></iq>",
        ],
    )
    def test_a_bad_iq_is_a_bad_request(self, iq):
        shell = bound()
        answer = shell.send(iq.encode() + b"<presence/>")
        assert b"type='error'" in answer
        assert b"<error type='modify'><bad-request " in answer
        assert ["presence"] == [stanza.kind for stanza in shell.stanzas]

    @pytest.mark.parametrize(
        "stanza",
        [
            "<message type='error' to='@' id='1'/>",
            "<presence type='error' to='@'/>",
            "<iq type='error' to='@' id='1'/>",
            "<iq type='result' to='@' id='1'/>",
            "<iq type='result' id='1'><x xmlns='urn:x'/><y xmlns='urn:x'/></iq>",
            "<iq type='error'/>",
        ],
    )
    def test_an_answer_is_never_answered(self, stanza):
        shell = bound()
        assert b"" == shell.send(stanza.encode())
        assert [Malformed] == list(map(type, shell.events))

    def test_the_own_address_as_sender_does_no_harm(self):
        shell = bound()
        assert b"<jid-malformed " in shell.send(b"<message from='pat@library.example/desk' to='@'/>")

    def test_what_is_repeated_is_escaped(self):
        shell = bound()
        answer = shell.send(b"<message to='@' id='&lt;&apos;&#10;x'/>")
        assert b" id='&lt;&apos;&#10;x'" in answer


@pytest.mark.parametrize(
    "element",
    [
        "<x xmlns='urn:x'/>",
        "<message xmlns='urn:x'/>",
        "<message xmlns='jabber:server'/>",
        "<message xmlns=''/>",
        "<route/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
        "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<stream:features/>",
        "<stream:stream/>",
    ],
)
def test_what_is_no_stanza_closes_the_stream(element):
    shell = bound()
    shell.send(f"<presence/>{element}<presence/>".encode())
    assert shell.condition == "unsupported-stanza-type"
    assert 1 == len(shell.stanzas)


@pytest.mark.parametrize(
    "data, condition",
    [
        (b"<!DOCTYPE x>", "restricted-xml"),
        (b"<!-- x -->", "restricted-xml"),
        (b"<?x y?>", "restricted-xml"),
        (b"<message><!-- x --></message>", "restricted-xml"),
        (b"<message><?x y?></message>", "restricted-xml"),
        (b"<message><body>&lol;</body></message>", "restricted-xml"),
        (b"<message><body></message>", "not-well-formed"),
        (b"<message><a:b/></message>", "not-well-formed"),
        (b"<message a='1' a='2'/>", "not-well-formed"),
        (b"<message><body>\xff</body></message>", "not-well-formed"),
        (b"<message><body>\xed\xa0\x80</body></message>", "not-well-formed"),
        (b"<message><body>\xc0\xaf</body></message>", "not-well-formed"),
        (b"<message><body>\0</body></message>", "not-well-formed"),
        (b"<message><body>&#0;</body></message>", "not-well-formed"),
        (b"<message><body>&#1;</body></message>", "not-well-formed"),
        (b"<message><body>&#xffff;</body></message>", "not-well-formed"),
        (b"<message>" + b"<a>" * 100 + b"</a>" * 100 + b"</message>", "policy-violation"),
        (b"<message" + b"".join(b" a%d='1'" % n for n in range(201)) + b"/>", "policy-violation"),
        (b"<message to='" + b"x" * 300_000, "policy-violation"),
        (b"<message><body>" + b"x" * 262_144, "policy-violation"),
    ],
)
def test_bad_xml_closes_the_stream(data, condition):
    shell = bound()
    answer = shell.send(b"<presence/>" + data)
    assert condition == shell.condition
    assert answer.startswith(f"<stream:error><{condition} xmlns=".encode())
    assert answer.endswith(b"</stream:error></stream:stream>")
    assert 1 == len(shell.stanzas)
    assert b"" == shell.send(b"<presence/>")


def test_an_endless_stanza_is_stopped_at_the_limit():
    shell = bound()
    shell.send(b"<message><body>")
    sent = 0
    while not shell.condition and sent < 400_000:
        shell.send(b"x" * 1_000)
        sent += 1_000
    assert shell.condition == "policy-violation"
    assert 261_000 <= sent <= 263_000


def test_a_wide_shallow_stanza_is_fine():
    shell = bound()
    shell.send(b"<message>" + b"<a b='1'/>" * 1_000 + b"</message>")
    assert 1 == len(shell.stanzas)


def test_order_is_kept_between_what_the_machine_answers_and_what_the_shell_sees():
    shell = bound()
    events = shell.stream.receive(
        b"<message id='1'/><message to='@' id='2'/><message id='3'/></stream:stream>"
    )
    assert next(events).id == "1"
    assert b"" == shell.stream.take_output()
    assert isinstance(next(events), Malformed)
    assert next(events).stanza.id == "2"
    assert next(events).id == "3"
    assert b"" == shell.stream.take_output()
    next(events)
    assert b"</stream:stream>" == shell.stream.take_output()
