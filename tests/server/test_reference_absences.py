"""A question whose librarian is not there: the desk knows, a colleague may take it, and it waits again."""

from __future__ import annotations

import pytest

from refserver.core.hooks import HostStopping
from refserver.jid import JID
from refserver.reference.feature import Reference
from refserver.storage import queues
from refserver.storage.queues import Librarian
from tests.server.harness import Client
from tests.server.library import ASK, DOMAIN, ROOM, Library, bodies, chat, write

MIA, NOA = (JID.parse(f"{name}@{DOMAIN}") for name in ("mia", "noa"))
AWAY = "mia is away from #1. !1 takes it."


@pytest.fixture
def library() -> Library:
    return Library()


def claimed(library: Library) -> tuple[Client, Client, Client]:
    """Mia has pat's question; noa is at the desk, too."""
    mia, noa, pat = library.on_duty("mia"), library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, chat(), "Hello.")
    library.clock.advance(0)
    mia.received(), noa.received(), pat.received()
    return mia, noa, pat


def leave_desk(mia: Client) -> None:
    mia.send(f"<presence type='unavailable' to='{ROOM}/mia'/>")


def log_out(mia: Client) -> None:
    mia.end()


GOING = pytest.mark.parametrize("go", [leave_desk, log_out])


@GOING
def test_the_desk_is_told_at_the_patrons_next_words(library: Library, go) -> None:
    mia, noa, pat = claimed(library)
    go(mia)
    library.clock.advance(61)
    assert AWAY not in bodies(noa, ROOM)
    write(pat, ASK.text, "Are you there?")
    assert bodies(noa, ROOM).count(AWAY) == 1
    write(pat, ASK.text, "Hello?")
    library.clock.advance(120)
    assert AWAY not in bodies(noa, ROOM)  # once is enough


@GOING
def test_the_desk_is_told_after_two_minutes(library: Library, go) -> None:
    mia, noa, _ = claimed(library)
    go(mia)
    library.clock.advance(119)
    assert AWAY not in bodies(noa, ROOM)
    library.clock.advance(1)
    assert AWAY in bodies(noa, ROOM)


@GOING
def test_the_patron_is_not_told_that_somebody_is_there_who_is_not(library: Library, go) -> None:
    mia, _, pat = claimed(library)
    write(pat, ASK.text, "position")
    assert bodies(pat) == ["mia is with you now."]
    go(mia)
    library.clock.advance(61)
    write(pat, ASK.text, "position")
    (answer,) = bodies(pat)
    assert answer.startswith("Your question is kept.")


@GOING
def test_a_colleague_may_take_it(library: Library, go) -> None:
    mia, noa, pat = claimed(library)
    go(mia)
    noa.send(f"<message to='{ROOM}' type='groupchat'><body>!1</body></message>")
    assert "mia was first: #1 is taken." in bodies(noa, ROOM)  # she may be back in a moment
    library.clock.advance(61)
    write(pat, ASK.text, "Are you there?")
    noa.received()
    noa.send(f"<message to='{ROOM}' type='groupchat'><body>!1</body></message>")
    assert library.question().owner == NOA
    said = bodies(noa)
    assert "#1 is with noa now: mia was away." in said
    assert said.count("Where are the maps?") == said.count("mia: Hello.") == said.count("Are you there?") == 1
    assert "noa takes over from here." in bodies(pat)
    write(noa, chat(), "Upstairs.")
    assert bodies(pat) == ["Upstairs."]


@GOING
def test_after_ten_minutes_it_waits_again(library: Library, go) -> None:
    mia, noa, pat = claimed(library)
    go(mia)
    library.clock.pump([60] * 9)
    assert library.question().owner == MIA
    library.clock.pump([60])
    assert (library.question().owner, library.question().offered_to) == (None, NOA)
    assert "#1 waits again: mia is not there any more." in bodies(noa, ROOM)
    assert "Another librarian will be with you as soon as possible." in bodies(pat)


