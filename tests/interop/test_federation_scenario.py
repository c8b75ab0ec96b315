"""What federation is for, in one piece: three servers, two patrons, two librarians, one desk.

Over TLS with certificates that each server verifies; nobody has two accounts. Beside it what the scenario
has no room for: a patron who is away when the answer comes, and two refservers that talk to each other.
"""

from __future__ import annotations

import pytest

from refserver.app.commands.s2s import ShowRemote
from tests.interop.conftest import UNLIMITED, complaints
from tests.interop.peers import EJABBERD, LIBRARY, PROSODY, Library, Patron, new_places
from tests.interop.peers.library import PASSWORD
from tests.interop.peers.people import DELAY, body

pytestmark = pytest.mark.peers

BRANCH = "branch.example"
NOBODY = "Nobody at the desk, leave a message"


@pytest.mark.slow
def test_patrons_and_librarians_of_three_servers_meet_at_one_desk(
    region, start_prosody, start_ejabberd, started
):
    """Patrons on Prosody and ejabberd, librarians on refserver and Prosody: nobody notices the distance."""
    prosody, ejabberd = region.start(start_prosody, PROSODY), region.start(start_ejabberd, EJABBERD)
    queue = region.library.queue
    pat, sue = started(region.patron(prosody, "pat")), started(region.patron(ejabberd, "sue"))
    patrons = (pat, sue)

    # Both have the queue among their contacts, and see the desk open.
    for patron in patrons:
        patron.subscribe()
        patron.wait_for_presence(queue, "subscribed")
        patron.sees(NOBODY, "xa")
    mia = region.library.librarian("mia")
    eve = started(region.librarian(prosody, "eve"))
    eve.enter_desk()
    for patron in patrons:
        patron.sees("2 librarians, no wait")

    # Both ask. It is confirmed to them, and both librarians hear of it.
    questions = {pat: "Where is the map room?", sue: "May I bring my dog?"}
    asked = {patron: patron.ask(words, receipt=True) for patron, words in questions.items()}
    for patron, id in asked.items():
        patron.wait_for_receipt(id, queue)
        patron.hears("Thank you, your question is here.")
    maps, dogs = (mia.announced(words) for words in questions.values())
    assert [maps, dogs] == [eve.announced(words) for words in questions.values()]

    # The librarian of the house takes one, the one elsewhere the other.
    for patron, librarian, number, name in ((pat, mia, maps, "mia"), (sue, eve, dogs, "eve")):
        librarian.take(number)
        patron.hears(f"{name} is with you now.")
        patron.type_to(queue)
        librarian.wait_for_state("composing", librarian.chat(number))
        librarian.type_to(librarian.chat(number))
        patron.wait_for_state("composing", queue)

    # Answered, confirmed by the patrons' clients, thanked for and closed.
    answers = ((pat, mia, maps, "On the second floor."), (sue, eve, dogs, "If it can read."))
    for patron, librarian, number, words in answers:
        said = librarian.write(number, words, receipt=True)
        assert words == body(patron.hears(words))
        patron.confirm_to(queue, said)
        librarian.wait_for_receipt(said, librarian.chat(number))
        patron.ask("Thanks!")
        librarian.hears(number, "Thanks!")
        librarian.write(number, "!close 2 answered")
        librarian.hears(number, f"#{number} is closed.")
        patron.hears("Thank you for asking.")
    assert {"closed"} == {region.library.question(number)["state"] for number in (maps, dogs)}

    # Everybody goes home, and the patrons see it. Neither has heard a word that was for the other.
    eve.leave_desk()
    mia.leave_desk()
    for patron in patrons:
        patron.sees(NOBODY, "xa")
        assert [] == patron.take_words(queue)
    for peer in (prosody, ejabberd):
        known = region.library.call(ShowRemote(peer.domain))
        assert ("certificate", "valid") == (known["method"], known["certificate"])


def test_an_answer_waits_at_the_patrons_server_until_he_logs_in(region, peer, started):
    """His server keeps it; it says when it was written."""
    mia = region.library.librarian("mia")
    pat = started(region.patron(peer))
    pat.ask("When do you close?")
    number = mia.announced("When do you close?")
    mia.take(number)
    pat.hears("mia is with you now.")
    pat.close()

    mia.write(number, "At five.")
    mia.write(number, "On Fridays at three.")
    mia.write(number, "!close 1 answered")
    mia.hears(number, f"#{number} is closed.")
    region.wait_until_confirmed(peer)  # what comes while he logs in ejabberd keeps until the next time
    again = started(region.returning(peer, pat.jid))
    heard = again.hears("At five.")
    assert heard.find(DELAY) is not None, "it was delivered at once?"
    again.hears("Thank you for asking.")
    assert ["On Fridays at three."] == again.take_words(region.library.queue)


def test_a_patron_of_one_refserver_asks_the_queue_of_another(start_refserver, started):
    """Two processes, each with a library; the patron's own library has nothing to do with it."""
    places = new_places()
    here = start_refserver(settings=UNLIMITED, s2s_port=places[LIBRARY][1], routes={BRANCH: places[PROSODY]})
    host, port = places[PROSODY]
    there = start_refserver(
        settings=UNLIMITED, domains=(BRANCH,), host=host, s2s_port=port, routes={LIBRARY: places[LIBRARY]}
    )
    with Library(here, LIBRARY) as library, Library(there, BRANCH) as branch:
        library.set_up(librarians=("mia",))
        branch.set_up(patrons=("pat",))
        ca = there.authority.ca
        pat = started(Patron(branch.jid("pat"), PASSWORD, ca, there.port, library.queue, there.host))
        pat.subscribe()
        pat.sees(NOBODY, "xa")
        mia = library.librarian("mia")
        pat.sees("1 librarian, no wait")
        pat.wait_for_receipt(pat.ask("Do you have it?", receipt=True), library.queue)
        number = mia.announced("Do you have it?")
        mia.take(number)
        pat.type_to(library.queue)
        mia.wait_for_state("composing", mia.chat(number))
        said = mia.write(number, "Yes, we do.", receipt=True)
        pat.hears("Yes, we do.")
        pat.confirm_to(library.queue, said)
        mia.wait_for_receipt(said)
        mia.write(number, "!close 1 answered")
        pat.hears("Thank you for asking.")
        assert "closed" == library.question(number)["state"]
        assert [] == branch.questions("all")
    assert [] == complaints(here.log) + complaints(there.log)
