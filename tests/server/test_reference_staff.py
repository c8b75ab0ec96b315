"""What librarians see and do: the desk room, offers, claims, and the chat of a question."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.jid import JID
from refserver.reference import answering, offices
from refserver.reference.feature import Reference
from refserver.storage import account_data, questions, queues, statistics
from tests.server.harness import Client
from tests.server.library import ASK, DOMAIN, ROOM, Library, bodies, chat, messages, write

RECEIPT = f"<request xmlns='{ns.RECEIPTS}'/>"
DESK = ROOM


def asked(library: Library, words: str = "Where are the maps?", by: str = "pat") -> Client:
    pat = library.patron(by)
    write(pat, ASK.text, words)
    pat.received()
    return pat


# -- the room --------------------------------------------------------------------------


def test_only_librarians_enter_the_desk_room(library: Library) -> None:
    pat = library.patron()
    library.enter(pat, "pat")
    assert [line for line in pat.told() if line.startswith("error")] == [
        f"error registration-required from {DESK}/pat"
    ]


def test_the_room_is_bookmarked_with_autojoin_for_a_new_librarian(library: Library) -> None:
    mia = library.online(f"mia@{DOMAIN}/desk")
    answer = mia.ask("get", f"<query xmlns='{ns.PRIVATE}'><storage xmlns='{ns.BOOKMARKS_LEGACY}'/></query>")
    (conference,) = answer.element[0][0]
    assert (conference.get("jid"), conference.get("autojoin")) == (DESK, "true")
    assert conference.findtext(f"{{{ns.BOOKMARKS_LEGACY}}}nick") == "mia"


def test_bookmarks_that_were_there_stay_and_the_room_is_there_once(library: Library) -> None:
    jid, queue = JID.parse(f"mia@{DOMAIN}"), library.queue.profile.id
    own = b"<storage xmlns='storage:bookmarks'><conference jid='tea@rooms.library.example'/></storage>"
    library.database.write_now(account_data.set_private, jid, ns.BOOKMARKS_LEGACY, "storage", own)
    library.appoint("mia", queue)
    library.appoint("mia", queue)
    stored = library.database.read_now(account_data.private, jid, ns.BOOKMARKS_LEGACY, "storage")
    assert stored is not None
    assert (stored.count(b"tea@"), stored.count(DESK.encode())) == (1, 1)
    library.database.write_now(offices.dismiss, queue, jid)
    stored = library.database.read_now(account_data.private, jid, ns.BOOKMARKS_LEGACY, "storage")
    assert stored is not None
    assert (stored.count(b"tea@"), stored.count(DESK.encode())) == (1, 0)


@pytest.mark.parametrize(
    "show, duty", [("", True), ("chat", True), ("away", False), ("xa", False), ("dnd", False)]
)
def test_duty_is_being_there_and_not_away(library: Library, show: str, duty: bool) -> None:
    library.enter(library.online(f"mia@{DOMAIN}/desk"), "mia", show)
    assert (JID.parse(f"mia@{DOMAIN}") in library.queue.on_duty) is duty


def test_duty_ends_with_leaving_or_a_lost_connection(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    mia.send(f"<presence to='{DESK}/mia' type='unavailable'/>")
    noa.end()
    assert library.queue.on_duty.duties() == []


def test_who_comes_on_duty_is_told_what_waits(library: Library) -> None:
    asked(library)
    mia = library.online(f"mia@{DOMAIN}/desk")
    library.clock.advance(12)
    library.enter(mia, "mia")
    assert bodies(mia, DESK)[0] == (
        '1 question waits:\n#1 ask · en · xmpp · 0:12 "Where are the maps?" !1 to take'
    )


def test_nothing_said_at_the_desk_stays_behind_for_those_who_come_later(library: Library) -> None:
    mia = library.on_duty("mia")
    asked(library)
    write(mia, chat(), "Upstairs.")
    write(mia, chat(), "!close 1")
    noa = library.online(f"noa@{DOMAIN}/desk")
    library.enter(noa, "noa")
    assert [body for body in bodies(noa, DESK) if "maps" in body] == []


# -- offers --------------------------------------------------------------------------------


def test_a_question_is_announced_with_a_mention_and_a_direct_message(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    mia.received()
    asked(library, "Where are the maps of the harbour that were shown last year in the great hall?")
    words = "Where are the maps of the harbour that were shown last year…"
    line = f'mia: #1 ask · en · xmpp · 0:00 "{words}" !1 to take'
    assert bodies(mia, DESK) == [line]
    assert bodies(noa) == [line]
    assert library.question().offered_to == JID.parse(f"mia@{DOMAIN}")


def test_the_direct_message_names_no_patron(library: Library) -> None:
    mia = library.on_duty("mia")
    asked(library)
    words, offered = bodies(mia, chat())
    assert words == "Where are the maps?"
    assert offered.startswith("* New question #1 from Guest ")
    assert "pat" not in offered.replace("patron", "")


def test_an_offer_nobody_takes_is_made_to_everyone(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    asked(library)
    mia.received(), noa.received()
    library.clock.advance(29)
    assert bodies(noa) == []
    library.clock.advance(1)
    assert bodies(noa)[0].startswith("mia, noa: #1 ask · en · xmpp · 0:30")
    assert (library.question().state, library.question().offered_to) == ("offered", None)


def test_questions_go_to_the_least_busy(library: Library) -> None:
    library.on_duty("mia"), library.on_duty("noa")
    for name in ("ann", "ben", "cid", "dan"):
        asked(library, by=name)
    offered = [str(library.question(number).offered_to) for number in (1, 2, 3, 4)]
    assert offered.count(f"mia@{DOMAIN}") == offered.count(f"noa@{DOMAIN}") == 2


def test_offers_being_written_count_as_load(library: Library) -> None:
    library.on_duty("mia"), library.on_duty("noa")
    ann, ben = library.patron("ann"), library.patron("ben")
    with library.holding():
        write(ann, ASK.text, "?")
        write(ben, ASK.text, "?")
    assert {library.question(1).offered_to, library.question(2).offered_to} == {
        JID.parse(f"mia@{DOMAIN}"),
        JID.parse(f"noa@{DOMAIN}"),
    }


def test_whoever_has_enough_is_offered_no_more_but_may_take(library: Library) -> None:
    mia = library.on_duty("mia")
    for name in ("ann", "ben", "cid"):
        asked(library, by=name)
        write(mia, chat(len(list(library.open_questions))), "Hello")
    mia.received()
    asked(library)
    assert library.question(4).state == "waiting"
    (line,) = bodies(mia)
    assert line.startswith("#4 ask")
    write(mia, chat(1), "!close 1")
    assert library.question(4).offered_to == JID.parse(f"mia@{DOMAIN}")


def test_an_offer_to_somebody_who_leaves_goes_to_the_next(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    asked(library)
    noa.received()
    mia.end()
    assert library.question().offered_to == JID.parse(f"noa@{DOMAIN}")
    assert any(line.startswith("noa: #1") for line in bodies(noa))
    noa.end()
    assert library.question().state == "waiting"


def test_everyone_at_once_if_the_queue_is_set_so() -> None:
    library = Library(settings={"dispatch": "everyone"})
    mia = library.on_duty("mia")
    library.on_duty("noa")
    mia.received()
    asked(library)
    assert bodies(mia)[0].startswith("mia, noa: #1")
    assert bodies(mia) == []


# -- claims ----------------------------------------------------------------------------------


def test_a_question_is_taken_in_the_room(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    pat = asked(library)
    mia.received(), noa.received()
    noa.send(f"<message to='{DESK}' type='groupchat'><body>!1</body></message>")
    assert library.question().owner == JID.parse(f"noa@{DOMAIN}")
    assert "#1 is with noa." in bodies(mia)
    assert bodies(pat) == ["noa is with you now."]


def test_the_new_owner_gets_the_words_and_is_told(library: Library) -> None:
    noa = library.on_duty("noa")
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?", "m1")
    first, offered = messages(noa, chat())
    assert (first.id, first.body) == ("m1", "Where are the maps?")
    assert offered.body.startswith("* New question #1 from Guest ")
    write(pat, ASK.text, "The old ones.", "m2")
    (second,) = messages(noa, chat())
    assert (second.id, second.body) == ("m2", "The old ones.")
    noa.send(f"<message to='{DESK}' type='groupchat'><body>!1</body></message>")
    (told,) = messages(noa, chat())
    assert told.body.startswith("* #1 is yours. What you write here goes to Guest ")


def test_a_claim_without_an_offer_brings_the_words_before_its_consequences(library: Library) -> None:
    mia, noa, pat = library.on_duty("mia"), library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?", "m1")
    write(pat, ASK.text, "The old ones.", "m2")
    mia.received(), noa.received()
    noa.send(f"<message to='{DESK}' type='groupchat'><body>!1</body></message>")
    told = [line for line in noa.told() if DESK not in line]
    assert told[0] == f"push {chat()} both"
    said = [line.partition(": ")[2] for line in told if line.startswith(f"message from {chat()}/")]
    first, second, yours = said
    assert (first, second) == ("Where are the maps?", "The old ones.")
    assert yours.startswith("* #1 is yours.")
    assert bodies(mia, chat()) == ["* #1 is no longer offered to you: noa has it."]


def test_the_first_plain_reply_takes_and_the_second_is_not_delivered(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    pat = asked(library)
    mia.received(), noa.received()
    with library.holding():
        write(noa, chat(), "Upstairs.", "n1")
        write(mia, chat(), "Downstairs.", "a1")
    assert bodies(mia, chat()) == [
        "* #1 is no longer offered to you: noa has it.",
        "* noa was first: #1 is taken. What you wrote was not delivered.",
    ]
    assert bodies(pat) == ["noa is with you now.", "Upstairs."]
    assert library.said() == [("patron", "Where are the maps?"), ("staff", "Upstairs.")]


def test_two_claims_at_once_have_one_winner(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    for number in range(1, 21):
        pat = asked(library)
        mia.received(), noa.received()
        clients = (mia, noa) if number % 2 else (noa, mia)
        with library.holding():
            for client in clients:
                client.send(f"<message to='{DESK}' type='groupchat'><body>!{number}</body></message>")
        winner, loser = clients
        assert library.question(number).owner == winner.jid.bare
        nick = winner.jid.localpart
        assert f"{nick} was first: #{number} is taken." in bodies(loser, DESK)
        assert bodies(pat) == [f"{nick} is with you now."]
        write(winner, chat(number), "!close 1")


def test_a_stranger_is_told_nothing_of_a_question(library: Library) -> None:
    library.on_duty("mia")
    asked(library)
    eve = library.patron("eve")
    write(eve, chat(), "hello")
    write(eve, chat(), "!1")
    assert eve.told() == [f"error item-not-found from {chat()}"] * 2
    assert eve.ask("get", f"<query xmlns='{ns.DISCO_INFO}'/>", chat()).type == "error"
    eve.send(f"<presence to='{chat()}' type='probe'/>")
    assert eve.told() == []
    assert library.question().owner is None


def test_commands_in_the_room_are_answered_to_the_one_who_wrote(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    mia.received(), noa.received()
    for command in ("!who", "!99", "!close 3", "!clsoe", "!help who", "!c", "!note"):
        mia.send(f"<message to='{DESK}' type='groupchat'><body>{command}</body></message>")
    typed = ("!who", "!99", "!close 3", "!clsoe", "!help who", "!c", "!note")
    answers = [body for body in bodies(mia) if body not in typed]
    assert answers == [
        "On duty: mia 0/3, noa 0/3",
        "There is no question #99.",
        "That works in the chat of a question only. !help lists the commands.",
        "There is no !clsoe. Did you mean !close? Nothing was sent.",
        "!who: who is on duty, with how many questions",
        "This queue has no canned replies.",
        "!note needs a text behind it.",
    ]
    assert all(body.startswith("!") for body in bodies(noa))


def test_a_librarian_may_give_commands_to_the_queue_itself(library: Library) -> None:
    mia = library.on_duty("mia")
    asked(library)
    mia.received()
    write(mia, ASK.text, "!1")
    assert library.question().owner == mia.jid.bare
    write(mia, ASK.text, "May I ask, too?")
    assert library.question(2).patron == mia.jid.bare


# -- the chat ------------------------------------------------------------------------------------


@pytest.fixture
def mia(library: Library) -> Client:
    return library.on_duty("mia")


@pytest.fixture
def pat(library: Library, mia: Client) -> Client:
    """A patron whose question 1 is mia's."""
    pat = asked(library)
    write(mia, chat(), "Hello.", "a0")
    mia.received(), pat.received()
    return pat


