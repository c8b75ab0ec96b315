"""Librarians whose machines sleep, words on their way, accounts that end: what the queue takes for true."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.reference.feature import Reference
from tests.server.harness import Client
from tests.server.library import ASK, DOMAIN, ROOM, Library, bodies, chat, messages, write

MIA, NOA = (JID.parse(f"{name}@{DOMAIN}") for name in ("mia", "noa"))
AWAY = "mia is away from #1. !1 takes it."


@pytest.fixture
def library() -> Library:
    return Library()


def nicks(library: Library) -> list[str]:
    return [duty.nick for duty in library.queue.on_duty.duties()]


def claimed(library: Library) -> tuple[Client, Client, Client]:
    """Mia has pat's question; noa is at the desk, too."""
    mia, noa, pat = library.on_duty("mia"), library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, chat(), "Hello.")
    library.clock.advance(0)
    mia.received(), noa.received(), pat.received()
    return mia, noa, pat


# -- a laptop that sleeps ------------------------------------------------------------------------


@pytest.mark.parametrize("managed", [False, True])
def test_a_laptop_asleep_is_not_on_duty_though_nobody_wrote(library: Library, managed: bool) -> None:
    mia, _ = library.on_duty("mia"), library.on_duty("noa")
    if managed:
        mia.manage()
    mia.mute = True
    library.clock.pump([10] * 13)
    assert nicks(library) == ["noa"]
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    assert library.question().offered_to == NOA
    assert bodies(mia, chat()) == []


def test_a_question_of_a_laptop_asleep_can_be_taken(library: Library) -> None:
    mia, noa, _ = claimed(library)
    mia.mute = True
    library.clock.pump([10] * 25)
    assert AWAY in bodies(noa, ROOM)
    write(noa, ASK.text, "!1")
    assert library.question().owner == NOA


def test_a_laptop_that_wakes_is_on_duty_again(library: Library) -> None:
    mia, _ = library.on_duty("mia"), library.on_duty("noa")
    mia.mute = True
    library.clock.pump([10] * 13)
    assert nicks(library) == ["noa"]
    mia.mute = False
    for ping in mia.unanswered:
        mia.send(ping.result())
    assert nicks(library) == ["mia", "noa"]
    library.clock.pump([10] * 30)
    assert nicks(library) == ["mia", "noa"]
    mia.mute = True
    library.clock.pump([10] * 13)
    assert nicks(library) == ["noa"]


def test_who_becomes_a_librarian_while_she_is_logged_in_is_asked_too(library: Library) -> None:
    ora = library.online(f"ora@{DOMAIN}/desk")
    library.appoint("ora", library.queue.profile.id)
    library.run(library.core.feature(Reference).refresh(DOMAIN))
    library.enter(ora, "ora")
    ora.mute = True
    library.clock.pump([10] * 13)
    assert nicks(library) == []


def test_a_patrons_client_is_not_asked_each_minute(library: Library) -> None:
    pat = library.patron()
    before = pat.pings
    library.clock.pump([60] * 10)
    assert pat.pings == before


# -- words that were on the way with an offer --------------------------------------------------------


def test_words_sent_with_an_offer_that_never_arrived_come_again_to_who_took_it(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    mia.drop()
    write(pat, ASK.text, "Where are the maps?", "m1")
    write(mia, ASK.text, "!1")
    library.clock.advance(0)
    mia.end()
    library.clock.advance(1)
    again = library.client(f"{MIA}/other")
    again.send("<presence/>")
    assert [m.body for m in messages(again, chat()) if m.id == "m1"] == ["Where are the maps?"]


def test_words_sent_with_an_offer_survive_a_crash_before_they_were_acknowledged(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    mia.drop()
    write(pat, ASK.text, "Where are the maps?", "m1")
    write(mia, ASK.text, "!1")
    again = library.restart()
    mia = again.client(f"{MIA}/desk")
    mia.send("<presence/>")
    assert "Where are the maps?" in bodies(mia, chat())


# -- accounts that end -----------------------------------------------------------------------------


def test_who_gets_the_name_of_a_subscriber_that_ended_sees_nothing_of_the_queue(library: Library) -> None:
    library.account(f"pat@{DOMAIN}")
    library.arrive(f"<presence from='pat@{DOMAIN}' to='{ASK}' type='subscribe'/>")
    library.clock.advance(10)
    library.remove_account(f"pat@{DOMAIN}")
    assert JID.parse(f"pat@{DOMAIN}") not in library.queue.presence.subscribers
    other = library.online(f"pat@{DOMAIN}/phone")
    library.on_duty("mia")
    library.clock.advance(30)
    assert [line for line in other.told() if ASK.text in line] == []
