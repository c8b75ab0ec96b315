"""Forged words of the server, and strangers who look for people: over a real socket.

What a stranger is told of an account must be what he is told of none, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.server.live import CLIENT, LiveServer, Raw, condition

pytestmark = pytest.mark.usefixtures("unharmed")

PAT = "pat@library.example"
EVE = "eve@library.example/lab"
ROSTER = "jabber:iq:roster"
SID = "{urn:xmpp:sid:0}stanza-id"
DELAY = "{urn:xmpp:delay}delay"
CARBONS = "urn:xmpp:carbons:2"
ARCHIVE = "urn:xmpp:mam:2"


@pytest.fixture
def eve(live: LiveServer) -> Raw:
    return live.online(EVE)


@pytest.fixture
def pat(live: LiveServer) -> Raw:
    return live.online(f"{PAT}/phone")


@pytest.fixture
def friend(live: LiveServer, pat: Raw) -> Iterator[Raw]:
    """Mia, who sees Pat's presence."""
    mia = live.online("mia@library.example/desk")
    mia.send(f"<presence type='subscribe' to='{PAT}'/>")
    pat.stanza("presence")
    pat.send("<presence type='subscribed' to='mia@library.example'/>")
    while mia.stanza("presence").get("from") != f"{PAT}/phone":
        pass
    mia.stanzas()
    pat.stanzas()
    yield mia
    mia.send(f"<presence type='unsubscribe' to='{PAT}'/>")
    mia.stanzas()


# -- pushes, results ---------------------------------------------------------------------------

PUSH = (
    f"<query xmlns='{ROSTER}'><item jid='eve@library.example' subscription='both' name='Librarian'/></query>"
)


def test_a_stranger_s_roster_push_is_refused(eve: Raw, pat: Raw) -> None:
    assert ("cancel", "service-unavailable") == condition(eve.ask("set", PUSH, f"{PAT}/phone"))
    assert pat.stanzas() == []


def test_a_contact_s_roster_push_is_refused(friend: Raw, pat: Raw) -> None:
    assert ("cancel", "service-unavailable") == condition(friend.ask("set", PUSH, f"{PAT}/phone"))
    assert pat.stanzas() == []


def test_a_roster_push_to_the_account_is_forbidden(eve: Raw, pat: Raw) -> None:
    assert ("auth", "forbidden") == condition(eve.ask("set", PUSH, PAT))
    assert pat.stanzas() == []


@pytest.mark.parametrize("to", [PAT, "library.example", f"{PAT}/gone"])
def test_a_result_for_what_others_asked_is_dropped(eve: Raw, pat: Raw, to: str) -> None:
    eve.send(f"<iq type='result' id='guessed' to='{to}'>{PUSH}</iq>")
    assert eve.stanzas() == []
    assert pat.stanzas() == []


def test_a_result_to_a_resource_says_truly_who_sent_it(eve: Raw, pat: Raw) -> None:
    """RFC 6121 8.5.3.1 has it delivered: so the client sees that it is not the server's."""
    eve.send(f"<iq type='result' id='guessed' to='{PAT}/phone'>{PUSH}</iq>")
    assert EVE == pat.stanza("iq", "guessed").get("from")


def test_a_client_gets_its_answer_whatever_others_send(eve: Raw, pat: Raw) -> None:
    eve.send(f"<iq type='error' id='r1' to='{PAT}/phone'><error type='cancel'/></iq>" * 3)
    eve.stanzas()
    pat.send(f"<iq type='get' id='r1'><query xmlns='{ROSTER}'/></iq>")
    answers = [iq for iq in pat.stanzas() if iq.get("id") == "r1" and iq.get("from") in (None, PAT)]
    assert ["result"] == [answer.get("type") for answer in answers]


# -- what clients trust ------------------------------------------------------------------------


def sid(by: str, id: str = "forged") -> str:
    return f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/>"


def delay(sender: str) -> str:
    return f"<delay xmlns='urn:xmpp:delay' from='{sender}' stamp='2001-01-01T00:00:00Z'/>"


OURS, OTHERS = sid(PAT), sid("room@rooms.elsewhere.example", "true")