def command(client: Client, text: str, number: int = 1) -> list[str]:
    write(client, chat(number), text)
    return bodies(client, chat(number))


def test_what_the_patron_writes_comes_with_its_id(library: Library, mia: Client, pat: Client) -> None:
    write(pat, ASK.text, "Thank you", "m2")
    (message,) = messages(mia, chat())
    assert (message.body, message.id, message.to) == ("Thank you", "m2", mia.jid.bare)
    assert message.child(ns.DELAY, "delay") is None


def test_notes_stay_among_the_staff(library: Library, mia: Client, pat: Client) -> None:
    assert command(mia, "!note a regular") == ["* (Noted. The patron does not see it.)"]
    assert library.said()[-1] == ("note", "a regular")
    assert bodies(pat) == []


def test_an_unknown_word_is_held_and_explained(library: Library, mia: Client, pat: Client) -> None:
    assert command(mia, "!nott for you") == ["* There is no !nott. Did you mean !note? Nothing was sent."]
    assert command(mia, "!!important") == []
    assert bodies(pat) == ["!important"]


def test_canned_replies(library: Library, mia: Client, pat: Client) -> None:
    library.database.write_now(queues.put_canned, library.queue.profile.id, "hours", "Nine to five.")
    assert command(mia, "!c") == ["* !c hours: Nine to five."]
    assert command(mia, "!c hours") == ["* Sent: Nine to five."]
    assert command(mia, "!c fees") == ["* There is no canned reply fees. !c lists them."]
    assert bodies(pat) == ["Nine to five."]


