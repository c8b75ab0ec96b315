"""Bad stanzas over a real socket: the defined stanza error and the stream alive, or the stream error."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, fromstring

import pytest

from tests.server.live import STREAM, LiveServer, Raw, condition

pytestmark = pytest.mark.usefixtures("unharmed")

EVE = "eve@library.example/lab"
PAT = "pat@library.example"
ROSTER = "jabber:iq:roster"
PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.fixture
def eve(live: LiveServer) -> Raw:
    return live.online(EVE)


def is_alive(raw: Raw) -> bool:
    return raw.ask("get", PING).get("type") == "result"


# -- who it is from --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sender",
    [
        "pat@library.example",
        "pat@library.example/lab",
        "eve@library.example/other",
        "eve@other.example/lab",
        "library.example",
        "@",
        "",
    ],
)
@pytest.mark.parametrize(
    "stanza",
    [
        "<message from='%s' to='pat@library.example'><body>hello</body></message>",
        "<presence from='%s'/>",
        "<iq from='%s' type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
    ],
    ids=["message", "presence", "iq"],
)
def test_who_says_to_be_somebody_else_is_cut_off(
    live: LiveServer, eve: Raw, sender: str, stanza: str
) -> None:
    pat = live.online("pat@library.example/now")
    eve.send(stanza % sender)
    eve.failed("invalid-from")
    assert pat.stanzas() == []


@pytest.mark.parametrize("sender", ["eve@library.example", EVE, "EVE@Library.Example/lab"])
def test_one_s_own_address_is_completed(live: LiveServer, eve: Raw, sender: str) -> None:
    pat = live.online("pat@library.example/now")
    eve.send(f"<message from='{sender}' to='{PAT}' id='whole'/>")
    assert pat.stanza("message", "whole").get("from") == EVE


# -- whom it is for --------------------------------------------------------------------------

BAD_ADDRESSES = {
    "no localpart": "@library.example",
    "no domainpart": "pat@",
    "no resourcepart": "pat@library.example/",
    "two ats": "pat@library@example",
    "a space": "pat smith@library.example",
    "a quotation mark": "pat&quot;@library.example",
    "an ampersand": "pat&amp;@library.example",
    "a label too long": f"pat@{'a' * 64}.example",
    "a localpart of 1024 bytes": f"{'a' * 1024}@library.example",
    "a resourcepart of 1024 bytes": f"pat@library.example/{'a' * 1024}",
    "a domainpart of 1024 bytes": f"pat@{'a.' * 511}ab",
    "an override of direction": "\u202etap@library.example",
    "a mark of direction": "pat\u200f@library.example",
    "a joiner out of place": "p\u200dat@library.example",
    "mixed directions": "pat\u05d0@library.example",
    "an unassigned code point": "pat\u0378@library.example",
    "a private one": "pat\ue000@library.example",
    "a control character": "pat@library.example/a&#x85;b",
    "a symbol": "pat\u2603@library.example",
    "an underscore in the domain": "pat@library_example",
    "a hyphen at the front": "pat@-library.example",
    "half an IPv6 address": "pat@[2001:db8::",
}


@pytest.mark.parametrize("address", BAD_ADDRESSES)
@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
def test_a_malformed_address_is_an_error_of_the_stanza(eve: Raw, kind: str, address: str) -> None:
    child = PING if kind == "iq" else ""
    type = " type='get'" if kind == "iq" else ""
    eve.send(f"<{kind} id='bad'{type} to='{BAD_ADDRESSES[address]}'>{child}</{kind}>")
    answer = eve.stanza(kind, "bad")
    assert ("modify", "jid-malformed") == condition(answer)
    assert is_alive(eve)


def test_the_error_repeats_nothing_unescaped(eve: Raw) -> None:
    eve.send("<iq type='get' id='&lt;&apos;&gt;&amp;' to='a&lt;b@c'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert eve.stanza("iq").get("id") == "<'>&"


def test_an_address_of_another_server_is_answered_so(eve: Raw) -> None:
    eve.send(f"<iq type='get' id='away' to='elsewhere.example'>{PING}</iq>")
    assert ("cancel", "remote-server-not-found") == condition(eve.stanza("iq", "away"))


# -- iq ----------------------------------------------------------------------------------------

BAD_IQS = {
    "no id": f"<iq type='get'>{PING}</iq>",
    "an empty id": f"<iq type='get' id=''>{PING}</iq>",
    "no type": f"<iq id='bad'>{PING}</iq>",
    "an unknown type": f"<iq type='ask' id='bad'>{PING}</iq>",
    "a type in capitals": f"<iq type='GET' id='bad'>{PING}</iq>",
    "no child": "<iq type='get' id='bad'/>",
    "only text": "<iq type='set' id='bad'>hello</iq>",
    "two children": f"<iq type='get' id='bad'>{PING}{PING}</iq>",
}


@pytest.mark.parametrize("iq", BAD_IQS)
@pytest.mark.parametrize("to", ["", "library.example", PAT, "pat@library.example/now"])
def test_a_bad_iq_is_a_bad_request(eve: Raw, iq: str, to: str) -> None:
    eve.send(BAD_IQS[iq].replace("<iq", f"<iq to='{to}'" if to else "<iq"))
    assert ("modify", "bad-request") == condition(eve.stanza("iq"))
    assert is_alive(eve)


ANSWERS = [
    "<iq type='result' id='r'/>",
    "<iq type='error' id='r'/>",
    f"<iq type='result' id='r'>{PING * 2}</iq>",
]


@pytest.mark.parametrize("to", ["", "library.example", PAT, f"{PAT}/gone", "nobody@library.example"])
@pytest.mark.parametrize("iq", ANSWERS, ids=["result", "error", "result of two"])
def test_an_answer_is_never_answered(eve: Raw, iq: str, to: str) -> None:
    eve.send(iq.replace("<iq", f"<iq to='{to}'" if to else "<iq"))
    assert eve.stanzas() == []


@pytest.mark.parametrize("to", ["", "library.example", PAT, "nobody@library.example"])
def test_an_unknown_request_is_unavailable(eve: Raw, to: str) -> None:
    assert ("cancel", "service-unavailable") == condition(eve.ask("get", "<query xmlns='urn:unknown'/>", to))


# -- what is no stanza -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "element",
    [
        "<note xmlns='urn:unknown'/>",
        "<note/>",
        "<message xmlns='jabber:server'/>",
        "<message xmlns='urn:unknown'/>",
        "<message xmlns=''/>",
        "<enabled xmlns='urn:xmpp:sm:3'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
        "<a xmlns='urn:xmpp:sm:3' h='0'/>",
        "<compress xmlns='http://jabber.org/protocol/compress'/>",
        "<db:result xmlns:db='jabber:server:dialback'/>",
    ],
)
def test_what_is_not_known_ends_the_stream(eve: Raw, element: str) -> None:
    """0198 is not offered, so its elements are as unknown as others'."""
    eve.send(element)
    eve.failed("unsupported-stanza-type")


