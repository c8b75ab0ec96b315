"""Twenty libraries in one process, with accounts of the same names: nothing of one is seen in another."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

import pytest

from tests.server.conftest import LIBRARIES
from tests.server.live import PASSWORD, SASL, LiveServer, Raw, condition, header, plain

INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"
ROSTER = "jabber:iq:roster"


@pytest.fixture(scope="module")
def people(guarded: LiveServer) -> Iterator[dict[str, tuple[Raw, Raw]]]:
    """Mia and Pat of every library, over verified TLS; each Mia has asked for her roster."""
    with guarded.watched():
        yield {domain: _people(guarded, domain) for domain in LIBRARIES}


def _people(server: LiveServer, domain: str) -> tuple[Raw, Raw]:
    mia, pat = (server.online(f"{name}@{domain}/desk", tls=True) for name in ("mia", "pat"))
    query(mia, ROSTER)
    return mia, pat


def query(raw: Raw, namespace: str, to: str = "") -> Element:
    answer = raw.ask("get", f"<query xmlns='{namespace}'/>", to)
    assert answer.get("type") == "result"
    return answer[0]


@pytest.fixture(autouse=True)
def nothing_left(people: dict[str, tuple[Raw, Raw]]) -> Iterator[None]:
    """After each test nobody has anything to read that the test did not look at."""
    yield
    for pair in people.values():
        for raw in pair:
            assert raw.stanzas() == []


def test_each_library_shows_its_own_certificate(people: dict[str, tuple[Raw, Raw]]) -> None:
    for domain, (mia, _) in people.items():
        names = {value for kind, value in mia.certificate["subjectAltName"] if kind == "DNS"}
        assert domain in names
        assert names.isdisjoint(set(LIBRARIES) - {domain})


def test_with_tls_from_the_first_byte_too(guarded: LiveServer) -> None:
    with guarded.watched():
        for domain in LIBRARIES:
            raw = guarded.connect(domain, port=guarded.process.tls_port)
            raw.secure()
            raw.open()
            raw.authenticate("eve")
            raw.bind("desk")


def test_names_of_accounts_meet_nowhere(people: dict[str, tuple[Raw, Raw]]) -> None:
    """The same name and resource are twenty sessions, none in conflict with another."""
    for domain, (mia, _) in people.items():
        assert f"mia@{domain}/desk" == mia.jid
        mia.send(f"<message to='mia@{domain}' id='self'><body>{domain}</body></message>")
        assert domain == mia.stanza("message", "self")[0].text


def test_a_message_arrives_at_one(people: dict[str, tuple[Raw, Raw]]) -> None:
    for number, (domain, (mia, pat)) in enumerate(people.items()):
        mia.send(f"<message to='pat@{domain}' id='m{number}'><body>{domain}</body></message>")
        message = pat.stanza("message")
        assert (f"m{number}", mia.jid) == (message.get("id"), message.get("from"))


def test_each_library_lists_itself_alone(people: dict[str, tuple[Raw, Raw]]) -> None:
    for domain, (mia, _) in people.items():
        identity = query(mia, INFO, domain).find(f"{{{INFO}}}identity")
        assert identity is not None
        assert f"The {domain}" == identity.get("name")
        found = [item.get("jid", "") for item in query(mia, ITEMS, domain)]
        assert found
        assert all(jid == domain or jid.endswith(("." + domain, "@" + domain)) for jid in found)


def test_rosters_are_apart(people: dict[str, tuple[Raw, Raw]]) -> None:
    for domain, (mia, _) in people.items():
        mia.ask("set", f"<query xmlns='{ROSTER}'><item jid='friend@{domain}'/></query>")
    for domain, (mia, _) in people.items():
        assert [f"friend@{domain}"] == [item.get("jid") for item in query(mia, ROSTER)]
        mia.ask("set", f"<query xmlns='{ROSTER}'><item jid='friend@{domain}' subscription='remove'/></query>")
        mia.stanzas()


def test_private_data_and_vcards_are_apart(people: dict[str, tuple[Raw, Raw]]) -> None:
    for domain, (mia, _) in people.items():
        mia.ask("set", f"<query xmlns='jabber:iq:private'><x xmlns='urn:x'>{domain}</x></query>")
        mia.ask("set", f"<vCard xmlns='vcard-temp'><FN>{domain}</FN></vCard>")
    for domain, (mia, pat) in people.items():
        private = mia.ask("get", "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>")
        assert domain == private[0][0].text
        card = pat.ask("get", "<vCard xmlns='vcard-temp'/>", f"mia@{domain}")
        assert domain == card[0][0].text


def test_presence_stays_in_its_library(people: dict[str, tuple[Raw, Raw]]) -> None:
    (mia, pat), *_ = people.values()
    mia.send(f"<presence type='subscribe' to='pat@{LIBRARIES[0]}'/>")
    pat.stanza("presence")
    pat.send(f"<presence type='subscribed' to='mia@{LIBRARIES[0]}'/>")
    while mia.stanza("presence").get("from") != pat.jid:
        pass
    pat.stanzas()
    pat.send("<presence><status>busy</status></presence>")
    assert pat.jid == mia.stanza("presence").get("from")
    pat.stanza("presence")
    for _, (stranger, _) in list(people.items())[1:]:
        stranger.send(f"<presence type='probe' to='pat@{LIBRARIES[0]}'/>")
        assert stranger.stanzas() == []


@pytest.mark.parametrize("payload", [f"<query xmlns='{INFO}'/>", "<query xmlns='jabber:iq:last'/>"])
def test_who_asks_from_another_library_is_a_stranger(
    people: dict[str, tuple[Raw, Raw]], payload: str
) -> None:
    _, *others = people.values()
    for stranger, _ in others:
        for to in ("mia@library.example", "mia@library.example/gone"):
            there = condition(stranger.ask("get", payload, to))
            assert there == condition(stranger.ask("get", payload, to.replace("mia", "nobody")))


@pytest.mark.parametrize("payload", [f"<query xmlns='{ROSTER}'/>", "<query xmlns='jabber:iq:register'/>"])
@pytest.mark.parametrize("name", ["mia@", ""])
def test_the_account_of_the_same_name_is_another_s(
    people: dict[str, tuple[Raw, Raw]], name: str, payload: str
) -> None:
    _, (stranger, _), *_ = people.values()
    answer = condition(stranger.ask("get", payload, f"{name}library.example"))
    assert answer in (("auth", "forbidden"), ("cancel", "service-unavailable"))


def test_a_password_is_one_library_s(guarded: LiveServer, people: dict[str, tuple[Raw, Raw]]) -> None:
    domain = LIBRARIES[7]
    _, pat = people[domain]
    credentials = "<username>pat</username><password>another one</password>"
    changed = pat.ask("set", f"<query xmlns='jabber:iq:register'>{credentials}</query>", domain)
    assert changed.get("type") == "result"
    with guarded.watched():
        for library in LIBRARIES:
            raw = guarded.open(library)
            raw.starttls()
            raw.authenticate("pat", "another one" if library == domain else PASSWORD)


def test_nobody_is_authorized_at_another_library(guarded: LiveServer) -> None:
    with guarded.watched():
        raw = guarded.open(LIBRARIES[1])
        raw.starttls()
        raw.send(plain("mia", authzid="mia@library.example"))
        assert b"<invalid-authzid/></failure>" in raw.expect(b"</failure>")
        raw.send(plain("mia"))
        raw.expect(f"<success xmlns='{SASL}'/>".encode())
        raw.send(header(to="library.example"))
        raw.failed("not-authorized")
