"""What another server may not do on a stream to us: before it is proved, in proving it, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.live import SASL, STANZAS, STARTTLS, TLS
from tests.server.strangers import (
    BIDI,
    LIBRARY,
    SERVER,
    Stranger,
    Stream,
    Town,
    dialback,
    external,
    header,
    message,
)


@pytest.fixture(autouse=True)
def unharmed(town: Town) -> Iterator[None]:
    with town.unharmed():
        yield


@pytest.fixture(params=["in plain", "under TLS", "under TLS with a certificate"])
def unproved(request: pytest.FixtureRequest, town: Town) -> Stream:
    stranger = town.stranger()
    if request.param == "in plain":
        return stranger.opened()
    stream = stranger.opened()
    stream.send(STARTTLS)
    stream.expect(b"<proceed [^>]*/>")
    stream.secure(certificate=town.good)
    stream.open()
    return stream


# -- without TLS -------------------------------------------------------------------------------


def test_without_tls_nothing_is_offered_but_tls(town: Town) -> None:
    features = town.stranger().connect().open()
    assert f"<starttls xmlns='{TLS}'><required/></starttls>".encode() in features
    for other in (b"mechanism", b"features:dialback", b"features:bidi"):
        assert other not in features


def test_what_comes_behind_starttls_in_plain_is_never_done(town: Town) -> None:
    stranger = town.stranger()
    stream = stranger.opened()
    log_in = header(stranger.domain) + external() + header(stranger.domain)
    stream.send(STARTTLS + log_in + message(f"pat@{stranger.domain}"))
    stream.expect(b"<proceed [^>]*/>")
    stream.secure(certificate=town.good)
    assert b"<mechanism>EXTERNAL</mechanism>" in stream.open()
    stream.send(message(f"pat@{stranger.domain}"))
    stream.failed("not-authorized")


def test_a_header_before_tls_is_forgotten(town: Town) -> None:
    """What it said there may have been an attacker's (RFC 6120 5.4.3.3)."""
    stream = town.stranger().opened()
    stream.send(STARTTLS)
    stream.expect(b"<proceed [^>]*/>")
    stream.secure(certificate=town.good)
    stream.send(external())
    stream.failed("invalid-namespace")


def test_plain_bytes_in_place_of_the_handshake_end_the_connection(town: Town) -> None:
    stranger = town.stranger()
    stream = stranger.opened()
    stream.send(STARTTLS)
    stream.expect(b"<proceed [^>]*/>")
    stream.send(header(stranger.domain) + external())
    assert b"stream" not in stream.closed()


def test_tls_is_started_once(town: Town) -> None:
    stream = town.stranger().secured(town.good)
    stream.send(STARTTLS)
    stream.expect(f"<failure xmlns='{TLS}'/>".encode())
    stream.failed("policy-violation")


# -- before it is proved -----------------------------------------------------------------------

EARLY = {
    "a message": (message("pat@{0}"), "not-authorized"),
    "a message of nobody": (b"<message/>", "not-authorized"),
    "a presence": (b"<presence from='pat@{0}' to='mia@library.example'/>", "not-authorized"),
    "an iq": (b"<iq type='get' id='1' from='{0}' to='library.example'><a xmlns='b'/></iq>", "not-authorized"),
    "something foreign": (b"<a xmlns='urn:b'/>", "unsupported-stanza-type"),
    "something of ours that is none": (b"<notice/>", "unsupported-stanza-type"),
    "features": (b"<stream:features/>", "unsupported-stanza-type"),
    "success": (f"<success xmlns='{SASL}'/>".encode(), "unsupported-stanza-type"),
    "proceed": (f"<proceed xmlns='{TLS}'/>".encode(), "unsupported-stanza-type"),
    "a key of nobody": (b"<db:result>k</db:result>", "improper-addressing"),
    "a key of a person": (dialback("result", "pat@{0}", LIBRARY, "k"), "improper-addressing"),
    "a key of no kind": (dialback("result", "{0}", LIBRARY, "k", type="good"), "bad-format"),
    "a question without an id": (dialback("verify", "{0}", LIBRARY, "k"), "bad-format"),
    "an answer nobody waits for": (dialback("result", "{0}", LIBRARY, type="valid"), "policy-violation"),
    "a verdict nobody waits for": (
        dialback("verify", "{0}", LIBRARY, id="1", type="valid"),
        "policy-violation",
    ),
}


@pytest.mark.parametrize("row", EARLY)
def test_who_is_not_proved_gets_nothing_done(unproved: Stream, row: str) -> None:
    data, condition = EARLY[row]
    unproved.send(data.replace(b"{0}", unproved.name.encode()))
    unproved.failed(condition)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "ANONYMOUS", "external", "EXTERNAL-PLUS", ""])