def test_a_word_to_the_desk(library: Library, mia: Client, pat: Client) -> None:
    noa = library.on_duty("noa")
    command(mia, "!desk who knows the harbour?")
    assert bodies(noa) == ["mia, #1: who knows the harbour?"]
    assert bodies(pat) == []


def test_close_ends_it_for_everybody(library: Library, mia: Client, pat: Client) -> None:
    write(mia, chat(), "!close 3 answered maps")
    assert mia.told() == [
        f"message from {chat()}/queue: * #1 is closed. !reopen here if that was too early.",
        f"unavailable from {chat()}/queue",
        f"push {chat()} remove",
    ]
    assert bodies(pat) == ["Thank you for asking. If there is anything else, just write again."]
    question = library.question()
    assert (question.state, question.read_level, question.outcome, question.tags) == (
        "closed",
        3,
        "answered",
        ("maps",),
    )
    row = library.database.read_now(statistics.of, question.id)
    assert row is not None
    assert (row.patron_messages, row.staff_messages, row.outcome) == (1, 1, "answered")


def test_what_is_typed_after_the_close_is_not_delivered(library: Library, mia: Client, pat: Client) -> None:
    command(mia, "!close 3")
    pat.received()
    assert command(mia, "One more thing") == [
        "* This question is closed. !reopen opens it again. What you wrote was not delivered."
    ]
    assert bodies(pat) == []