def test_never_if_the_queue_says_so() -> None:
    library = Library(settings={"return_minutes": 0})
    mia, _, _ = claimed(library)
    log_out(mia)
    library.clock.pump([600] * 24)
    assert library.question().owner == MIA


def test_who_comes_back_has_her_question_and_nobody_hears_of_it(library: Library) -> None:
    mia, noa, pat = claimed(library)
    leave_desk(mia)
    library.clock.advance(100)
    library.enter(mia, "mia")
    mia.received(), noa.received()
    library.clock.pump([60] * 30)
    assert library.question().owner == MIA
    assert AWAY not in bodies(noa, ROOM)
    write(pat, ASK.text, "Are you there?")
    assert bodies(mia, chat()) == ["Are you there?"]


def test_who_never_was_at_the_desk_and_answers_is_there(library: Library) -> None:
    library.on_duty("noa")
    mia, pat = library.online(f"{MIA}/desk"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, ASK.text, "!1")
    library.clock.pump([60] * 30)
    assert library.question().owner == MIA


def test_a_client_that_answers_nothing_is_not_on_duty(library: Library) -> None:
    mia, noa, pat = claimed(library)
    mia.mute = True
    write(pat, ASK.text, "The old ones.")
    library.clock.pump([10] * 13)
    assert AWAY not in bodies(noa, ROOM)
    library.clock.pump([10] * 13)
    assert AWAY in bodies(noa, ROOM)
    assert [duty.nick for duty in library.queue.on_duty.duties()] == ["noa"]


# -- one librarian, several queues -----------------------------------------------------------


def test_max_chats_holds_for_the_person_over_all_her_queues(library: Library) -> None:
    maps = JID.parse(f"maps@{DOMAIN}")
    made = library.database.write_now(queues.add, maps)
    library.database.write_now(queues.put_librarian, made.id, Librarian(MIA, "mia", 1))
    library.database.write_now(queues.put_librarian, library.queue.profile.id, Librarian(MIA, "mia", 1))
    library.run(library.core.feature(Reference).refresh(DOMAIN))
    mia = library.on_duty("mia")
    mia.send(f"<presence to='maps@rooms.{DOMAIN}/mia'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    write(library.patron("pat"), ASK.text, "Where are the maps?")
    assert library.question(1).offered_to == MIA
    write(library.patron("sam"), maps.text, "And the globes?")
    assert library.question(2).offered_to is None
    write(mia, f"ask+1@{DOMAIN}", "Upstairs.")
    assert library.question(2).offered_to is None
    write(mia, f"ask+1@{DOMAIN}", "!close 2")
    assert library.question(2).offered_to == MIA


def test_the_chat_of_a_question_answers_at_whatever_queue_has_it(library: Library) -> None:
    maps = JID.parse(f"maps@{DOMAIN}")
    made = library.database.write_now(queues.add, maps)
    library.database.write_now(queues.put_librarian, made.id, Librarian(MIA, "mia", 3))
    library.run(library.core.feature(Reference).refresh(DOMAIN))
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, maps.text, "Where are the globes?")
    write(mia, chat(1), "Downstairs.")
    assert library.question(1).owner == MIA
    assert "Downstairs." in bodies(pat)


# -- lines that look like commands -------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["!who", " !who", "\t!who", "\uff01who", "\u3000\uff01who", "\n !who", "\ufeff!who", "\u200b\ufe57who"],
)
def test_a_librarians_line_with_a_leading_mark_is_no_question_of_hers(library: Library, line: str) -> None:
    mia = library.on_duty("mia")
    write(mia, ASK.text, line)
    assert bodies(mia, ASK.text) == ["On duty: mia 0/3"]
    assert list(library.open_questions) == []