def test_tls_is_too_late_for_a_session(eve: Raw) -> None:
    eve.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    eve.expect(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    eve.failed("policy-violation")


# -- presence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", ["1000", "128", "-129", "1.5", "high", "", "0x10", "<b/>", "9" * 5000])
def test_a_bad_priority_is_refused_and_told_to_nobody(live: LiveServer, eve: Raw, priority: str) -> None:
    other = live.online("eve@library.example/other")
    eve.stanzas()
    eve.send(f"<presence id='bad'><priority>{priority}</priority></presence>")
    assert ("modify", "bad-request") == condition(eve.stanza("presence", "bad"))
    assert other.stanzas() == []
    eve.send("<message to='eve@library.example' id='still'/>")
    assert eve.stanza("message").get("id") == "still"


def test_two_priorities_are_a_bad_request(eve: Raw) -> None:
    eve.send("<presence id='bad'><priority>1</priority><priority>2</priority></presence>")
    assert ("modify", "bad-request") == condition(eve.stanza("presence", "bad"))


def test_an_unknown_type_of_presence_is_a_bad_request(eve: Raw) -> None:
    eve.send(f"<presence id='bad' type='hidden' to='{PAT}'/>")
    assert ("modify", "bad-request") == condition(eve.stanza("presence", "bad"))


@pytest.mark.parametrize("type", ["subscribe", "subscribed", "unsubscribe", "unsubscribed"])
def test_a_subscription_needs_somebody_else(eve: Raw, type: str) -> None:
    eve.send(f"<presence id='to-none' type='{type}'/><presence id='to-me' type='{type}' to='{EVE}'/>")
    assert ("modify", "bad-request") == condition(eve.stanza("presence", "to-none"))
    assert ("cancel", "not-allowed") == condition(eve.stanza("presence", "to-me"))


@pytest.mark.parametrize("type", ["subscribed", "unsubscribe", "unsubscribed"])
def test_what_nobody_asked_for_is_dropped(live: LiveServer, eve: Raw, type: str) -> None:
    pat = live.online("pat@library.example/now")
    before = roster(pat)
    eve.send(f"<presence type='{type}' to='{PAT}'/>")
    assert is_alive(eve)
    assert pat.stanzas() == []
    assert before == roster(pat)


def test_presence_at_too_many_places_is_refused(eve: Raw) -> None:
    """Directed presence is remembered, so it is counted."""
    for number in range(501):
        eve.send(f"<presence to='pat@library.example/{number}' id='{number}'/>")
    assert ("wait", "resource-constraint") == condition(eve.stanza("presence", "500"))


# -- roster ------------------------------------------------------------------------------------


def roster(raw: Raw) -> set[str | None]:
    query = raw.ask("get", f"<query xmlns='{ROSTER}'/>").find(f"{{{ROSTER}}}query")
    assert query is not None
    return {item.get("jid") for item in query}


def item(attributes: str, content: str = "") -> str:
    return f"<query xmlns='{ROSTER}'><item {attributes}>{content}</item></query>"


def groups(*names: str) -> str:
    return item("jid='a@b.example'", "".join(f"<group>{name}</group>" for name in names))


BAD_SETS = {
    "one's own address": (item("jid='eve@library.example'"), "cancel", "not-allowed"),
    "one's own address otherwise written": (item("jid='EVE@LIBRARY.example'"), "cancel", "not-allowed"),
    "no address": (item("name='x'"), "modify", "bad-request"),
    "a malformed address": (item("jid='@'"), "modify", "jid-malformed"),
    "a full address": (item("jid='a@b.example/c'"), "modify", "bad-request"),
    "no item": (f"<query xmlns='{ROSTER}'/>", "modify", "bad-request"),
    "two items": (item("jid='a@b.example'/><item jid='c@d.example'"), "modify", "bad-request"),
    "a long name": (item(f"jid='a@b.example' name='{'x' * 1024}'"), "modify", "not-acceptable"),
    "an empty group": (groups(""), "modify", "not-acceptable"),
    "a long group": (groups("x" * 1024), "modify", "not-acceptable"),
    "a group twice": (groups("x", "x"), "modify", "bad-request"),
    "1001 groups": (groups(*map(str, range(1001))), "wait", "resource-constraint"),
    "the removal of nobody": (item("jid='q@b.example' subscription='remove'"), "cancel", "item-not-found"),
}


@pytest.mark.parametrize("row", BAD_SETS)
def test_a_bad_roster_set_changes_nothing(eve: Raw, row: str) -> None:
    payload, type, name = BAD_SETS[row]
    before = roster(eve)
    assert (type, name) == condition(eve.ask("set", payload))
    assert before == roster(eve)


@pytest.mark.parametrize("to", [PAT, "nobody@library.example"])
@pytest.mark.parametrize("type", ["get", "set"])
def test_another_s_roster_is_forbidden(eve: Raw, type: str, to: str) -> None:
    payload = item("jid='a@b.example'") if type == "set" else f"<query xmlns='{ROSTER}'/>"
    assert ("auth", "forbidden") == condition(eve.ask(type, payload, to))


def test_a_subscription_cannot_be_set(eve: Raw) -> None:
    """Only the handshake of both makes one; what a client sets is ignored (RFC 6121 2.1.2.5)."""
    roster(eve)
    wanted = item(f"jid='{PAT}' subscription='both' ask='subscribe' approved='true'")
    eve.send(f"<iq type='set' id='s'>{wanted}</iq>")
    pushed = eve.stanza("iq")[0][0]
    assert {"jid": PAT, "subscription": "none"} == pushed.attrib
    eve.ask("set", item(f"jid='{PAT}' subscription='remove'"))


# -- messages ----------------------------------------------------------------------------------


def test_a_message_of_an_unknown_type_is_a_normal_one(live: LiveServer, eve: Raw) -> None:
    pat = live.online("pat@library.example/now")
    eve.send(f"<message to='{PAT}' type='urgent' id='u'/>")
    assert pat.stanza("message", "u").get("type") == "normal"


@pytest.mark.parametrize("type", ["chat", "normal", "groupchat"])
def test_a_message_to_nobody_comes_back(eve: Raw, type: str) -> None:
    eve.send(f"<message to='nobody@library.example' type='{type}' id='lost'><body>hello</body></message>")
    assert ("cancel", "service-unavailable") == condition(eve.stanza("message", "lost"))


@pytest.mark.parametrize("type", ["headline", "error"])
def test_what_need_not_arrive_does_not_come_back(eve: Raw, type: str) -> None:
    eve.send(f"<message to='nobody@library.example' type='{type}' id='lost'><body>hello</body></message>")
    assert eve.stanzas() == []


MEAN: list[Callable[[str], str]] = [
    lambda to: f"<message to='{to}'><body>{'<b/>' * 1000}</body></message>",
    lambda to: f"<message to='{to}'><x xmlns='urn:{'y' * 5000}'/></message>",
    lambda to: f"<message to='{to}' xmlns:a='urn:a' a:b='c'><a:d e='&#10;&quot;'/></message>",
    lambda to: f"<message to='{to}' xml:lang='de'><body>&#13;&#9;&lt;![CDATA[ ]]&gt;</body></message>",
    lambda to: f"<message to='{to}'><message to='{to}'><message/></message></message>",
    lambda to: f"<message to='{to}'>text<a xmlns=''/><![CDATA[<body>]]>&amp;</message>",
    lambda to: f"<message to='{to}'><stream:error xmlns:stream='urn:x'/></message>",
    lambda to: f"<message to='{to}'><stream:stream/></message>",
]


@pytest.mark.parametrize("number", range(len(MEAN)))
def test_strange_but_good_xml_arrives_as_it_was_meant(live: LiveServer, eve: Raw, number: int) -> None:
    pat = live.online("pat@library.example/now")
    eve.send(MEAN[number](PAT))
    message = pat.stanza("message")
    sent = _parsed(MEAN[number](PAT))
    assert message.attrib.pop("from") == EVE
    assert meaning(sent) == meaning(message)


def _parsed(text: str) -> Element:
    return fromstring(f"<s xmlns='jabber:client' xmlns:stream='{STREAM}'>{text}</s>")[0]


def meaning(element: Element) -> object:
    children = [(meaning(child), child.tail or "") for child in element]
    return element.tag, element.attrib, element.text or "", children
