"""Librarians whose machines sleep, words on their way, accounts that end: what the queue takes for true."""

from __future__ import annotations

import pytest

from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import answering
from refserver.reference.feature import Reference
from refserver.stanza import Stanza
from refserver.storage import queues
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


# -- librarians elsewhere ----------------------------------------------------------------------------

EVE = JID.parse("eve@home.example")
EVE_AWAY = "eve is away from #1. !1 takes it."


class Laptop:
    """The client of a librarian elsewhere. `reply` is what comes back to a ping: an error, "" or nothing."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.reply: str | None = ""
        eve = queues.Librarian(EVE, "eve", 3)
        library.database.write_now(queues.put_librarian, library.queue.profile.id, eve)
        library.run(library.core.feature(Reference).refresh(DOMAIN))
        library.core.router.remote = self

    def deliver(self, stanza: Stanza) -> None:
        stanza.settle(None)
        if stanza.kind == "iq" and stanza.to == EVE.with_resource("x") and self.reply is not None:
            error = StanzaError(Condition(self.reply)) if self.reply else None
            answer = stanza.result() if error is None else stanza.error(error)
            self.library.clock.callLater(0.1, self.library.core.router.route, answer)

    def send(self, stanza: str) -> None:
        self.library.arrive(stanza.replace(" ", f" from='{EVE}/x' ", 1))

    def enter(self) -> None:
        self.send(f"<presence to='{ROOM}/eve'><x xmlns='http://jabber.org/protocol/muc'/></presence>")

    def write(self, body: str) -> None:
        self.send(f"<message to='{chat()}' type='chat'><body>{body}</body></message>")


@pytest.fixture
def laptop(library: Library) -> Laptop:
    return Laptop(library)


def test_a_laptop_asleep_on_another_server_is_not_on_duty(library: Library, laptop: Laptop) -> None:
    laptop.enter()
    library.clock.pump([10] * 30)
    assert nicks(library) == ["eve"]
    laptop.reply = None
    library.clock.pump([10] * 19)
    assert nicks(library) == []
    laptop.reply = ""
    library.clock.pump([10] * 7)
    assert nicks(library) == ["eve"]


@pytest.mark.parametrize("reply", ["", "service-unavailable", "feature-not-implemented"])
def test_a_client_elsewhere_that_knows_no_pings_is_on_duty(
    library: Library, laptop: Laptop, reply: str
) -> None:
    laptop.enter()
    laptop.reply = reply
    library.clock.pump([10] * 60)
    assert nicks(library) == ["eve"]


@pytest.mark.parametrize("reply", [None, "remote-server-timeout", "item-not-found"])
def test_who_wrote_from_elsewhere_and_fell_asleep_is_away_from_her_question(
    library: Library, laptop: Laptop, reply: str | None
) -> None:
    noa, pat = library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    laptop.write("Hello.")
    assert library.question().owner == EVE
    laptop.reply = reply
    library.clock.pump([10] * 20)
    write(pat, ASK.text, "Are you there?")
    assert EVE_AWAY in bodies(noa, ROOM)
    write(noa, ASK.text, "!1")
    assert library.question().owner == NOA


def test_who_is_elsewhere_and_answers_keeps_her_question(library: Library, laptop: Laptop) -> None:
    noa, pat = library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    laptop.write("Hello.")
    library.clock.pump([30] * 120)
    assert library.question().owner == EVE
    assert EVE_AWAY not in bodies(noa, ROOM)


def test_who_writes_again_from_elsewhere_is_not_away(library: Library, laptop: Laptop) -> None:
    noa, pat = library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    laptop.reply = "service-unavailable"
    for _ in range(4):
        laptop.write("I am looking.")
        library.clock.pump([30] * 18)
    assert EVE_AWAY not in bodies(noa, ROOM)
    library.clock.pump([30] * 8)
    assert EVE_AWAY in bodies(noa, ROOM)


# -- what goes wrong half way ------------------------------------------------------------------------


def test_words_that_the_former_owner_reads_late_are_still_owed_to_the_new_one(library: Library) -> None:
    mia, noa, pat = claimed(library)
    mia.mute = True
    write(pat, ASK.text, "The old ones.", "m2")
    library.clock.pump([10] * 25)
    noa.drop()
    write(noa, ASK.text, "!1")
    assert library.question().owner == NOA
    mia.mute = False
    for ping in mia.unanswered:
        mia.send(ping.result())
    library.clock.advance(0)
    noa.end()
    library.clock.advance(1)
    again = library.client(f"{NOA}/other")
    again.send("<presence/>")
    assert "The old ones." in bodies(again, chat())


def test_what_was_said_before_comes_again_to_a_colleague_whose_connection_was_lost(library: Library) -> None:
    mia, noa, _ = claimed(library)
    noa.drop()
    write(mia, chat(), "!to noa")
    library.clock.advance(0)
    noa.end()
    library.clock.advance(1)
    again = library.client(f"{NOA}/other")
    again.send("<presence/>")
    library.clock.advance(1)
    assert bodies(again, chat()).count("mia: Hello.") == 1


def test_an_offer_that_could_not_be_stored_is_made_again(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("no room")

    mia, pat = library.online(f"{MIA}/desk"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    with monkeypatch.context() as patch:
        patch.setattr(answering, "offer", fails)
        library.enter(mia, "mia")
        library.clock.advance(1)
    assert f"push {chat()} remove" in mia.told()
    assert library.question().state == "waiting"
    library.clock.advance(10)
    assert library.question().offered_to == MIA
