"""The main job with ordinary clients over verified TLS: asked, announced, claimed, answered, closed."""

from __future__ import annotations

import pytest

from tests.interop.peers import LoginFailed, SlixmppClient, TestAuthority
from tests.interop.peers.people import CHATSTATES, DELAY, RECEIPTS, body

WORDS = "Where are the opening hours of the map room?"


def test_a_question_is_asked_announced_claimed_answered_and_closed(library):
    """The whole way, as patron and librarian see it, and as the operator counts it."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")

    pat.ask(WORDS)
    pat.hears("Thank you, your question is here. A librarian will answer in a moment.")
    announced = body(mia.at_desk(WORDS))
    assert announced.startswith("mia: #1 ask · en · xmpp · 0:0")
    assert announced.endswith(f'"{WORDS}" !1 to take')
    offered = body(mia.hears(1, "New question #1 from Guest "))
    assert body(mia.hears(1, WORDS)) == WORDS
    assert "pat" not in announced + offered, "no patron's address at the desk"

    mia.write(1, "Tuesday to Friday, 9 to 5.")
    answer = pat.hears("Tuesday to Friday, 9 to 5.")
    assert (f"{library.queue}/queue", "chat") == (answer.get("from"), answer.get("type"))
    mia.hears(1, "#1 is yours.")
    mia.at_desk("#1 is with mia.")
    assert body(pat.hears("mia")) == "mia is with you now."

    pat.ask("Thanks a lot!")
    assert body(mia.hears(1, "Thanks a lot!")) == "Thanks a lot!"
    mia.write(1, "!close 3 answered maps")
    mia.hears(1, "#1 is closed.")
    pat.hears("Thank you for asking.")

    question = library.question(1)
    assert ("closed", "mia", 3) == (question["state"], question["librarian"], question["read_level"])
    assert ("answered", ["maps"]) == (question["outcome"], question["tags"])
    assert {"patron": 2, "staff": 1, "note": 0, "system": 0} == question["messages"]
    report = library.report()
    assert (1, 0, 1) == (report["questions"], report["open"], report["staffed"])
    assert {"answered": 1} == report["by_outcome"]
    assert {"3": 1} == report["by_read_level"]
    assert 0 <= report["wait"]["median"] < 60
    assert 0 <= report["seconds_between"] < 60


def test_a_wrong_authority_is_refused_by_the_client(library, tmp_path):
    """Verification is on: with another authority there is no session."""
    library.set_up(patrons=("pat",))
    stranger = TestAuthority(tmp_path / "elsewhere").ca
    with (
        pytest.raises(LoginFailed, match="CERTIFICATE_VERIFY_FAILED"),
        SlixmppClient(library.jid("pat"), "everybody's word", stranger, library.server.port),
    ):
        pass
    library.patron("pat")  # with the right one there is


def test_the_number_said_at_the_desk_takes_the_question(library):
    """`!1` in the room: it is hers, the patron hears so, and what was asked is retold with its time."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    number = mia.announced(WORDS)
    mia.hears(number, "New question")

    mia.say_at_desk(f"!{number}")
    mia.hears(number, f"#{number} is yours.")
    mia.at_desk(f"#{number} is with mia.")
    pat.hears("mia is with you now.")
    assert body(mia.hears(number, WORDS)) == WORDS
    assert ("claimed", "mia") == (library.question(number)["state"], library.question(number)["librarian"])


def test_a_claimed_question_is_no_one_elses(library):
    """Who comes late is told who was first, and what she typed is not delivered."""
    library.set_up(librarians=("mia", "ben"), patrons=("pat",))
    mia, ben = library.librarian("mia"), library.librarian("ben")
    pat = library.patron("pat")
    pat.ask(WORDS)
    number = ben.announced(WORDS)
    mia.take(number)

    ben.write(number, "I know this one!")
    told = body(ben.hears(number, "mia was first"))
    assert told == f"* mia was first: #{number} is taken. What you wrote was not delivered."
    ben.say_at_desk(f"!{number}")
    ben.at_desk(f"mia was first: #{number} is taken.")
    assert ["mia is with you now."] == pat.take_words(library.queue)[1:]


