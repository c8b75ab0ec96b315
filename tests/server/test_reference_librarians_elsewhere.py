"""Librarians with an account on another server: the words of patrons reach them, or somebody else."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import outbox
from refserver.storage import queues
from refserver.storage.conversations import Relay
from refserver.storage.outbox import OWED_DAYS
from tests.server.elsewhere import (
    DAY,
    HOME,
    HOUR,
    MINUTE,
    Home,
    delays,
    relays,
    restarted,
    wait,
)
from tests.server.harness import Client
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, messages, write

# -- librarians elsewhere ----------------------------------------------------------


@pytest.fixture
def library() -> Library:
    """A queue whose questions stay with their librarian, however long she is away."""
    return Library(settings={"return_minutes": 0})


EVE = JID.parse(f"eve@{HOME}")


def hers(library: Library) -> Client:
    """A patron here whose question a librarian elsewhere has taken."""
    eve = queues.Librarian(EVE, "eve", 3)
    library.database.write_now(queues.put_librarian, library.queue.profile.id, eve)
    library.queue.profile.librarians[EVE] = eve
    pat = library.patron()
    write(pat, ASK.text, "Maps?", "m1")
    library.arrive(f"<message from='{EVE}/x' to='{chat()}' type='chat' id='e1'><body>Hello.</body></message>")
    pat.received()
    return pat


def test_a_librarian_elsewhere_gets_what_was_asked_and_it_is_confirmed(library: Library, home: Home) -> None:
    hers(library)
    first = home.taken()[0]
    assert ("m1", "Maps?") == (first.id, first.body)
    library.clock.advance(0)
    assert Relay.DONE is relays(library)["Maps?"]


def test_words_for_a_librarian_whose_server_is_away_come_later_and_once(library: Library, home: Home) -> None:
    pat = hers(library)
    home.taken()
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(pat, ASK.text, "The old ones.", "m2")
    write(pat, ASK.text, "Of the town.", "m3")
    again, after = restarted(library, Condition.REMOTE_SERVER_TIMEOUT)
    wait(again, HOUR)
    after.back()
    sent = after.taken()
    assert [("m2", "The old ones."), ("m3", "Of the town.")] == [(s.id, s.body) for s in sent]
    assert "" not in delays(sent)
    wait(again, DAY, HOUR)
    assert [] == after.words()


def test_a_librarian_who_is_offline_keeps_her_question(library: Library, home: Home) -> None:
    """Her server has no place for messages: she gets them when she is back, as one with an account here."""
    pat = hers(library)
    home.taken()
    write(pat, ASK.text, "The old ones.", "m2")
    error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"
    library.arrive(f"<message from='{EVE}' to='{chat()}/queue' type='error' id='m2'>{error}</message>")
    assert EVE == library.question().owner
    home.taken()
    wait(library, 2 * MINUTE)
    assert ["The old ones."] == home.words()


def test_a_librarian_who_is_away_for_days_loses_the_question_and_the_next_gets_the_words(
    library: Library, home: Home
) -> None:
    pat = hers(library)
    home.taken()
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(pat, ASK.text, "The old ones.", "m2")
    pat.received()
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    assert library.question().owner is None
    assert "Another librarian will be with you as soon as possible." in bodies(pat)
    mia = library.online(f"mia@{DOMAIN}/desk")
    library.enter(mia, "mia")
    write(mia, chat(), "!1")
    words = [s for s in messages(mia, chat()) if s.id == "m2"]
    assert ["The old ones."] == [s.body for s in words]
    library.clock.advance(0)
    assert Relay.DONE is relays(library)["The old ones."]


def test_who_has_taken_over_keeps_the_question(library: Library, home: Home) -> None:
    """Words that were under way to the librarian before her, and come back only now."""
    pat = hers(library)
    home.confirms = False
    write(pat, ASK.text, "The old ones.", "m2")
    (stanza,) = home.unconfirmed
    mia = library.on_duty("mia")
    library.arrive(f"<message from='{EVE}/x' to='{chat()}' type='chat'><body>!to mia</body></message>")
    write(mia, chat(), "!1")
    assert mia.jid.bare == library.question().owner
    stanza.settle(StanzaError(Condition.ITEM_NOT_FOUND))
    assert mia.jid.bare == library.question().owner


def test_last_words_for_a_librarian_who_has_closed_the_question_are_told_to_the_desk(
    library: Library, home: Home
) -> None:
    pat = hers(library)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(pat, ASK.text, "Thanks!", "m2")
    library.arrive(
        f"<message from='{EVE}/x' to='{chat()}' type='chat' id='e2'><body>!close 2</body></message>"
    )
    mia = library.on_duty("mia")
    home.away = Condition.ITEM_NOT_FOUND
    library.clock.pump([outbox.SOONEST_SECONDS, 1])
    assert (
        "#1: what the patron wrote could not be delivered to eve. Why: that address does not exist any more."
        in bodies(mia)
    )
    assert "closed" == library.question().state
    assert Relay.GIVEN_UP is relays(library)["Thanks!"]
