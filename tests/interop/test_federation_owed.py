"""What patrons on another server are owed while that server is down for longer than an attempt takes."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from refserver.app.verbs.status import ShowStatus
from tests.interop.peers import PROSODY, Library, Region, wait_until
from tests.interop.peers.people import DELAY, Patron, body

pytestmark = [pytest.mark.peers, pytest.mark.slow]

WORDS = "Where are the opening hours of the map room?"
ATTEMPT_SECONDS = 45.0
"""Longer than refserver tries to reach another server before it gives everything back."""


def owed(library: Library) -> int:
    """How many lines `refserverctl status` counts."""
    return int(library.call(ShowStatus())["owed"])


def log(region: Region) -> str:
    """The end of the library's log."""
    return region.server.log[-3000:]


def said_by(patron: Patron, queue: str) -> list[Element]:
    """The messages with words that a patron was sent by the queue, oldest first."""
    return [e for e in patron.received() if e.get("from", "").startswith(queue) and body(e)]


def with_ids(stanzas: list[Element], ids: list[str]) -> list[tuple[str, bool]]:
    """The words of those that have one of these ids, and whether they say when they were said."""
    return [(body(e), e.find(DELAY) is not None) for e in stanzas if e.get("id") in ids]


def test_what_was_said_before_both_servers_died_comes_once_they_are_back(region, start_prosody, started):
    """kill -9 of the patron's server, answers, kill -9 of the library's: nothing was confirmed."""
    library = region.library
    peer = region.start(start_prosody, PROSODY)
    mia = library.librarian("mia")
    pat = started(region.patron(peer))
    pat.subscribe()
    pat.ask(WORDS)
    number = mia.announced(WORDS)
    mia.take(number)
    pat.hears("mia is with you now.")
    wait_until(lambda: owed(library) == 0, "everything to be confirmed", 30, lambda: log(region))

    peer.process.kill()
    peer.stop()
    pat.abort()
    ids = [mia.write(number, answer) for answer in ("First answer.", "Second answer.")]
    wait_until(lambda: owed(library) == 2, "two answers to be stored", 30, lambda: log(region))
    region.server.kill()
    mia.abort()
    region.server.start()
    assert 2 == owed(library)

    peer.start()
    again = started(region.returning(peer, pat.jid))
    wait_until(lambda: owed(library) == 0, "everything to be confirmed", 30, lambda: log(region))
    wait_until(
        lambda: len(said_by(again, library.queue)) >= 2, "two answers", ATTEMPT_SECONDS, lambda: log(region)
    )
    again.catch_up()
    heard = with_ids(said_by(again, library.queue), ids)
    assert [("First answer.", True), ("Second answer.", True)] == heard


def test_three_answers_and_the_closing_line_reach_a_patron_whose_server_was_down(
    region, start_prosody, started
):
    """The attempts fail, the server comes back: all comes in order, once, with the time it was said."""
    library = region.library
    peer = region.start(start_prosody, PROSODY)
    mia = library.librarian("mia")
    pat = started(region.patron(peer))
    pat.subscribe()
    pat.ask(WORDS)
    number = mia.announced(WORDS)
    mia.take(number)
    pat.hears("mia is with you now.")
    wait_until(lambda: owed(library) == 0, "everything to be confirmed", 30, lambda: log(region))

    peer.process.kill()
    peer.stop()
    pat.abort()
    answers = ["First answer.", "Second answer.", "Third answer."]
    ids = [mia.write(number, answer) for answer in answers]
    mia.hears(number, "What you write is kept", ATTEMPT_SECONDS)
    mia.write(number, "!close 3 answered")
    mia.hears(number, f"#{number} is closed.")
    wait_until(lambda: owed(library) == 4, "four lines to be stored", 30, lambda: log(region))

    peer.start()
    again = started(region.returning(peer, pat.jid))
    wait_until(
        lambda: len(said_by(again, library.queue)) >= 4, "four lines", ATTEMPT_SECONDS, lambda: log(region)
    )
    wait_until(lambda: owed(library) == 0, "everything to be confirmed", 30, lambda: log(region))
    again.catch_up()
    heard = said_by(again, library.queue)
    assert [*answers, "Thank you for asking. If there is anything else, just write again."] == [
        body(stanza) for stanza in heard
    ]
    assert ids == [stanza.get("id") for stanza in heard[:3]]
    assert [] == [body(stanza) for stanza in heard if stanza.find(DELAY) is None]