def test_typing_is_seen_both_ways_once_the_question_is_claimed(library):
    """Before, the patron's typing concerns nobody; nothing of it is stored."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    number = mia.announced(WORDS)
    pat.type_to(library.queue, "paused")
    pat.catch_up()
    mia.take(number)

    pat.type_to(library.queue)
    mia.wait_for_state("composing", mia.chat(number))
    mia.type_to(mia.chat(number))
    pat.wait_for_state("composing", library.queue)
    mia.type_to(mia.chat(number), "paused")
    pat.wait_for_state("paused", library.queue)
    assert not [e for e in mia.received() if e.find(f"{CHATSTATES}paused") is not None]
    assert 1 == sum(library.question(number)["messages"].values())


def test_receipts_go_both_ways(library):
    """The patron's says that the message is stored; the librarian's comes from the patron's client."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    pat = library.patron("pat")
    asked = pat.ask(WORDS, receipt=True)
    pat.wait_for_receipt(asked, library.queue)
    assert 1 == library.question(1)["messages"]["patron"], "before anybody has seen it"

    mia = library.librarian("mia")
    mia.take(1)
    said = mia.write(1, "At nine.", receipt=True)
    answer = pat.hears("At nine.")
    assert answer.find(f"{RECEIPTS}request") is not None
    pat.confirm_to(library.queue, answer.get("id", ""))
    mia.wait_for_receipt(said, mia.chat(1))

    more = pat.ask("And on Sunday?", receipt=True)
    pat.wait_for_receipt(more, library.queue)
    mia.hears(1, "And on Sunday?")


def test_the_same_message_sent_again_is_one_message(library):
    """A client without its receipt sends again with the same id: it gets one, nobody hears it twice."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    mia.take(mia.announced(WORDS))
    again = (
        f"<message type='chat' to='{library.queue}' id='twice'><body>Twice?</body>"
        "<request xmlns='urn:xmpp:receipts'/></message>"
    )
    pat.send_raw(again)
    pat.wait_for_receipt("twice")
    mia.hears(1, "Twice?")
    pat.send_raw(again)
    pat.wait_for_receipt("twice")
    assert "Twice?" not in mia.take_words(mia.chat(1))
    assert 2 == library.question(1)["messages"]["patron"]


def test_what_travels_with_a_text_arrives_with_it(library):
    """Threads, corrections and links (RFC 6121 5.2.5, XEP-0308, XEP-0066), both ways."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.write_to(library.queue, WORDS, more="<thread>t1</thread>")
    mia.take(mia.announced(WORDS))
    first = pat.ask("Teh blue one")
    mia.hears(1, "Teh blue one")
    pat.write_to(
        library.queue, "The blue one", more=f"<replace xmlns='urn:xmpp:message-correct:0' id='{first}'/>"
    )
    corrected = mia.hears(1, "The blue one")
    replaces = corrected.find("{urn:xmpp:message-correct:0}replace")
    assert replaces is not None
    assert first == replaces.get("id")

    link = "<x xmlns='jabber:x:oob'><url>https://library.example/map.pdf</url></x>"
    mia.write_to(mia.chat(1), "https://library.example/map.pdf", more=link)
    answer = pat.hears("map.pdf")
    assert answer.find("{jabber:x:oob}x") is not None
    assert "t1" == answer.findtext("{jabber:client}thread")
    assert answer.find(DELAY) is None


def test_a_closed_question_is_opened_again(library):
    """`!reopen` in its chat: the patron is told, and the conversation goes on."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    mia.take(mia.announced(WORDS))
    mia.write(1, "!close 3 answered")
    mia.hears(1, "#1 is closed. !reopen")
    pat.hears("Thank you for asking.")
    assert {"answered": 1} == library.report()["by_outcome"]

    mia.write(1, "!reopen")
    mia.hears(1, "#1 is open again and yours.")
    assert ("claimed", "mia") == (library.question(1)["state"], library.question(1)["librarian"])
    assert {"open": 1} == library.report()["by_outcome"]
    mia.write(1, "One more thing: it is closed on Monday.")
    pat.hears("One more thing")
    mia.write(1, "!close 4")
    mia.hears(1, "#1 is closed.")
    assert {"4": 1} == library.report()["by_read_level"]


def test_more_after_the_close_is_a_new_question(library):
    """The patron just writes again."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask(WORDS)
    mia.take(mia.announced(WORDS))
    mia.write(1, "!close 2")
    mia.hears(1, "#1 is closed.")
    pat.hears("Thank you for asking.")

    pat.ask("And the reading room?")
    assert 2 == mia.announced("And the reading room?")
    pat.hears("Thank you, your question is here.")
    assert ["closed", "offered"] == [library.question(number)["state"] for number in (1, 2)]
