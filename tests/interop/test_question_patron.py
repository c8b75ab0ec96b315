"""The patron's plain words, what comes after hours, and what cannot be read."""

from __future__ import annotations

from tests.interop.peers.people import DELAY, body

WORDS = "May I renew a book by chat?"


def test_plain_words_are_answered_and_are_no_question(library):
    """`help` and `position` before anything was asked."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask("help")
    pat.hears("Just write your question: a librarian will answer here.")
    pat.ask("Position?")
    pat.hears("Thank you, your question is here.")  # a question mark makes it one
    mia.announced("Position?")
    assert ["offered"] == [question["state"] for question in library.questions()]


def test_position_tells_the_place_in_the_line(library):
    """For one who waits behind another; and who is with her, once somebody is."""
    library.set_up(librarians=("mia",), patrons=("pat", "sue"))
    library.employ("mia", max_chats=1)
    mia = library.librarian("mia")
    pat, sue = library.patron("pat"), library.patron("sue")
    pat.ask("position")
    pat.hears("You have no question waiting. Just write one.")
    pat.ask("First?")
    mia.take(mia.announced("First?"))
    sue.ask("Second?")
    assert "You are number 1 in line, about 5 minutes." in body(
        sue.hears("Thank you, your question is here.")
    )
    sue.ask("POSITION")
    assert "You are number 1 in line, about 5 minutes." == body(sue.hears("You are number 1"))
    pat.hears("mia is with you now.")
    pat.ask("position")
    pat.hears("mia is with you now.")


def test_bye_takes_a_waiting_question_out_of_the_line(library):
    """The desk is told, the report says abandoned."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    number = mia.announced(WORDS)
    pat.ask("bye", receipt=True)
    pat.hears("Goodbye! Your question was taken out of the line.")
    mia.at_desk(f"#{number}: the patron has left the line.")
    assert "abandoned" == library.question(number)["state"]
    assert {"abandoned": 1} == library.report()["by_outcome"]
    mia.say_at_desk(f"!{number}")
    mia.at_desk("The patron has given this question up.")


def test_bye_to_a_librarian_is_told_to_her(library):
    """She closes; the patron is not cut off."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    mia.take(mia.announced(WORDS))
    pat.ask("bye")
    pat.hears("Goodbye, and thank you for asking.")
    mia.hears(1, "(The patron said goodbye. !close 3 when you are done.)")
    assert "claimed" == library.question(1)["state"]


def test_a_question_to_an_empty_desk_is_kept_and_answered_later(library):
    """Told to the librarian who comes; the answer reaches the patron, who was away, when she is back."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    pat = library.patron("pat")
    pat.ask(WORDS, receipt=True)
    pat.hears("Nobody is at the desk right now; the answer will come in this chat, also while you are away.")
    assert "waiting" == library.question(1)["state"]
    pat.ask("position")
    pat.hears("Your question is kept.")
    pat.close()

    mia = library.librarian("mia")
    assert f'"{WORDS}" !1 to take' in body(mia.at_desk("1 question waits:"))
    mia.hears(1, "New question #1")
    mia.write(1, "Yes: write us its number.")
    mia.hears(1, "#1 is yours.")
    mia.write(1, "!close 1")
    mia.hears(1, "#1 is closed.")

    again = library.patron("pat")
    answer = again.hears("Yes: write us its number.")
    assert answer.find(DELAY) is not None
    assert f"{library.queue}/queue" == answer.get("from")
    assert library.report()["staffed"] == 0


def test_outside_the_hours_the_opening_is_told(library):
    """A queue that never opens today says when it does."""
    library.set_up(patrons=("pat",), hours="Mon 00:00-00:01")
    pat = library.patron("pat")
    pat.subscribe()
    presence = pat.wait_for_presence(library.queue)
    assert "Closed until Mon 0:00, leave a message" == presence.findtext("{jabber:client}status")
    pat.ask(WORDS)
    pat.hears("The desk opens Mon 0:00; the answer will come in this chat, also while you are away.")


def test_what_a_patron_writes_reaches_a_librarian_who_was_away(library):
    """Her client was closed; the question stays hers, and the words come when she does."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    mia.take(mia.announced(WORDS))
    mia.close()
    more = pat.ask("It is due tomorrow.", receipt=True)
    pat.wait_for_receipt(more, library.queue)
    again = library.librarian("mia")
    assert "It is due tomorrow." == body(again.hears(1, "It is due tomorrow."))
    again.write(1, "Done.")
    pat.hears("Done.")
    assert "It is due tomorrow." not in again.take_words(again.chat(1))


def test_an_encrypted_message_is_answered_not_swallowed(library):
    """OMEMO with its usual body, and without: a clear reply, no question."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    pat = library.patron("pat")
    omemo = "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>eA==</payload></encrypted>"
    pat.write_to(library.queue, "I sent you an OMEMO encrypted message", more=omemo)
    pat.hears("This desk cannot read encrypted messages (OMEMO, OpenPGP).")
    pat.write_to(library.queue, "", more=omemo)
    pat.hears("This desk cannot read encrypted messages")
    assert [] == library.questions("all")


def test_the_patron_may_change_the_device(library):
    """Questions go by the bare address: what follows comes to whichever client is there."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    phone = library.patron("pat")
    phone.ask(WORDS)
    mia.take(mia.announced(WORDS))
    desktop = library.patron("pat")
    phone.close()
    mia.write(1, "Yes.")
    assert "Yes." == body(desktop.hears("Yes."))
    desktop.ask("Thank you")
    mia.hears(1, "Thank you")
    assert 1 == len(library.questions("all"))


def test_a_patrons_language_is_spoken(library):
    """What the queue itself says is in the language of the message; the desk sees which."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    words = "<body>Kann ich hier fragen?</body>"
    pat.send_raw(f"<message type='chat' to='{library.queue}' xml:lang='de'>{words}</message>")
    assert "#1 ask · de · xmpp" in body(mia.at_desk("Kann ich hier fragen?"))
    english = "Thank you, your question is here."
    assert english not in body(pat.hears("")), "a catalogue for German is there"