def test_reopen(library: Library, mia: Client, pat: Client) -> None:
    command(mia, "!close 3")
    pat.received()
    assert command(mia, "!reopen")[0].startswith("* #1 is open again and yours.")
    assert bodies(pat) == ["mia is with you now."]
    write(pat, ASK.text, "Thank you")
    assert bodies(mia, chat()) == ["Thank you"]


def test_spam_is_closed_without_a_word_to_its_sender(library: Library, mia: Client, pat: Client) -> None:
    command(mia, "!close spam")
    assert bodies(pat) == []
    assert library.question().outcome == "spam"


def test_park_and_take_again(library: Library, mia: Client, pat: Client) -> None:
    assert command(mia, "!park") == ["* #1 is kept for follow-up. !1 takes it again."]
    assert bodies(pat)[0].startswith("We will look into it.")
    command(mia, "!1")
    assert library.question().owner == mia.jid.bare


def test_release_gives_it_to_another(library: Library, mia: Client, pat: Client) -> None:
    noa = library.on_duty("noa")
    noa.received()
    assert command(mia, "!to queue lunch") == ["* #1 is back in the queue."]
    assert bodies(pat) == ["Another librarian will be with you as soon as possible."]
    released, announced = bodies(noa, DESK)
    assert released == "mia has released #1. Why: lunch"
    assert announced.startswith("noa: #1")


