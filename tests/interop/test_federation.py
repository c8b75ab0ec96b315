"""Patrons and librarians on other servers: Prosody and ejabberd, over TLS with verified certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from refserver.app.verbs.librarians import AddLibrarian
from tests.interop.conftest import UNLIMITED, complaints, require
from tests.interop.peers import (
    Library,
    Patron,
    PeerServer,
    ProsodyServer,
    RefserverProcess,
    TestAuthority,
    free_port,
    wait_until,
)
from tests.interop.peers.people import CLIENT, Librarian, Person, body

pytestmark = pytest.mark.peers

LIBRARY = "library.example"
HOME = {"prosody": "prosody.example", "ejabberd": "ejabberd.example"}
WORDS = "Where are the opening hours of the map room?"
WORD = "a peer's word"


class Region:
    """A library here, and other servers that find it and are found."""

    def __init__(self, server: RefserverProcess, places: dict[str, tuple[str, int]]) -> None:
        self.server = server
        self.places = places
        self.library = Library(server, LIBRARY)


@pytest.fixture
def places() -> dict[str, tuple[str, int]]:
    """Each server on an address of its own."""
    hosts = {LIBRARY: "127.0.0.1", HOME["prosody"]: "127.0.0.2", HOME["ejabberd"]: "127.0.0.3"}
    found = {domain: (host, free_port(host)) for domain, host in hosts.items()}
    return found | {f"rooms.{LIBRARY}": found[LIBRARY]}


@pytest.fixture
def region(
    start_refserver: Callable[..., RefserverProcess], places: dict[str, tuple[str, int]]
) -> Iterator[Region]:
    """A library with the librarian mia; afterwards the server's log must hold nothing unexpected."""
    routes = {domain: place for domain, place in places.items() if not domain.endswith(LIBRARY)}
    limits: dict[str, Any] = {"limits": UNLIMITED["limits"] | {"s2s_bytes_per_second": 0}}
    server = start_refserver(settings=limits, s2s_port=places[LIBRARY][1], routes=routes)
    region = Region(server, places)
    with region.library:
        region.library.set_up(librarians=("mia",))
        yield region
    assert complaints(server.log) == []


@pytest.fixture(params=["prosody", "ejabberd"])
def peer(request: pytest.FixtureRequest, region: Region) -> PeerServer:
    """Each of the other servers in turn, strict about certificates."""
    start = request.getfixturevalue(f"start_{request.param}")
    return at_home(start, HOME[request.param], region)


def at_home(start: Callable[..., PeerServer], domain: str, region: Region, **more: Any) -> PeerServer:
    host, port = region.places[domain]
    return start(domain, host=host, s2s_port=port, routes=region.places, **more)


def patron(peer: PeerServer, started: Any, name: str = "pat") -> Patron:
    """Somebody with an account at `peer`, logged in."""
    jid = peer.add_account(name, WORD)
    return started(RemotePatron(jid, WORD, peer))


class RemotePatron(Patron):
    """A patron whose server is at another address."""

    def __init__(self, jid: str, password: str, peer: PeerServer) -> None:
        super().__init__(jid, password, peer.authority.ca, peer.port, f"ask@{LIBRARY}")
        self._address = (peer.host, peer.port)


class RemoteLibrarian(Librarian):
    """A librarian whose server is at another address."""

    def __init__(self, jid: str, password: str, peer: PeerServer) -> None:
        desk = f"ask@rooms.{LIBRARY}"
        super().__init__(jid, password, peer.authority.ca, peer.port, f"ask@{LIBRARY}", desk)
        self._address = (peer.host, peer.port)


def test_a_patron_elsewhere_subscribes_asks_and_is_answered(region, peer, started):
    """The whole way over two streams: presence as the desk opens and closes, question, answer, close."""
    pat = patron(peer, started)
    pat.subscribe()
    pat.wait_for_presence(region.library.queue, "subscribed")
    mia = region.library.librarian("mia")
    pat.wait_for_presence(region.library.queue)

    asked = pat.ask(WORDS, receipt=True)
    pat.wait_for_receipt(asked, region.library.queue)
    pat.hears("Thank you, your question is here.")
    number = mia.announced(WORDS)
    mia.take(number)
    pat.hears("mia is with you now.")
    pat.type_to(region.library.queue)
    mia.wait_for_state("composing", mia.chat(number))
    mia.write(number, "Tuesday to Friday, 9 to 5.")
    assert "Tuesday to Friday, 9 to 5." == body(pat.hears("Tuesday"))
    pat.ask("Thanks a lot!")
    mia.hears(number, "Thanks a lot!")
    mia.write(number, "!close 3 answered")
    mia.hears(number, f"#{number} is closed.")
    pat.hears("Thank you for asking.")
    assert "closed" == region.library.question(number)["state"]


def test_presence_of_the_desk_is_seen_on_other_servers(region, peer, started):
    """It changes as a librarian comes and goes; who logs in later sees it at once."""
    pat = patron(peer, started)
    pat.subscribe()
    pat.wait_for_presence(region.library.queue, "subscribed")
    assert ("xa", "Nobody at the desk, leave a message") == status(
        pat.wait_for_presence(region.library.queue)
    )
    mia = region.library.librarian("mia")
    assert ("", "1 librarian, no wait") == status(pat.wait_for_presence(region.library.queue))
    mia.leave_desk()
    assert ("xa", "Nobody at the desk, leave a message") == status(
        pat.wait_for_presence(region.library.queue)
    )

    pat.close()
    again = started(RemotePatron(pat.jid, WORD, peer))
    assert ("xa", "Nobody at the desk, leave a message") == status(
        again.wait_for_presence(region.library.queue)
    )


