"""After a crash every question is where it was, and no message with a receipt is lost or doubled."""

from __future__ import annotations

from refserver import ns
from refserver.reference import answering
from refserver.stanza import Stanza
from tests.server.harness import Client
from tests.server.library import ASK, DOMAIN, ROOM, Library, bodies, chat, messages, write

RECEIPT = f"<request xmlns='{ns.RECEIPTS}'/>"


def claimed(library: Library) -> tuple[Client, Client]:
    """A librarian and a patron in a conversation."""
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?", "m1")
    write(mia, chat(), "Hello.", "a1")
    mia.received(), pat.received()
    library.clock.advance(0)
    return mia, pat


def with_id(stanzas: list[Stanza], id: str) -> list[Stanza]:
    return [stanza for stanza in stanzas if stanza.id == id]


def receipts(stanzas: list[Stanza]) -> list[str | None]:
    found = [stanza.child(ns.RECEIPTS, "received") for stanza in stanzas]
    return [received.get("id") for received in found if received is not None]


def test_every_question_is_where_it_was(library: Library) -> None:
    claimed(library)
    write(library.patron("sam"), ASK.text, "Offered?")
    library.enter(library.online(f"mia@{DOMAIN}/other"), "mia", "away")
    states = [library.question(number) for number in (1, 2)]
    assert [question.state for question in states] == ["claimed", "offered"]
    again = library.restart()
    assert [again.question(number) for number in (1, 2)] == states
    assert {question.number for question in again.open_questions} == {1, 2}


def test_numbers_go_on(library: Library) -> None:
    claimed(library)
    again = library.restart()
    write(again.patron("sam"), ASK.text, "And the globes?")
    assert again.question(2).patron == again.patron("sam").jid.bare


def test_the_conversation_goes_on(library: Library) -> None:
    claimed(library)
    again = library.restart()
    mia, pat = again.online(f"mia@{DOMAIN}/desk"), again.patron()
    write(pat, ASK.text, "Still there?", "m2")
    assert bodies(mia, chat()) == ["Still there?"]
    write(mia, chat(), "Yes.", "a2")
    assert bodies(pat) == ["Yes."]


def test_what_has_arrived_is_not_delivered_again(library: Library) -> None:
    mia, pat = claimed(library)
    write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    write(mia, chat(), "Upstairs.", "a2", RECEIPT)
    again = library.restart()
    mia, pat = again.client(f"mia@{DOMAIN}/desk"), again.client(f"pat@{DOMAIN}/phone")
    mia.send("<presence/>")
    pat.send("<presence/>")
    assert messages(mia) == []
    assert messages(pat) == []


def test_a_message_for_a_librarian_who_is_away_comes_once_when_she_comes(library: Library) -> None:
    mia, pat = claimed(library)
    mia.end()
    write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    assert receipts(messages(pat)) == ["m2"]
    again = library.restart()
    again.clock.advance(60)
    mia = again.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    (message,) = messages(mia, chat())
    assert (message.id, message.body) == ("m2", "The old ones.")
    assert message.child(ns.DELAY, "delay") is not None
    again.clock.advance(0)
    mia.end()
    mia = again.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    assert messages(mia, chat()) == []


def test_no_receipt_is_sent_for_what_the_crash_swallowed_and_sent_again_it_comes_once(
    library: Library,
) -> None:
    mia, pat = claimed(library)
    with library.dying():
        write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    assert pat.received() == mia.received() == []
    again = library.restart()
    mia, pat = again.client(f"mia@{DOMAIN}/desk"), again.patron()
    mia.send("<presence/>")
    (message,) = with_id(messages(mia, chat()), "m2")
    assert message.child(ns.DELAY, "delay") is not None
    write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    assert receipts(messages(pat)) == ["m2"]
    assert with_id(messages(mia), "m2") == []
    write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    assert with_id(messages(mia), "m2") == []
    assert again.said().count(("patron", "The old ones.")) == 1


def test_what_nobody_will_send_again_reaches_the_librarian_with_its_id(library: Library) -> None:
    _, pat = claimed(library)
    with library.dying():
        write(pat, ASK.text, "The old ones.", "m2")
    again = library.restart()
    mia = again.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    (message,) = messages(mia, chat())
    assert (message.id, message.body) == ("m2", "The old ones.")
    again.clock.advance(0)
    mia.end()
    mia = again.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    assert messages(mia, chat()) == []
    write(again.patron(), ASK.text, "The old ones.", "m2")
    assert with_id(messages(mia, chat()), "m2") == []


