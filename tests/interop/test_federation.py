"""Patrons and librarians on other servers: Prosody and ejabberd, over TLS with verified certificates."""

from __future__ import annotations

import pytest

from tests.interop.conftest import UNLIMITED, complaints, require
from tests.interop.peers import (
    EJABBERD,
    LIBRARY,
    PROSODY,
    Library,
    ProsodyServer,
    Region,
    TestAuthority,
)
from tests.interop.peers.people import Person, body

pytestmark = pytest.mark.peers

WORDS = "Where are the opening hours of the map room?"
NOBODY = "Nobody at the desk, leave a message"


def test_a_patron_elsewhere_subscribes_asks_and_is_answered(region, peer, started):
    """The whole way over two streams: presence as the desk opens and closes, question, answer, close."""
    pat = started(region.patron(peer))
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
    pat = started(region.patron(peer))
    pat.subscribe()
    pat.sees(NOBODY, "xa")
    mia = region.library.librarian("mia")
    pat.sees("1 librarian, no wait")
    mia.leave_desk()
    pat.sees(NOBODY, "xa")

    pat.close()
    again = started(region.returning(peer, pat.jid))
    again.sees(NOBODY, "xa")


def test_a_librarian_elsewhere_takes_and_answers(region, peer, started):
    """She joins the desk room from her own server, claims, answers and closes."""
    eve = started(region.librarian(peer))
    eve.enter_desk()
    pat = started(region.patron(peer))
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
    peers = (region.start(start_prosody, PROSODY), region.start(start_ejabberd, EJABBERD))
    patrons = [started(region.patron(peer)) for peer in peers]
    for pat in patrons:
        pat.ask(f"A question from {pat.jid}")
    numbers = [mia.announced(f"A question from {pat.jid}") for pat in patrons]
    for number, pat in zip(numbers, patrons, strict=True):
        mia.take(number)
        mia.write(number, f"An answer to number {number}")
        pat.hears(f"An answer to number {number}")
    for number, pat in zip(numbers, patrons, strict=True):
        assert [] == [word for word in pat.take_words() if "number" in word and str(number) not in word]


def test_a_certificate_of_an_unknown_authority_is_refused(region, started, new_folder, tmp_path):
    """Policy certificate: nothing comes in, nothing goes out, and both senders are told."""
    require("prosody")
    prosody = started(stranger(region.places, new_folder, tmp_path))
    pat = started(region.patron(prosody))
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
    domain = PROSODY
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
        pat = started(Region(server, library, places).patron(prosody))
        pat.ask(WORDS)
        mia.take(mia.announced(WORDS))
        mia.write(1, "At nine.")
        pat.hears("At nine.")
    assert complaints(server.log) == []


def stranger(places, new_folder, folder) -> ProsodyServer:
    """A Prosody whose certificate nobody knows the authority of."""
    host, port = places[PROSODY]
    authority = TestAuthority(folder / "stranger")
    return ProsodyServer(
        new_folder("prosody"), PROSODY, authority, host, port, strict_s2s=False, routes=places
    )


def is_returned(person: Person, sender: str) -> bool:
    """True if a message came back with the error that the other server cannot be had."""
    stanza = person.wait_for(lambda e: e.get("type") == "error" and e.get("from") == sender, 40)
    conditions = [child.tag.partition("}")[2] for child in stanza.iter()]
    return bool({"remote-server-not-found", "remote-server-timeout"} & set(conditions))
