"""What a librarian types with a `!`, at the desk and in the chat of a question."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.storage import Database, queues
from tests.interop.peers import Librarian, Library, Patron
from tests.interop.peers.people import DELAY, body

WORDS = "Do you have the parish registers of 1843?"
ACKNOWLEDGED = "Thank you, your question is here. A librarian will answer in a moment."


@pytest.fixture
def staffed(library) -> Library:
    """Two librarians who know each other, and a patron."""
    return library.set_up(librarians=("mia", "ben"), patrons=("pat",))


def taken(library: Library) -> tuple[Librarian, Librarian, Patron]:
    """mia, who has question 1, ben, and pat, who asked it; nothing of that is left to be read."""
    mia, ben, pat = library.librarian("mia"), library.librarian("ben"), library.patron("pat")
    pat.ask(WORDS)
    pat.hears(ACKNOWLEDGED)
    mia.announced(WORDS)
    mia.take(1)
    pat.hears("mia is with you now.")
    return mia, ben, pat


def test_a_note_is_for_the_staff(staffed):
    """`!note`: kept, told to the next librarian, never to the patron."""
    mia, ben, pat = taken(staffed)
    mia.write(1, "!note seems to mean the registers of the cathedral")
    mia.hears(1, "(Noted. The patron does not see it.)")
    assert 1 == staffed.question(1)["messages"]["note"]
    mia.write(1, "!to ben knows the registers")
    ben.hears(1, "mia asks you to take over #1")
    ben.write(1, "!1")
    note = ben.hears(1, "seems to mean the registers of the cathedral")
    assert "(Note by mia: seems to mean the registers of the cathedral)" == body(note)
    assert note.find(DELAY) is not None
    pat.hears("ben takes over from here.")
    assert [] == pat.take_words(staffed.queue)


def test_a_canned_reply_is_listed_and_sent(start_refserver):
    """`!c` lists what the queue keeps, `!c hours` sends it and shows what was sent."""
    server = start_refserver()
    server.authority.certify("canned.example")
    server.restart()
    library = Library(server, "canned.example").set_up(librarians=("mia", "ben"), patrons=("pat",))
    server.stop()
    database = Database.open(server.folder / "data" / "refserver.sqlite")
    queue = database.read_now(queues.find, JID.parse(library.queue))
    assert queue is not None
    database.write_now(queues.put_canned, queue.id, "hours", "We are open from 9 to 5.")
    database.close_now()
    server.start()
    with library:
        mia, _, pat = taken(library)
        mia.write(1, "!c")
        assert "* !c hours: We are open from 9 to 5." == body(mia.hears(1, "!c hours"))
        mia.write(1, "!c hours")
        assert "We are open from 9 to 5." == body(pat.hears("We are open"))
        mia.hears(1, "Sent: We are open from 9 to 5.")
        mia.write(1, "!c weather")
        mia.hears(1, "There is no canned reply weather.")
        assert [] == pat.take_words(library.queue)


def test_who_is_on_duty_with_how_many_questions(staffed):
    """`!who`, in the chat and at the desk."""
    mia, ben, _ = taken(staffed)
    mia.write(1, "!who")
    assert "* On duty: ben 0/3, mia 1/3" == body(mia.hears(1, "On duty"))
    ben.say_at_desk("!who")
    assert "On duty: ben 0/3, mia 1/3" == body(ben.at_desk("On duty"))
    mia.leave_desk()
    ben.say_at_desk("!who")
    assert "On duty: ben 0/3" == body(ben.at_desk("On duty"))


def test_a_question_is_released(staffed):
    """`!release`: it waits again, is offered to another first, the patron is told."""
    mia, ben, pat = taken(staffed)
    mia.write(1, "!release not my field")
    mia.hears(1, "#1 is back in the queue.")
    ben.at_desk("mia has released #1. Why: not my field")
    pat.hears("Another librarian will be with you as soon as possible.")
    ben.hears(1, "New question #1")
    assert "offered" == staffed.question(1)["state"]
    assert "ben" == staffed.question(1)["offered_to"]
    mia.write(1, "One moment")
    mia.hears(1, "#1 is yours.")
    assert "One moment" == body(pat.hears("One moment"))
    assert 1 == staffed.question(1)["releases"]


def test_a_question_is_handed_over_when_the_other_accepts(staffed):
    """`!to ben`: until then it stays hers; he is told all that was said; the patron is told."""
    mia, ben, pat = taken(staffed)
    mia.write(1, "Which parish?")
    pat.hears("Which parish?")
    pat.ask("Saint Mary")
    mia.hears(1, "Saint Mary")

    mia.write(1, "!to ben knows the registers")
    mia.hears(1, "ben was asked to take #1. It stays yours until then.")
    told = body(ben.hears(1, "mia asks you to take over #1"))
    assert "Why: knows the registers" in told
    retold = [text for text in ben.take_words(ben.chat(1)) if not text.startswith("*")]
    assert [WORDS, "mia: Which parish?", "Saint Mary"] == retold
    mia.write(1, "A colleague will look.")
    pat.hears("A colleague will look.")
    assert ("mia", "ben") == (staffed.question(1)["librarian"], staffed.question(1)["handed_to"])

    ben.write(1, "I have them here.")
    ben.hears(1, "#1 is yours.")
    mia.hears(1, "ben has taken over #1.")
    assert ["ben takes over from here.", "I have them here."] == pat.take_words(staffed.queue)
    retold = [text for text in ben.take_words(ben.chat(1)) if not text.startswith("*")]
    assert ["mia: A colleague will look."] == retold
    pat.ask("Thank you, ben")
    ben.hears(1, "Thank you, ben")
    mia.write(1, "I am still here")
    mia.hears(1, "ben was first")
    assert [] == pat.take_words(staffed.queue)
    assert 1 == staffed.question(1)["transfers"]


def test_a_hand_over_is_declined(staffed):
    """`!decline`: nothing has changed, and the patron heard nothing of it."""
    mia, ben, pat = taken(staffed)
    mia.write(1, "!to ben")
    ben.hears(1, "mia asks you to take over #1")
    ben.write(1, "!decline lunch")
    ben.hears(1, "#1 stays where it is.")
    mia.hears(1, "ben cannot take #1; it stays yours. Why: lunch")
    mia.write(1, "!to nobody")
    mia.hears(1, "No colleague here is called nobody.")
    assert ("claimed", "mia", None) == tuple(
        staffed.question(1)[name] for name in ("state", "librarian", "handed_to")
    )
    assert [] == pat.take_words(staffed.queue)


def test_an_unknown_word_is_held_and_explained(staffed):
    """Whatever begins with `!` never slips through; `!!` sends one."""
    mia, _, pat = taken(staffed)
    mia.write(1, "!colse 3")
    mia.hears(1, "There is no !colse. Did you mean !close? Nothing was sent.")
    mia.write(1, "!hurray for you")
    mia.hears(1, "There is no !hurray. Nothing was sent.")
    mia.write(1, "!close 9")
    mia.hears(1, "READ levels are 1 (hardly any effort) to 6 (research).")
    mia.write(1, "!note")
    mia.hears(1, "!note needs a text behind it.")
    mia.write(1, "!!important: bring your card")
    assert "!important: bring your card" == body(pat.hears("important"))
    assert [] == pat.take_words(staffed.queue)
    assert 1 == staffed.question(1)["messages"]["staff"]


def test_help_lists_the_commands(staffed):
    """In the chat and at the desk, for the one who asked."""
    mia, ben, pat = taken(staffed)
    mia.write(1, "!help")
    assert "!close 3 answered" in body(mia.hears(1, "!note text"))
    mia.write(1, "!help note")
    assert "* !note text: for the staff only" == body(mia.hears(1, "!note text"))
    mia.say_at_desk("!help")
    mia.at_desk("!who: who is on duty")
    assert "!who: who is on duty" not in "".join(ben.take_words(staffed.desk))
    assert [] == pat.take_words(staffed.queue)


def test_a_word_to_the_colleagues(staffed):
    """`!desk` from the chat, not to the patron."""
    mia, ben, pat = taken(staffed)
    mia.write(1, "!desk who has the keys of the archive?")
    mia.hears(1, "(Said at the desk. The patron does not see it.)")
    assert "mia, #1: who has the keys of the archive?" == body(ben.at_desk("keys of the archive"))
    assert [] == pat.take_words(staffed.queue)


def test_a_parked_question_waits_for_the_patron_or_a_librarian(staffed):
    """`!park`: nobody owns it, and `!1` takes it again."""
    mia, ben, pat = taken(staffed)
    mia.write(1, "!park until the archive answers")
    mia.hears(1, "#1 is kept for follow-up.")
    pat.hears("We will look into it.")
    assert ("parked", None) == (staffed.question(1)["state"], staffed.question(1)["librarian"])
    ben.take(1)
    ben.write(1, "The archive says yes.")
    pat.hears("The archive says yes.")


def test_only_librarians_reach_the_chat_of_a_question(staffed):
    """For a patron there is no such address."""
    _, _, pat = taken(staffed)
    chat = staffed.queue.replace("@", "+1@")
    pat.write_to(chat, "!close 1")
    refused = pat.wait_for_message_that(lambda e: e.get("type") == "error", chat)
    condition = "{jabber:client}error/{urn:ietf:params:xml:ns:xmpp-stanzas}item-not-found"
    assert refused.find(condition) is not None
    assert "claimed" == staffed.question(1)["state"]