def test_an_unknown_mechanism_is_invalid(unproved: Stream, mechanism: str) -> None:
    unproved.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>AGEAYg==</auth>")
    answer = f"<failure xmlns='{SASL}'><invalid-mechanism/></failure>"
    assert answer.encode() == unproved.expect(b"</failure>")


def test_external_without_tls_wants_tls(town: Town) -> None:
    stream = town.stranger().opened()
    stream.send(external())
    assert b"<encryption-required/>" in stream.expect(b"</failure>")


REFUSED_EXTERNAL = {
    "another server of the same certificate": (external("n599.town.example"), "invalid-authzid"),
    "us": (external(LIBRARY), "invalid-authzid"),
    "a person there": (external("pat@{0}"), "invalid-authzid"),
    "what is no address": (external("@"), "invalid-authzid"),
    "a NUL behind the name": (external("{0}\0"), "invalid-authzid"),
    "bad UTF-8": (f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>/w==</auth>".encode(), "malformed-request"),
    "bad base64": (f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>?!</auth>".encode(), "incorrect-encoding"),
    "half of base64": (
        f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>YQ=</auth>".encode(),
        "incorrect-encoding",
    ),
    "an answer without a question": (f"<response xmlns='{SASL}'>=</response>".encode(), "malformed-request"),
    "an end": (f"<abort xmlns='{SASL}'/>".encode(), "aborted"),
}


def spoken(data: bytes, stream: Stream) -> bytes:
    """The row for this stranger: the authzid is in base64."""
    for shape in ("pat@{0}", "{0}\0"):
        data = data.replace(external(shape), external(shape.format(stream.name)))
    return data


@pytest.mark.parametrize("row", REFUSED_EXTERNAL)
def test_the_certificate_authenticates_as_nobody_else(town: Town, row: str) -> None:
    data, condition = REFUSED_EXTERNAL[row]
    stream = town.stranger().secured(town.good)
    stream.send(spoken(data, stream))
    assert f"<{condition}".encode() in stream.expect(b"</failure>")
    stream.external()


def test_five_failures_end_the_stream(town: Town) -> None:
    stream = town.stranger().secured(town.good)
    stream.send(external(LIBRARY) * 5)
    stream.failed("policy-violation")


@pytest.mark.parametrize(("from_", "to", "condition"), [("n598.town.example", LIBRARY, "invalid-from")])
def test_who_is_authenticated_stays_who_it_is(town: Town, from_: str, to: str, condition: str) -> None:
    stream = town.stranger().secured(town.good)
    stream.send(external(stream.name))
    stream.expect(b"<success [^>]*/>")
    stream.send(header(from_, to))
    stream.failed(condition)


def test_bidi_is_asked_for_before_authentication(town: Town) -> None:
    for stream in (town.stranger().opened(), town.stranger().proved()):
        stream.send(BIDI)
        stream.failed("unsupported-stanza-type")


# -- afterwards --------------------------------------------------------------------------------

LATE = {
    "a second authentication": (external(), "policy-violation"),
    "a mechanism of clients": (
        f"<auth xmlns='{SASL}' mechanism='PLAIN'>AGEAYg==</auth>".encode(),
        "policy-violation",
    ),
    "a sender of another server": (message("pat@n599.town.example"), "invalid-from"),
    "a sender of a subdomain": (message("pat@sub.{0}"), "invalid-from"),
    "a sender of ours": (message(f"mia@{LIBRARY}"), "invalid-from"),
    "our server as sender": (message(LIBRARY), "invalid-from"),
    "no sender": (b"<message to='mia@library.example'/>", "improper-addressing"),
    "no recipient": (b"<message from='pat@{0}'/>", "improper-addressing"),
    "neither": (b"<presence/>", "improper-addressing"),
    "a sender without a domain": (message("pat@"), "improper-addressing"),
    "a recipient elsewhere": (message("pat@{0}", "mia@elsewhere.example"), "host-unknown"),
    "a recipient of its own": (message("pat@{0}", "tom@{0}"), "host-unknown"),
    "a service of ours that was not negotiated": (
        message("pat@{0}", f"room@rooms.{LIBRARY}"),
        "improper-addressing",
    ),
    "a foreign element": (b"<a xmlns='urn:b'/>", "unsupported-stanza-type"),
    "a foreign message": (b"<message xmlns='urn:b'/>", "unsupported-stanza-type"),
    "an element of ours that is no stanza": (b"<notice/>", "unsupported-stanza-type"),
    "a session": (b"<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", "unsupported-stanza-type"),
    "another declaration and header": (header(), "restricted-xml"),
}


@pytest.mark.parametrize("row", LATE)
def test_who_is_proved_speaks_for_nobody_else(town: Town, row: str) -> None:
    data, condition = LATE[row]
    stream = town.stranger().proved()
    stream.send(data.replace(b"{0}", stream.name.encode()))
    stream.failed(condition)


LONG = "x" * 1024
ADDRESSED = "<message id='bad' from='{}' to='{}'><body>hello</body></message>"
ASKED = "<iq id='bad' from='pat@{{0}}' to='library.example' {}>{}</iq>"
A, B = "<a xmlns='urn:a'/>", "<b xmlns='urn:b'/>"

MISTAKES = {
    "an empty localpart": (ADDRESSED.format("pat@{0}", f"@{LIBRARY}"), "jid-malformed"),
    "an empty resource": (ADDRESSED.format("pat@{0}", f"mia@{LIBRARY}/"), "jid-malformed"),
    "a localpart of 1024 bytes": (ADDRESSED.format("pat@{0}", f"{LONG}@{LIBRARY}"), "jid-malformed"),
    "a resource of 1024 bytes": (ADDRESSED.format("pat@{0}", f"mia@{LIBRARY}/{LONG}"), "jid-malformed"),
    "a localpart of both directions": (
        ADDRESSED.format("pat@{0}", f"a\u202eb@{LIBRARY}"),
        "jid-malformed",
    ),
    "a forbidden character": (ADDRESSED.format("pat@{0}", f"mi&lt;a@{LIBRARY}"), "jid-malformed"),
    "a control character": (ADDRESSED.format("pat@{0}", f"mia@{LIBRARY}/&#x9b;31m"), "jid-malformed"),
    "an iq without type": (ASKED.format("", A), "bad-request"),
    "an iq of an unknown type": (ASKED.format("type='ask'", A), "bad-request"),
    "an iq with no child": (ASKED.format("type='get'", ""), "bad-request"),
    "an iq with two children": (ASKED.format("type='set'", A + B), "bad-request"),
    "an iq without id": (ASKED.format("type='get'", A).replace("id='bad' ", ""), "bad-request"),
    "a presence of an unknown type": (
        "<presence id='bad' type='there' from='pat@{0}' to='mia@library.example'/>",
        "bad-request",
    ),
}


@pytest.mark.parametrize("row", MISTAKES)
def test_one_users_mistake_is_answered_and_the_stream_lives(town: Town, row: str) -> None:
    data, condition = MISTAKES[row]
    stream = town.stranger().proved(bidi=True)
    stream.send(data.replace("{0}", stream.name))
    answer = stream.element()
    error = answer.find(f"{SERVER}error")
    assert error is not None, answer.attrib
    assert f"{STANZAS}{condition}" == error[0].tag
    assert (f"pat@{stream.name}", "error") == (answer.get("to"), answer.get("type"))
    assert stream.ask().get("type") == "result"


NOT_ANSWERED = {
    "an impossible sender": "<message from='@{0}' to='mia@library.example'/>",
    "an error to an impossible address": "<message type='error' from='pat@{0}' to='@library.example'/>",
    "a result without id": "<iq type='result' from='pat@{0}' to='mia@library.example'/>",
    "an answer to what nobody asked": "<iq type='result' id='1' from='pat@{0}' to='mia@library.example'/>",
    "an error of nobody's": "<iq type='error' id='1' from='{0}' to='library.example'><error/></iq>",
}


@pytest.mark.parametrize("row", NOT_ANSWERED)
def test_an_answer_gets_no_answer(town: Town, row: str) -> None:
    """Nothing comes before the answer to what is asked behind it."""
    stream = town.stranger().proved(bidi=True)
    stream.send(NOT_ANSWERED[row].replace("{0}", stream.name))
    stream.send(
        f"<iq type='get' id='p' from='{stream.name}' to='{LIBRARY}'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    answer = stream.element()
    assert ("result", "p") == (answer.get("type"), answer.get("id"))


def test_control_characters_of_others_are_not_in_the_log(town: Town) -> None:
    """Neither their stream errors nor what they call themselves move a librarian's terminal."""
    stranger: Stranger = town.stranger()
    with stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
        visit.greeted()
        visit.answer()
        text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\u009b31m\u202eolleh</text>"
        unknown = "<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        visit.send(f"<stream:error>{unknown}{text}</stream:error>")
        visit.closed()
        assert "remote-server-not-found" == town.returned(stranger)
    lines = [line for line in town.server.process.log.splitlines() if stranger.domain in line]
    assert lines
    assert all(line.isprintable() for line in lines)