@pytest.mark.parametrize(
    "content",
    [
        OURS,
        OURS + OTHERS,
        OTHERS + OURS,
        OURS + OTHERS + OURS,
        OURS + OURS,
        sid("PAT@LIBRARY.EXAMPLE"),
        sid("@"),
    ],
    ids=["one", "first", "last", "around", "twice", "written otherwise", "malformed"],
)
def test_stanza_ids_by_the_recipient_s_account_are_stripped(eve: Raw, pat: Raw, content: str) -> None:
    eve.send(f"<message to='{PAT}' type='chat'><body>a</body>{content}<x xmlns='urn:x'/></message>")
    message = pat.stanza("message")
    kept = [element.get("by") for element in message.iter(SID)]
    assert kept == (["room@rooms.elsewhere.example"] if OTHERS in content else [])
    assert [f"{CLIENT}body", "{urn:x}x"] == [child.tag for child in message if child.tag != SID]


@pytest.mark.parametrize("sender", ["library.example", "LIBRARY.example", PAT])
def test_delays_by_the_recipient_s_library_are_stripped(eve: Raw, pat: Raw, sender: str) -> None:
    eve.send(f"<message to='{PAT}'><body>a</body>{delay(sender)}{delay('eve@library.example')}</message>")
    assert ["eve@library.example"] == [element.get("from") for element in pat.stanza("message").iter(DELAY)]


@pytest.mark.parametrize("name", ["received", "sent"])
def test_carbons_by_others_are_stripped(eve: Raw, pat: Raw, name: str) -> None:
    copied = (
        f"<forwarded xmlns='urn:xmpp:forward:0'><message from='{PAT}/tablet'><body/></message></forwarded>"
    )
    eve.send(f"<message to='{PAT}'><body>a</body><{name} xmlns='{CARBONS}'>{copied}</{name}></message>")
    assert [f"{CLIENT}body"] == [child.tag for child in pat.stanza("message")]


def test_archived_messages_by_a_client_are_stripped(eve: Raw, pat: Raw) -> None:
    eve.send(
        f"<message to='{PAT}/phone'><body>a</body><result xmlns='{ARCHIVE}' id='1' queryid='q'/></message>"
    )
    assert [f"{CLIENT}body"] == [child.tag for child in pat.stanza("message")]


def test_what_is_forged_stays_out_of_the_offline_store(live: LiveServer, eve: Raw) -> None:
    forged = sid("u30@library.example") + delay("library.example")
    eve.send(f"<message to='u30@library.example'><body>a</body>{forged}</message>")
    eve.stanzas()
    late = live.login("u30@library.example/late")
    late.send("<presence/>")
    message = late.stanza("message")
    assert [] == list(message.iter(SID))
    stamps = [element.get("stamp", "") for element in message.iter(DELAY)]
    assert len(stamps) == 1
    assert not stamps[0].startswith("2001")


def test_presence_cannot_be_sent_in_another_s_name(eve: Raw, pat: Raw) -> None:
    """What eve sends to Pat comes from eve, whatever is in it."""
    eve.send(f"<presence to='{PAT}'>{delay('library.example')}<show>dnd</show></presence>")
    assert EVE == pat.stanza("presence").get("from")


# -- strangers ---------------------------------------------------------------------------------

QUERIES = {
    "disco info": "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    "disco info of a node": "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>",
    "disco items": "<query xmlns='http://jabber.org/protocol/disco#items'/>",
    "last activity": "<query xmlns='jabber:iq:last'/>",
    "vCard": "<vCard xmlns='vcard-temp'/>",
    "version": "<query xmlns='jabber:iq:version'/>",
    "time": "<time xmlns='urn:xmpp:time'/>",
    "ping": "<ping xmlns='urn:xmpp:ping'/>",
    "roster": f"<query xmlns='{ROSTER}'/>",
    "private data": "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>",
    "registration": "<query xmlns='jabber:iq:register'/>",
    "something": "<query xmlns='urn:unknown'/>",
}


def told(raw: Raw, stanza: str, to: str) -> bytes:
    """All bytes that answer a stanza to an address, but for the address."""
    raw.stanzas()
    raw.send(stanza.replace("TO", to))
    raw.send("<iq type='get' id='behind'><ping xmlns='urn:xmpp:ping'/></iq>")
    answer = raw.expect(rb"<iq [^>]*id='behind'[^>]*>")
    if b" id='q'" not in answer and "id='q'" in stanza and "<iq" in stanza:
        answer = raw.expect(rb"</iq>|<iq [^>]*id='q'[^>]*/>") + answer  # it took a look into the store
    return re.sub(rb"<iq [^>]*id='behind'[^>]*>", b"", answer).replace(to.encode(), b"TO")