def test_a_librarian_elsewhere_takes_and_answers(region, peer, started):
    """She joins the desk room from her own server, claims, answers and closes."""
    eve = peer.add_account("eve", WORD)
    region.library.call(AddLibrarian(region.library.queue, eve))
    eve = started(RemoteLibrarian(eve, WORD, peer))
    eve.enter_desk()
    pat = patron(peer, started)
    pat.ask(WORDS)
    number = eve.announced(WORDS)
    eve.take(number)
    pat.hears("eve is with you now.")
    eve.write(number, "On the second floor.")
    pat.hears("On the second floor.")
    eve.write(number, "!close 2 answered")
    eve.hears(number, f"#{number} is closed.")
    assert "closed" == region.library.question(number)["state"]


def test_patrons_of_two_servers_are_served_at_once(region, start_prosody, start_ejabberd, started):
    """Neither sees anything of the other."""
    mia = region.library.librarian("mia")
    patrons = [
        patron(at_home(start, HOME[name], region), started)
        for name, start in (("prosody", start_prosody), ("ejabberd", start_ejabberd))
    ]
    for pat in patrons:
        pat.ask(f"A question from {pat.jid}")
    numbers = [mia.announced(f"A question from {pat.jid}") for pat in patrons]
    for number, pat in zip(numbers, patrons, strict=True):
        mia.take(number)
        mia.write(number, f"An answer to number {number}")
        pat.hears(f"An answer to number {number}")
    for number, pat in zip(numbers, patrons, strict=True):
        assert [] == [word for word in pat.take_words() if "number" in word and str(number) not in word]


@pytest.mark.slow
def test_a_peer_that_is_killed_and_comes_back_misses_nothing_that_is_said_meanwhile(
    region, start_prosody, started
):
    """What is written once it is known to be away waits for it; nothing comes twice."""
    peer = at_home(start_prosody, HOME["prosody"], region)
    mia = region.library.librarian("mia")
    pat = patron(peer, started)
    pat.ask(WORDS)
    number = mia.announced(WORDS)
    mia.take(number)
    pat.hears("mia is with you now.")

    peer.process.kill()
    peer.stop()
    pat.abort()
    server = region.server
    over = f"the stream to {peer.domain} is over"
    wait_until(lambda: over in server.log, over, 20, lambda: server.log[-2000:])
    mia.write(number, "First answer.")
    mia.write(number, "Second answer.")
    peer.start()
    again = started(RemotePatron(pat.jid, WORD, peer))
    again.hears("First answer.", timeout=40)
    again.hears("Second answer.")
    mia.write(number, "Third answer.")
    again.hears("Third answer.")
    assert [] == [words for words in again.take_words() if "answer." in words]


def test_a_certificate_of_an_unknown_authority_is_refused(region, started, new_folder, tmp_path):
    """Policy certificate: nothing comes in, nothing goes out, and both senders are told."""
    require("prosody")
    domain = HOME["prosody"]
    host, port = region.places[domain]
    stranger = TestAuthority(tmp_path / "stranger")
    prosody = started(
        ProsodyServer(
            new_folder("prosody"),
            domain,
            stranger,
            host=host,
            s2s_port=port,
            routes=region.places,
            strict_s2s=False,
        )
    )
    pat = patron(prosody, started)
    mia = region.library.librarian("mia", at_desk=False)
    pat.ask(WORDS)
    assert is_returned(pat, region.library.queue)
    mia.message(pat.jid, "Are you there?")
    assert is_returned(mia, pat.jid)
    assert [] == region.library.questions()


def test_dialback_proves_a_server_with_an_unknown_certificate_where_policy_allows_it(
    start_refserver, places, started, new_folder, tmp_path
):
    """Both directions by keys (XEP-0220), TLS all the same."""
    require("prosody")
    domain = HOME["prosody"]
    host, port = places[domain]
    settings = {**UNLIMITED, "s2s": {"authentication": "dialback"}}
    server = start_refserver(settings=settings, s2s_port=places[LIBRARY][1], routes={domain: places[domain]})
    prosody = started(
        ProsodyServer(
            new_folder("prosody"),
            domain,
            TestAuthority(tmp_path / "stranger"),
            host=host,
            s2s_port=port,
            routes=places,
            strict_s2s=False,
        )
    )
    with Library(server, LIBRARY) as library:
        library.set_up(librarians=("mia",))
        mia = library.librarian("mia")
        pat = patron(prosody, started)
        pat.ask(WORDS)
        mia.take(mia.announced(WORDS))
        mia.write(1, "At nine.")
        pat.hears("At nine.")
    assert complaints(server.log) == []


def is_returned(person: Person, sender: str) -> bool:
    """Whether a message came back with the error that the other server cannot be had."""
    stanza = person.wait_for(lambda e: e.get("type") == "error" and e.get("from") == sender, 40)
    conditions = [child.tag.partition("}")[2] for child in stanza.iter()]
    return bool({"remote-server-not-found", "remote-server-timeout"} & set(conditions))


def status(presence: Element) -> tuple[str, str]:
    """Show and status."""
    return presence.findtext(f"{CLIENT}show") or "", presence.findtext(f"{CLIENT}status") or ""
