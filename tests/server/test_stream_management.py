"""XEP-0198 for clients over the wire: acknowledgements, and sessions that outlive their connections."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from threading import Thread
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from tests.interop.peers.authority import TestAuthority
from tests.server.live import CLIENT, STANZAS, STREAM, STREAMS, LiveServer, Raw

SM = "{urn:xmpp:sm:3}"
XMLNS = "xmlns='urn:xmpp:sm:3'"
LIBRARY = "library.example"
DELAY = "{urn:xmpp:delay}delay"
SETTINGS: dict[str, dict[str, Any]] = {
    "c2s": {"require_tls": False, "plain_without_tls": True},
    "limits": {"c2s_bytes_per_second": 0},
    "s2s": {"enabled": False},
}
_numbers = itertools.count(1)


def _server(folder: Any, authority: TestAuthority, seconds: int) -> LiveServer:
    settings = {**SETTINGS, "c2s": {**SETTINGS["c2s"], "resume_seconds": seconds}}
    return LiveServer(folder, authority, {LIBRARY: [f"a{number}" for number in range(1, 80)]}, settings)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[LiveServer]:
    with _server(tmp_path_factory.mktemp("managed") / "server", certificates, 300) as server:
        yield server


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[LiveServer]:
    """A server on which nobody may stay away for long."""
    with _server(tmp_path_factory.mktemp("brief") / "server", certificates, 1) as server:
        yield server


class Pat:
    """An account whose client has turned stream management on and may resume; `mia` watches and writes."""

    def __init__(self, server: LiveServer, *, resume: bool = True) -> None:
        self.server = server
        self.account = f"a{next(_numbers)}@{LIBRARY}"
        self.jid = f"{self.account}/phone"
        self.raw = server.login(self.jid)
        self.id = enable(self.raw, resume=resume).get("id", "")
        self.mia = server.online(f"a{next(_numbers)}@{LIBRARY}/desk")
        self.raw.send(f"<presence/><presence to='{self.mia.jid}'/>")
        assert self.mia.stanza("presence").get("from") == self.jid
        self.raw.stanzas()
        self.acknowledge()

    def acknowledge(self) -> None:
        """Acknowledge all that came."""
        self.raw.send(f"<a {XMLNS} h='{self.raw.handled}'/>")

    def is_told(self, *texts: str, to: str = "") -> None:
        """Mia writes to her, and knows that the server has it."""
        for text in texts:
            self.mia.send(
                f"<message to='{to or self.account}' type='chat' id='{text}'><body>{text}</body></message>"
            )
        self.mia.stanzas()

    def resumes(self, handled: int | None = None) -> Raw:
        """Come back on a new connection."""
        raw = authenticated(self.server, self.account)
        raw.handled = self.raw.handled if handled is None else handled
        raw.send(f"<resume {XMLNS} previd='{self.id}' h='{raw.handled}'/>")
        return raw

    def is_gone(self) -> None:
        """Mia sees that she is not there any more."""
        gone = self.mia.stanza("presence")
        assert ("unavailable", self.jid) == (gone.get("type"), gone.get("from"))


def authenticated(server: LiveServer, account: str) -> Raw:
    raw = server.open(LIBRARY)
    raw.authenticate(account.partition("@")[0])
    return raw


def enable(raw: Raw, *, resume: bool) -> Element:
    raw.send(f"<enable {XMLNS} resume='{str(resume).lower()}'/>")
    enabled = next_of(raw, SM + "enabled")
    assert ("true" if resume else None) == enabled.get("resume")
    return enabled


def next_of(raw: Raw, tag: str) -> Element:
    """The next element with that tag; what comes before it is dropped."""
    while (element := raw.element()).tag != tag:
        pass
    return element


def stream_error(raw: Raw) -> str:
    """The condition of the stream error that comes."""
    return next_of(raw, f"{{{STREAM}}}error")[0].tag.removeprefix(STREAMS)


def texts(raw: Raw) -> list[str]:
    """The bodies of the messages that have come until now."""
    return bodies(raw.stanzas())


def bodies(elements: Iterable[Element]) -> list[str]:
    return [each.findtext(CLIENT + "body", "") for each in elements if each.tag == CLIENT + "message"]


def log_in_again(pat: Pat, resource: str = "other") -> Raw:
    raw = pat.server.login(f"{pat.account}/{resource}")
    raw.send("<presence/>")
    return raw


def messages(raw: Raw, number: int) -> list[Element]:
    return [raw.stanza("message") for _ in range(number)]


# -- turning it on ---------------------------------------------------------------------------------


def test_it_is_offered_once_a_client_has_authenticated(server: LiveServer) -> None:
    raw = server.connect(LIBRARY)
    assert b"urn:xmpp:sm:3" not in raw.open()
    raw.authenticate("a1")
    raw.send(f"<resume {XMLNS} previd='x' h='0'/>")
    assert next_of(raw, SM + "failed")[0].tag == STANZAS + "item-not-found"


def test_what_may_be_resumed_has_a_name_and_a_time(server: LiveServer) -> None:
    raw = server.login(f"a1@{LIBRARY}/x")
    enabled = enable(raw, resume=True)
    assert "300" == enabled.get("max")
    assert len(enabled.attrib["id"]) >= 20
    other = server.login(f"a1@{LIBRARY}/y")
    assert {} == enable(other, resume=False).attrib


@pytest.mark.parametrize("early", [f"<enable {XMLNS}/>", f"<enable {XMLNS} resume='true'/>"])
def test_before_binding_it_is_refused_and_the_stream_goes_on(server: LiveServer, early: str) -> None:
    raw = authenticated(server, "a1@")
    raw.send(early)
    assert [STANZAS + "unexpected-request"] == [child.tag for child in next_of(raw, SM + "failed")]
    raw.bind("early")


def test_before_authentication_it_is_refused(server: LiveServer) -> None:
    raw = server.open(LIBRARY)
    raw.send(f"<enable {XMLNS}/>")
    assert [STANZAS + "unexpected-request"] == [child.tag for child in next_of(raw, SM + "failed")]
    raw.authenticate("a1")


def test_a_second_time_ends_the_stream(server: LiveServer) -> None:
    raw = server.login(f"a1@{LIBRARY}/twice")
    enable(raw, resume=True)
    raw.send(f"<enable {XMLNS}/>")
    assert [STANZAS + "unexpected-request"] == [child.tag for child in next_of(raw, SM + "failed")]
    assert "policy-violation" == stream_error(raw)


def test_a_session_cannot_be_resumed_after_binding(server: LiveServer) -> None:
    pat = Pat(server)
    pat.raw.send(f"<resume {XMLNS} previd='{pat.id}' h='0'/>")
    assert [STANZAS + "unexpected-request"] == [child.tag for child in next_of(pat.raw, SM + "failed")]
    assert [] == texts(pat.raw)


# -- acknowledging ---------------------------------------------------------------------------------


def test_what_the_client_sends_is_counted(server: LiveServer) -> None:
    raw = server.login(f"a1@{LIBRARY}/count")
    enable(raw, resume=False)
    ping = "<iq type='get' id='p{}'><ping xmlns='urn:xmpp:ping'/></iq>"
    raw.send(f"<r {XMLNS}/>" + ping.format(1) + "<presence type='unavailable'/>" + f"<r {XMLNS}/>")
    assert "0" == next_of(raw, SM + "a").get("h")
    assert "2" == next_of(raw, SM + "a").get("h")
    raw.send("<message to='@' id='bad'/>" + f"<r {XMLNS}/>")  # refused is handled, too
    assert "3" == next_of(raw, SM + "a").get("h")


def test_what_the_server_answers_itself_is_counted(server: LiveServer) -> None:
    """A client that acknowledges an answer of the stream's has not acknowledged too much."""
    raw = server.login(f"a1@{LIBRARY}/answers")
    enable(raw, resume=False)
    raw.send("<message to='@' id='bad'/>")
    raw.stanza("message", "bad")
    raw.send("<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
    raw.stanza("iq", "s")
    raw.send(f"<a {XMLNS} h='2'/>")
    assert [] == texts(raw)


@pytest.mark.parametrize("handled", ["1000", str(2**32 - 1), str(2**32)])
def test_who_acknowledges_more_than_was_sent_is_told_so(server: LiveServer, handled: str) -> None:
    raw = server.login(f"a1@{LIBRARY}/much")
    enable(raw, resume=True)
    raw.send(f"<a {XMLNS} h='{handled}'/>")
    error = next_of(raw, f"{{{STREAM}}}error")
    assert STREAMS + "undefined-condition" == error[0].tag
    assert {"h": handled, "send-count": "0"} == error.find(SM + "handled-count-too-high").attrib  # type: ignore[union-attr]


@pytest.mark.parametrize("handled", ["", " h='-1'", " h='x'", " h='1.0'"])
def test_a_count_that_is_none_ends_the_stream(server: LiveServer, handled: str) -> None:
    raw = server.login(f"a1@{LIBRARY}/none")
    enable(raw, resume=True)
    raw.send(f"<a {XMLNS}{handled}/>")
    assert "bad-format" == stream_error(raw)


def test_a_client_is_asked_now_and_then_and_not_for_each_stanza(server: LiveServer) -> None:
    pat = Pat(server)
    pat.is_told(*(f"m{number}" for number in range(100)))
    asked = 0
    for element in iter(pat.raw.element, None):
        asked += element.tag == SM + "r"
        if asked == 1 and element.tag == SM + "r":
            pat.acknowledge()
        if element.findtext(CLIENT + "body") == "m99":
            break
    assert 1 <= asked <= 5


def test_a_few_stanzas_are_asked_for_after_a_while(server: LiveServer) -> None:
    pat = Pat(server)
    pat.is_told("hello")
    next_of(pat.raw, SM + "r")


# -- coming back -----------------------------------------------------------------------------------


def test_a_session_goes_on_where_it_was_cut_off(server: LiveServer) -> None:
    pat = Pat(server)
    pat.is_told("one", "two")
    messages(pat.raw, 1)
    handled = pat.raw.handled
    pat.raw.hang_up()
    pat.is_told("three")
    raw = pat.resumes(handled - 1)  # the second was lost on its way
    resumed = next_of(raw, SM + "resumed")
    assert pat.id == resumed.get("previd")
    assert ["two", "three"] == texts(raw)
    pat.is_told("four")
    assert ["four"] == texts(raw)


def test_what_the_client_sent_is_told_at_resumption(server: LiveServer) -> None:
    pat = Pat(server)
    pat.raw.send(f"<r {XMLNS}/>")
    before = int(next_of(pat.raw, SM + "a").attrib["h"])
    pat.raw.send(f"<message to='{pat.mia.jid}' type='chat'><body>hi</body></message>")
    pat.mia.stanza("message")
    pat.raw.hang_up()
    assert str(before + 1) == next_of(pat.resumes(), SM + "resumed").get("h")


def test_others_do_not_notice(server: LiveServer) -> None:
    pat = Pat(server)
    pat.raw.hang_up()
    raw = pat.resumes()
    next_of(raw, SM + "resumed")
    raw.send(f"<message to='{pat.mia.jid}' type='chat'><body>back</body></message>")
    assert "message" == pat.mia.element().tag.removeprefix(CLIENT)


def test_a_connection_that_looks_alive_is_taken_over(server: LiveServer) -> None:
    pat = Pat(server)
    pat.is_told("hello")
    messages(pat.raw, 1)
    raw = pat.resumes(pat.raw.handled - 1)
    next_of(raw, SM + "resumed")
    assert "conflict" == stream_error(pat.raw)
    assert ["hello"] == texts(raw)


def test_it_is_resumed_again_and_again(server: LiveServer) -> None:
    pat = Pat(server)
    got: list[str] = []
    for number in range(20):
        pat.is_told(f"m{number}")
        if number % 3 == 0:
            got += texts(pat.raw)
            if number % 2:
                pat.acknowledge()
        pat.raw.hang_up()
        got += bodies(pat.raw.left())
        pat.raw = pat.resumes()
        next_of(pat.raw, SM + "resumed")
    got += texts(pat.raw)
    assert [f"m{number}" for number in range(20)] == got


@pytest.mark.parametrize("id", ["", "nonsense"])
def test_what_is_not_known_is_not_resumed(server: LiveServer, id: str) -> None:
    pat = Pat(server)
    pat.id = id
    raw = pat.resumes()
    failed = next_of(raw, SM + "failed")
    assert ([STANZAS + "item-not-found"], None) == ([child.tag for child in failed], failed.get("h"))
    raw.bind("new")


def test_another_account_s_session_is_as_one_that_is_not_there(server: LiveServer) -> None:
    pat, thief = Pat(server), Pat(server)
    answers = []
    for stolen in (pat.id, "nonsense"):
        raw = authenticated(server, thief.account)
        raw.send(f"<resume {XMLNS} previd='{stolen}' h='0'/>")
        answers.append(raw.expect(b"</failed>"))
    assert answers[0] == answers[1]
    assert [] == texts(pat.raw)


def test_too_high_a_count_at_resumption_costs_only_that_stream(server: LiveServer) -> None:
    pat = Pat(server)
    pat.raw.hang_up()
    raw = pat.resumes(pat.raw.handled + 1)
    assert next_of(raw, f"{{{STREAM}}}error").find(SM + "handled-count-too-high") is not None
    next_of(pat.resumes(), SM + "resumed")


def test_a_stream_that_is_closed_is_over(server: LiveServer) -> None:
    pat = Pat(server)
    pat.raw.send("</stream:stream>")
    pat.is_gone()
    raw = pat.resumes()
    failed = next_of(raw, SM + "failed")
    assert STANZAS + "item-not-found" == failed[0].tag
    assert "3" == failed.get("h")  # two presences and a ping


def test_a_session_without_resumption_ends_with_its_connection(server: LiveServer) -> None:
    pat = Pat(server, resume=False)
    pat.raw.hang_up()
    pat.is_gone()


# -- giving up -------------------------------------------------------------------------------------


def test_who_does_not_come_back_in_time_is_gone_and_loses_nothing(brief: LiveServer) -> None:
    pat = Pat(brief)
    pat.is_told("bare", "second")
    pat.is_told("full", to=pat.jid)
    pat.raw.hang_up()
    pat.is_told("third")
    pat.is_gone()
    late = messages(log_in_again(pat), 4)
    assert ["bare", "second", "full", "third"] == [each.get("id") for each in late]
    assert all(each.find(DELAY) is not None for each in late)
    assert [] == pat.mia.stanzas()
    failed = next_of(pat.resumes(), SM + "failed")
    assert (STANZAS + "item-not-found", "3") == (failed[0].tag, failed.get("h"))


def test_what_was_acknowledged_does_not_come_again(brief: LiveServer) -> None:
    pat = Pat(brief)
    pat.is_told("one", "two")
    messages(pat.raw, 2)
    pat.raw.send(f"<a {XMLNS} h='{pat.raw.handled - 1}'/>")
    assert [] == texts(pat.raw)
    pat.raw.hang_up()
    pat.is_gone()
    again = log_in_again(pat)
    assert ["two"] == [each.get("id") for each in messages(again, 1)]
    assert [] == texts(again)


def test_another_resource_gets_what_was_not_acknowledged(server: LiveServer) -> None:
    pat = Pat(server, resume=False)
    pat.is_told("hello", to=pat.jid)
    other = log_in_again(pat)
    other.stanzas()
    pat.raw.hang_up()
    assert "hello" == other.stanza("message").get("id")
    assert [] == texts(other)


def test_what_another_resource_has_is_not_sent_again(server: LiveServer) -> None:
    """Both were sent it; one has acknowledged it before the other ended."""
    pat = Pat(server, resume=False)
    other = server.login(f"{pat.account}/other")
    enable(other, resume=False)
    other.send("<presence/>")
    other.stanzas()
    pat.is_told("hello")
    assert ["hello"] == texts(other)
    other.send(f"<a {XMLNS} h='{other.handled}'/>")
    other.stanzas()
    pat.raw.hang_up()
    pat.is_gone()
    assert [] == texts(other)


def test_of_two_that_end_the_last_one_leaves_it_to_the_store(server: LiveServer) -> None:
    pat = Pat(server, resume=False)
    other = server.login(f"{pat.account}/other")
    enable(other, resume=False)
    other.send(f"<presence/><presence to='{pat.mia.jid}'/>")
    other.stanzas()
    pat.mia.stanzas()
    pat.is_told("hello")
    pat.raw.hang_up()
    pat.is_gone()
    other.hang_up()
    pat.mia.stanza("presence")
    third = log_in_again(pat, "third")
    assert ["hello"] == [each.get("id") for each in messages(third, 1)]
    assert [] == texts(third)


def test_a_new_session_of_that_resource_ends_the_one_that_waits(server: LiveServer) -> None:
    pat = Pat(server)
    pat.is_told("hello")
    pat.raw.hang_up()
    again = log_in_again(pat, "phone")
    assert ["hello"] == [each.get("id") for each in messages(again, 1)]
    pat.is_gone()
    assert STANZAS + "item-not-found" == next_of(pat.resumes(), SM + "failed")[0].tag


def test_who_asked_a_session_that_is_given_up_is_told(server: LiveServer) -> None:
    pat = Pat(server, resume=False)
    pat.mia.send(f"<iq type='get' id='q' to='{pat.jid}'><query xmlns='jabber:iq:version'/></iq>")
    pat.mia.stanzas()
    pat.raw.hang_up()
    answer = pat.mia.stanza("iq", "q")
    error = answer.find(CLIENT + "error")
    assert error is not None
    assert STANZAS + "service-unavailable" == error[0].tag


def test_nothing_that_was_not_acknowledged_is_lost_when_the_server_stops(
    tmp_path: Any, certificates: TestAuthority
) -> None:
    with _server(tmp_path / "server", certificates, 300) as server:
        pat, away = Pat(server), Pat(server)
        away.raw.hang_up()
        pat.is_told("deaf")
        away.is_told("away")
        server.process.restart()
        for owner, text in ((pat, "deaf"), (away, "away")):
            assert text == messages(log_in_again(owner), 1)[0].get("id")


def test_who_acknowledges_at_the_last_moment_is_not_told_twice(
    tmp_path: Any, certificates: TestAuthority
) -> None:
    with _server(tmp_path / "server", certificates, 300) as server:
        pat = Pat(server)
        pat.is_told("hello")
        ending = Thread(target=server.process.stop)
        ending.start()
        next_of(pat.raw, SM + "r")
        pat.acknowledge()
        assert "system-shutdown" == stream_error(pat.raw)
        pat.raw.hang_up()
        pat.mia.hang_up()
        ending.join()
        server.process.start()
        assert [] == texts(log_in_again(pat))