@pytest.mark.parametrize("type", ["get", "set"])
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("resource", ["", "/phone"])
def test_a_stranger_s_query_tells_nothing(eve: Raw, pat: Raw, resource: str, query: str, type: str) -> None:
    """Of an account, and of a resource that is not available."""
    pat.send("<presence type='unavailable'/>")
    pat.ask("get", QUERIES["ping"], "library.example")
    stanza = f"<iq type='{type}' id='q' to='TO'>{QUERIES[query]}</iq>"
    here = told(eve, stanza, PAT + resource)
    assert b"type='error'" in here or b"#items" in here
    assert here == told(eve, stanza, "nobody@library.example" + resource)
    assert here == told(eve, stanza, "u40@library.example" + resource)  # there, but never logged in
    assert pat.stanzas() == []


STANZAS = {
    "probe": "<presence type='probe' id='q' to='TO'/>",
    "subscribed": "<presence type='subscribed' id='q' to='TO'/>",
    "unsubscribe": "<presence type='unsubscribe' id='q' to='TO'/>",
    "unsubscribed": "<presence type='unsubscribed' id='q' to='TO'/>",
    "unavailable": "<presence type='unavailable' id='q' to='TO'/>",
    "error": "<presence type='error' id='q' to='TO'/>",
    "headline": "<message type='headline' id='q' to='TO'><body>a</body></message>",
    "message error": "<message type='error' id='q' to='TO'><body>a</body></message>",
}


@pytest.mark.parametrize("resource", ["", "/phone"])
@pytest.mark.parametrize("stanza", STANZAS.values(), ids=STANZAS)
def test_a_stranger_s_stanza_tells_nothing(eve: Raw, pat: Raw, stanza: str, resource: str) -> None:
    nobody = told(eve, stanza, f"nobody@library.example{resource}")
    assert nobody == told(eve, stanza, f"u40@library.example{resource}")
    if "headline" not in stanza or not resource:  # to a resource that is there it has arrived
        assert nobody == told(eve, stanza, PAT + resource)


def test_a_subscription_request_tells_nothing(eve: Raw) -> None:
    """RFC 6121 8.5.1: to nobody it is ignored, so nobody is like somebody who has not answered."""
    eve.ask("get", QUERIES["roster"])
    item = f"<query xmlns='{ROSTER}'><item jid='%s' subscription='%s'/></query>"
    for contact in ("u39@library.example", "nobody@library.example"):
        eve.send(f"<presence type='subscribe' to='{contact}'/>")
        for number in range(5):  # each is answered after a commit, behind all that was under way
            eve.send(f"<iq type='set' id='s{number}'>{item % ('x@y.example', 'none')}</iq>")
            told = [eve.element()]
            while told[-1].get("id") != f"s{number}":
                told.append(eve.element())
            items = [found.attrib for push in told for found in push.iter(f"{{{ROSTER}}}item")]
            asked = [{"jid": contact, "subscription": "none", "ask": "subscribe"}] if number == 0 else []
            assert asked == [found for found in items if found["jid"] == contact]
            assert {f"{CLIENT}iq"} == {element.tag for element in told}
        eve.ask("set", item % (contact, "remove"))


def test_a_groupchat_message_to_a_person_tells_nothing(eve: Raw, pat: Raw) -> None:
    stanza = "<message type='groupchat' id='q' to='TO'><body>a</body></message>"
    here = told(eve, stanza, PAT)
    assert b"service-unavailable" in here
    assert here == told(eve, stanza, "nobody@library.example")


def test_who_may_see_the_presence_reaches_the_resource(friend: Raw, pat: Raw) -> None:
    friend.send(f"<iq type='get' id='v' to='{PAT}/phone'>{QUERIES['version']}</iq>")
    assert "mia@library.example/desk" == pat.stanza("iq", "v").get("from")


def test_directed_presence_lets_the_other_ask(eve: Raw, pat: Raw) -> None:
    pat.send("<presence to='eve@library.example'/>")
    pat.stanzas()
    eve.send(f"<iq type='get' id='v' to='{PAT}/phone'>{QUERIES['version']}</iq>")
    assert EVE == pat.stanza("iq", "v").get("from")


def test_one_s_own_resources_reach_each_other(live: LiveServer, pat: Raw) -> None:
    tablet = live.online(f"{PAT}/tablet")
    tablet.send(f"<iq type='get' id='v' to='{PAT}/phone'>{QUERIES['version']}</iq>")
    assert f"{PAT}/tablet" == pat.stanza("iq", "v").get("from")
