"""What patrons on another server are owed while that server is down for longer than an attempt takes."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest
from attrs import define

from refserver.app.commands.status import ShowStatus
from tests.interop.peers import PROSODY, PeerServer, Region, wait_until
from tests.interop.peers.people import DELAY, Librarian, Patron, body

pytestmark = [pytest.mark.peers, pytest.mark.slow]

WORDS = "Where are the opening hours of the map room?"
ATTEMPT_SECONDS = 45.0
"""Longer than refserver tries to reach another server before it gives everything back."""


@define
class Talk:
    """A patron with an account at `peer`, and mia, who has taken the question `number`: all is confirmed."""

    region: Region
    peer: PeerServer
    mia: Librarian
    pat: Patron
    number: int

    @property
    def queue(self) -> str:
        return self.region.library.queue

    def owed(self) -> int:
        """How many lines `refserverctl status` counts."""
        return int(self.region.library.call(ShowStatus())["owed"])

    def log(self) -> str:
        """The end of the library's log."""
        return self.region.server.log[-3000:]

    def until_owed(self, count: int) -> None:
        """Return when the library owes that many lines."""
        wait_until(lambda: self.owed() == count, f"{count} lines to be owed", 30, self.log)

    def kill_peer(self) -> None:
        """The patron's server dies, and with it her stream."""
        self.peer.process.kill()
        self.peer.stop()
        self.pat.abort()

    def until_said(self, again: Patron, count: int) -> None:
        """Return when the patron, logged in again, was sent that many messages with words."""
        what = f"{count} messages of the queue"
        wait_until(lambda: len(said_by(again, self.queue)) >= count, what, ATTEMPT_SECONDS, self.log)


@pytest.fixture
def talk(region, start_prosody, started) -> Talk:
    """A question that is taken; both servers are there."""
    peer = region.start(start_prosody, PROSODY)
    mia = region.library.librarian("mia")
    pat = started(region.patron(peer))
    pat.subscribe()
    pat.ask(WORDS)
    number = mia.announced(WORDS)
    mia.take(number)
    pat.hears("mia is with you now.")
    talk = Talk(region, peer, mia, pat, number)
    talk.until_owed(0)
    return talk


def said_by(patron: Patron, queue: str) -> list[Element]:
    """The messages with words that a patron was sent by the queue, oldest first."""
    return [e for e in patron.received() if e.get("from", "").startswith(queue) and body(e)]


def with_ids(stanzas: list[Element], ids: list[str]) -> list[tuple[str, bool]]:
    """The words of those that have one of these ids, and whether they say when they were said."""
    return [(body(e), e.find(DELAY) is not None) for e in stanzas if e.get("id") in ids]


def test_what_was_said_before_both_servers_died_comes_once_they_are_back(talk, region, started):
    """kill -9 of the patron's server, answers, kill -9 of the library's: nothing was confirmed."""
    mia, number = talk.mia, talk.number
    talk.kill_peer()
    ids = [mia.write(number, answer) for answer in ("First answer.", "Second answer.")]
    talk.until_owed(2)
    region.server.kill()
    mia.abort()
    region.server.start()
    assert 2 == talk.owed()

    talk.peer.start()
    again = started(region.returning(talk.peer, talk.pat.jid))
    talk.until_owed(0)
    talk.until_said(again, 2)
    again.catch_up()
    heard = with_ids(said_by(again, talk.queue), ids)
    assert [("First answer.", True), ("Second answer.", True)] == heard


def test_three_answers_and_the_closing_line_reach_a_patron_whose_server_was_down(talk, region, started):
    """The attempts fail, the server comes back: all comes in order, once, with the time it was said."""
    mia, number = talk.mia, talk.number
    talk.kill_peer()
    answers = ["First answer.", "Second answer.", "Third answer."]
    ids = [mia.write(number, answer) for answer in answers]
    mia.hears(number, "What you write is kept", ATTEMPT_SECONDS)
    mia.write(number, "!close 3 answered")
    mia.hears(number, f"#{number} is closed.")
    talk.until_owed(4)

    talk.peer.start()
    again = started(region.returning(talk.peer, talk.pat.jid))
    talk.until_said(again, 4)
    talk.until_owed(0)
    again.catch_up()
    heard = said_by(again, talk.queue)
    assert [*answers, "Thank you for asking. If there is anything else, just write again."] == [
        body(stanza) for stanza in heard
    ]
    assert ids == [stanza.get("id") for stanza in heard[:3]]
    assert [] == [body(stanza) for stanza in heard if stanza.find(DELAY) is None]