def test_words_whose_receipt_left_before_them_come(library: Library) -> None:
    """The patron's connection may be written to before the librarian's, and the crash come in between."""
    _, pat = claimed(library)
    library.clock.advance(0)
    write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    assert receipts(messages(pat)) == ["m2"]
    mia = library.restart(within_the_turn=True).client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    assert bodies(mia, chat()) == ["The old ones."]


def test_a_second_crash_while_the_librarian_is_told_does_not_keep_it_from_her(library: Library) -> None:
    _, pat = claimed(library)
    with library.dying():
        write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    again = library.restart()
    mia = again.client(f"mia@{DOMAIN}/desk")
    with again.dying():
        mia.send("<presence/>")
    again = again.restart()
    for told in (1, 0):  # once, however often she comes
        mia = again.client(f"mia@{DOMAIN}/desk")
        mia.send("<presence/>")
        assert len(bodies(mia, chat())) == told
        again.clock.advance(0)
        mia.end()


def test_a_message_that_came_with_the_close_still_reaches_the_librarian(library: Library) -> None:
    mia, pat = claimed(library)
    with library.dying():
        write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
        write(mia, chat(), "!close 2")
    again = library.restart()
    mia, pat = again.client(f"mia@{DOMAIN}/desk"), again.patron()
    mia.send("<presence/>")
    assert bodies(mia) == ["The old ones."]
    write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    assert receipts(messages(pat)) == ["m2"]
    assert with_id(messages(mia, chat()), "m2") == []
    assert again.question().state == "closed"


def test_an_answer_the_crash_swallowed_comes_late_and_once(library: Library) -> None:
    mia, pat = claimed(library)
    with library.dying():
        write(mia, chat(), "Upstairs.", "a2", RECEIPT)
    assert pat.received() == []
    again = library.restart()
    pat = again.client(f"pat@{DOMAIN}/phone")
    pat.send("<presence/>")
    (answer,) = with_id(messages(pat), "a2")
    assert answer.child(ns.DELAY, "delay") is not None
    mia = again.online(f"mia@{DOMAIN}/desk")
    write(mia, chat(), "Upstairs.", "a2", RECEIPT)
    assert with_id(messages(pat), "a2") == []
    assert again.said().count(("staff", "Upstairs.")) == 1


def test_the_librarians_receipt_is_durable_before_she_sees_it(library: Library) -> None:
    """What she has a receipt for is never handed over again."""
    mia, pat = claimed(library)
    with library.dying():
        write(mia, chat(), "Upstairs.", "a2", RECEIPT)
    again = library.restart()
    mia, pat = again.online(f"mia@{DOMAIN}/desk"), again.patron()
    with again.holding():
        pat.send(f"<message to='{ASK}'><received xmlns='{ns.RECEIPTS}' id='a2'/></message>")
        assert messages(mia) == []
    assert receipts(messages(mia, chat())) == ["a2"]
    pat = again.restart().client(f"pat@{DOMAIN}/phone")
    pat.send("<presence/>")
    assert messages(pat) == []


def test_an_answer_nobody_will_send_again_reaches_the_patron_even_after_the_close(library: Library) -> None:
    mia, _ = claimed(library)
    with library.dying():
        write(mia, chat(), "Upstairs.", "a2")
        write(mia, chat(), "!close 2")
    again = library.restart()
    assert again.question().state == "closed"
    pat = again.client(f"pat@{DOMAIN}/phone")
    pat.send("<presence/>")
    assert len(with_id(messages(pat, ASK.text), "a2")) == 1


def test_a_question_the_crash_swallowed_is_asked_once(library: Library) -> None:
    pat = library.patron()
    with library.dying():
        write(pat, ASK.text, "Where are the maps?", "m1", RECEIPT)
    again = library.restart()
    pat = again.patron()
    write(pat, ASK.text, "Where are the maps?", "m1", RECEIPT)
    assert receipts(messages(pat)) == ["m1"]
    mia = again.online(f"mia@{DOMAIN}/desk")
    again.enter(mia, "mia")
    write(mia, chat(), "Upstairs.")
    assert bodies(mia, chat()).count("Where are the maps?") == 1
    assert again.said().count(("patron", "Where are the maps?")) == 1