def test_release_by_the_only_one_on_duty_is_not_offered_back(
    library: Library, mia: Client, pat: Client
) -> None:
    write(mia, chat(), "!release")
    assert library.question().state == "waiting"
    assert [line for line in bodies(mia, DESK) if line.startswith("mia:")] == []


def test_hand_over_and_accept(library: Library, mia: Client, pat: Client) -> None:
    noa = library.on_duty("noa")
    noa.received()
    assert command(mia, "!to noa knows maps") == ["* noa was asked to take #1. It stays yours until then."]
    *recounted, request = bodies(noa, chat())
    assert recounted == ["Where are the maps?", "mia: Hello."]
    assert request.startswith("* mia asks you to take over #1")
    assert "Why: knows maps" in request
    assert command(mia, "Just a moment.") == []
    assert bodies(pat) == ["Just a moment."]
    write(noa, chat(), "Hello, I know the maps.")
    assert bodies(noa, chat())[0] == "mia: Just a moment."
    assert bodies(pat) == ["noa takes over from here.", "Hello, I know the maps."]
    assert "* noa has taken over #1." in bodies(mia, chat())
    assert library.open_questions.of_owner(noa.jid.bare)


def test_hand_over_declined(library: Library, mia: Client, pat: Client) -> None:
    noa = library.on_duty("noa")
    command(mia, "!to noa")
    noa.received()
    assert command(noa, "!decline lunch") == ["* #1 stays where it is."]
    assert bodies(mia, chat()) == ["* noa cannot take #1; it stays yours. Why: lunch"]
    assert library.question().owner == mia.jid.bare


def test_refusals_are_explained(library: Library, mia: Client, pat: Client) -> None:
    noa = library.on_duty("noa")
    assert command(noa, "!close 3") == ["* #1 is not yours but mia's."]
    assert command(noa, "!decline") == ["* Nobody asked you to take over #1."]
    assert command(mia, "!to lou") == ["* No colleague here is called lou. !who shows who is on duty."]
    assert command(mia, "!reopen") == ["* This question is open and has an owner."]
    assert command(mia, "hello", 99) == ["* There is no question #99. What you wrote was not delivered."]
    assert command(noa, "!who") == ["* On duty: mia 1/3, noa 0/3"]