def test_a_doubled_mark_at_the_queues_address_is_no_question_either(library: Library) -> None:
    mia = library.on_duty("mia")
    write(mia, ASK.text, "!!hello")
    (answer,) = bodies(mia, ASK.text)
    assert answer.startswith("That works in the chat of a question only.")
    assert list(library.open_questions) == []


# -- order at the desk ---------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["!who", "!close 3", "!frobnicate", "!417"])
def test_an_answer_at_the_desk_comes_behind_the_line_that_asked(library: Library, line: str) -> None:
    mia = library.on_duty("mia")
    mia.send(f"<message to='{ROOM}' type='groupchat'><body>{line}</body></message>")
    asked, answer = mia.told()
    assert asked == f"message from {ROOM}/mia: {line}"
    assert answer.startswith(f"message from {ROOM}/ask: ")


def test_long_help_goes_to_who_asked_alone(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    mia.received()
    mia.send(f"<message to='{ROOM}' type='groupchat'><body>!help</body></message>")
    asked, help = (stanza for stanza in mia.received() if stanza.kind == "message")
    assert (asked.type, asked.body, help.type) == ("groupchat", "!help", "chat")
    assert "!close 3" in help.body
    assert bodies(noa) == ["!help"]


def test_an_offer_that_is_over_is_taken_back_where_it_stands(library: Library) -> None:
    mia, noa, pat = library.on_duty("mia"), library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    assert library.question().offered_to == MIA
    mia.received(), noa.received()
    noa.send(f"<message to='{ROOM}' type='groupchat'><body>!1</body></message>")
    told = mia.told()
    assert f"message from {chat()}/queue: * #1 is no longer offered to you: noa has it." in told
    assert f"push {chat()} remove" in told


def test_an_offer_whose_patron_has_gone_is_taken_back(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    mia.received()
    write(pat, ASK.text, "bye")
    told = mia.told()
    assert f"message from {chat()}/queue: * #1: the patron has left the line." in told
    assert f"push {chat()} remove" in told


# -- when the clock goes back, and at a log-in -------------------------------------------------------


def test_offers_are_widened_though_the_wall_clock_goes_back(library: Library) -> None:
    _, noa, pat = library.on_duty("mia"), library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    library.core.now = lambda: library.clock.seconds() - 3600.0
    library.clock.advance(30)
    assert library.question().offered_to is None
    (announced, *_) = [line for line in bodies(noa, ROOM) if line.startswith("mia, noa:")]
    assert "0:00" in announced


def test_a_log_in_asks_no_queue_but_the_patrons_and_the_librarians(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.on_duty("mia")
    asked: list[JID] = []
    entries = library.queue.roster_entries
    monkeypatch.setattr(entries, "patron_changed", asked.append)
    library.patron("sam")
    assert asked == []
    write(library.patron("pat"), ASK.text, "Where are the maps?")
    library.patron("pat").end()
    assert asked == [JID.parse(f"pat@{DOMAIN}")]


# -- ends from outside ---------------------------------------------------------------------------------


def test_the_question_of_a_librarian_whose_account_ends_waits_again_and_the_desk_is_told(
    library: Library,
) -> None:
    _, noa, pat = claimed(library)
    library.remove_account(MIA.text)
    assert (library.question().owner, library.question().offered_to) == (None, NOA)
    assert "#1 waits again: mia is not there any more." in bodies(noa, ROOM)
    assert "Another librarian will be with you as soon as possible." in bodies(pat)
    write(noa, chat(), "Upstairs.")
    assert bodies(pat) == ["noa is with you now.", "Upstairs."]


def test_subscribers_elsewhere_learn_that_a_library_stops(library: Library) -> None:
    library.arrive(f"<presence from='pat@home.example' to='{ASK}' type='subscribe'/>")
    library.elsewhere.received()
    host = library.core.hosts.get(DOMAIN)
    assert host is not None
    library.core.hooks.tell(HostStopping(host))
    assert library.elsewhere.told() == [f"unavailable from {ASK}/queue to pat@home.example"]