def test_a_claim_the_crash_swallowed_holds(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?", "m1", RECEIPT)
    with library.dying():
        mia.send(f"<message to='{ROOM}' type='groupchat'><body>!1</body></message>")
    again = library.restart()
    mia = again.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    assert bodies(mia, chat()) == ["Where are the maps?"]
    noa = again.on_duty("noa")
    noa.received()
    noa.send(f"<message to='{ROOM}' type='groupchat'><body>!1</body></message>")
    assert "mia was first: #1 is taken." in bodies(noa, ROOM)


def test_what_came_with_a_claim_comes_again_with_its_id(library: Library) -> None:
    """The claim was committed and the words handed over, but the store did not learn of that any more."""
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?", "m1", RECEIPT)
    library.database.write_now(answering.take, library.question().id, mia.jid.bare, library.core.now())
    again = library.restart()
    mia = again.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    (message,) = with_id(messages(mia, chat()), "m1")
    assert message.child(ns.DELAY, "delay") is not None


def test_an_offer_goes_on_after_a_restart(library: Library) -> None:
    library.on_duty("mia")
    write(library.patron(), ASK.text, "Where are the maps?")
    again = library.restart()
    mia, noa = again.on_duty("mia"), again.on_duty("noa")
    assert again.question().offered_to == mia.jid.bare
    again.clock.advance(29)
    assert bodies(noa) == []
    again.clock.advance(1)
    assert bodies(noa)[0].startswith("mia, noa: #1")


def test_an_offer_to_somebody_who_does_not_come_back_goes_to_who_is_there(library: Library) -> None:
    library.on_duty("mia")
    write(library.patron(), ASK.text, "Where are the maps?")
    again = library.restart()
    noa = again.on_duty("noa")
    assert again.question().offered_to == noa.jid.bare


def test_stopping_changes_nothing_in_the_store(library: Library) -> None:
    mia = library.on_duty("mia")
    write(library.patron(), ASK.text, "Where are the maps?")
    before = library.question()
    library.queue.stop()
    mia.end()
    library.clock.advance(3600)
    assert library.question() == before


def test_an_answer_that_was_kept_for_an_absent_patron_comes_once(library: Library) -> None:
    """Though the crash came before the answer was noted as handed over."""
    mia, pat = claimed(library)
    library.clock.advance(0)
    pat.end()
    write(mia, chat(), "Upstairs.", "a2", RECEIPT)
    again = library.restart(within_the_turn=True)
    pat = again.client(f"pat@{DOMAIN}/phone")
    pat.send("<presence/>")
    assert len(with_id(messages(pat), "a2")) == 1
    again.clock.advance(0)  # her client answers
    pat.end()
    pat = again.restart().client(f"pat@{DOMAIN}/phone")
    pat.send("<presence/>")
    assert with_id(messages(pat), "a2") == []


def test_the_same_id_from_somebody_else_keeps_no_answer_back(library: Library) -> None:
    mia, pat = claimed(library)
    pat.end()
    write(mia, pat.jid.bare.text, "Privately.", "a2")
    with library.dying():
        write(mia, chat(), "Upstairs.", "a2", RECEIPT)
    again = library.restart()
    pat = again.client(f"pat@{DOMAIN}/phone")
    pat.send("<presence/>")
    assert [message.body for message in with_id(messages(pat), "a2")] == ["Privately.", "Upstairs."]


def test_what_is_sent_again_while_the_librarian_is_away_comes_once_though_she_is_met_by_a_crash(
    library: Library,
) -> None:
    _, pat = claimed(library)
    with library.dying():
        write(pat, ASK.text, "The old ones.", "m2", RECEIPT)
    again = library.restart()
    write(again.patron(), ASK.text, "The old ones.", "m2", RECEIPT)
    assert receipts(messages(again.patron())) == ["m2"]
    mia = again.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    assert len(with_id(messages(mia, chat()), "m2")) == 1
    mia = again.restart(within_the_turn=True).client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    (message,) = messages(mia, chat())
    assert (message.id, message.body) == ("m2", "The old ones.")