def test_an_encrypted_answer_is_refused_clearly(library: Library, mia: Client, pat: Client) -> None:
    write(mia, chat(), "fallback", "a1", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>")
    assert "cannot read encrypted messages" in bodies(mia)[0]
    assert bodies(pat) == []


def test_typing_by_somebody_else_than_the_owner_goes_nowhere(
    library: Library, mia: Client, pat: Client
) -> None:
    noa = library.on_duty("noa")
    noa.send(f"<message to='{chat()}' type='chat'><composing xmlns='{ns.CHATSTATES}'/></message>")
    assert pat.received() == []


# -- the roster ---------------------------------------------------------------------------------


def test_a_claimed_question_stands_in_the_roster_while_it_is_hers(library: Library) -> None:
    mia = library.on_duty("mia")
    pat = asked(library, "Where are the old maps of the harbour and the town?")
    received = mia.received()
    (push,) = [s for s in received if s.kind == "iq"]
    first = next(s for s in received if s.kind == "message" and str(s.from_).startswith(chat()))
    assert received.index(push) < received.index(first)
    write(mia, chat(), "Hello.")
    assert [s for s in mia.received() if s.kind == "iq"] == []
    item = push.element[0][0]
    assert (item.get("jid"), item.get("subscription")) == (chat(), "both")
    assert item.get("name") == "#1 Where are the old maps of the harbour…"
    assert item[0].text == "Questions"
    pat.end()
    assert f"unavailable from {chat()}/queue" in mia.told()
    library.patron()
    assert f"available from {chat()}/queue" in mia.told()


def test_at_log_in_the_owner_sees_her_questions(library: Library, mia: Client, pat: Client) -> None:
    mia.end()
    again = library.client(f"mia@{DOMAIN}/desk")
    again.send("<presence/>")
    assert f"available from {chat()}/queue" in again.told()


def test_a_roster_is_corrected_at_log_in(library: Library, mia: Client, pat: Client) -> None:
    mia.end()
    again = library.restart()
    released = again.database.write_now(answering.release, again.question().id, mia.jid.bare)
    assert released.owner is None
    third = again.restart()
    client = third.client(f"mia@{DOMAIN}/desk")
    client.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
    client.send("<presence/>")
    assert f"push {chat()} remove" in client.told()


# -- changes from outside ------------------------------------------------------------------------


def test_a_new_librarian_works_at_once_and_a_dismissed_one_no_more(library: Library) -> None:
    reference = library.core.feature(Reference)
    library.account(f"lou@{DOMAIN}")
    library.appoint("lou", library.queue.profile.id)
    library.run(reference.refresh(DOMAIN))
    lou = library.on_duty("lou")
    asked(library)
    write(lou, chat(), "Hello.")
    assert library.question().owner == lou.jid.bare
    library.database.write_now(offices.dismiss, library.queue.profile.id, lou.jid.bare)
    lou.received()
    library.run(reference.refresh(DOMAIN))
    assert library.question().state == "waiting"
    told = lou.told()
    assert f"unavailable from {DESK}/lou" in told
    assert f"push {chat()} remove" in told
    assert library.queue.on_duty.duties() == []


def test_queues_come_and_go_without_a_restart(library: Library) -> None:
    reference = library.core.feature(Reference)
    maps = JID.parse(f"maps@{DOMAIN}")
    library.database.write_now(queues.add, maps)
    library.run(reference.refresh(DOMAIN))
    pat = library.patron()
    write(pat, maps.text, "Where?")
    assert bodies(pat, maps.text) != []
    library.database.write_now(queues.remove, maps)
    library.run(reference.refresh(DOMAIN))
    write(pat, maps.text, "Where?")
    assert f"error service-unavailable from {maps}" in pat.told()
    assert reference.queue(maps) is None


def test_open_questions_survive_a_refresh(library: Library, mia: Client, pat: Client) -> None:
    library.run(library.core.feature(Reference).refresh(DOMAIN))
    write(pat, ASK.text, "Still there?")
    assert bodies(mia, chat()) == ["Still there?"]
    assert library.database.read_now(questions.find, DOMAIN, 2) is None
