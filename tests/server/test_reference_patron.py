"""What a patron sees who has the queue among the contacts of an ordinary client."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.jid import JID
from refserver.storage import queues
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, messages, write

RECEIPT = f"<request xmlns='{ns.RECEIPTS}'/>"


# -- the contact -------------------------------------------------------------------


def test_a_subscription_is_approved_at_once_and_presence_follows(library: Library) -> None:
    pat = library.patron()
    pat.send(f"<presence to='{ASK}' type='subscribe'/>")
    assert pat.told() == [
        f"push {ASK} none ask",
        f"subscribed from {ASK}",
        f"push {ASK} to",
        f"available from {ASK}/queue",
    ]


def status_of(library: Library, name: str = "pat") -> tuple[str, str]:
    """Show and status that a subscriber gets at log-in."""
    client = library.client(f"{name}@{DOMAIN}/another")
    client.send("<presence/>")
    (presence,) = [s for s in client.received() if s.from_ is not None and s.from_.bare == ASK]
    client.end()
    show = presence.element.findtext(f"{{{ns.CLIENT}}}show") or ""
    return show, presence.element.findtext(f"{{{ns.CLIENT}}}status") or ""


def subscribed(library: Library) -> None:
    library.patron().send(f"<presence to='{ASK}' type='subscribe'/>")


def test_presence_says_who_can_answer(library: Library) -> None:
    subscribed(library)
    assert status_of(library) == ("xa", "Nobody at the desk, leave a message")
    mia = library.on_duty("mia")
    assert status_of(library) == ("", "1 librarian, no wait")
    noa = library.on_duty("noa")
    assert status_of(library) == ("", "2 librarians, no wait")
    library.enter(noa, "noa", "away")
    assert status_of(library) == ("", "1 librarian, no wait")
    mia.end()
    assert status_of(library) == ("xa", "Nobody at the desk, leave a message")


def test_presence_says_when_all_are_busy() -> None:
    library = Library()
    subscribed(library)
    library.appoint("mia", library.queue.profile.id, max_chats=1)
    library.run(library.core.features[-1].refresh(DOMAIN))  # type: ignore[attr-defined]  # the Reference
    library.on_duty("mia")
    write(library.patron("sam"), ASK.text, "Where are the maps?")
    assert status_of(library) == ("away", "all busy, about 5 min")


def test_presence_out_of_hours_says_when_the_desk_opens() -> None:
    library = Library(hours="Mon-Fri 09:00-17:00")  # the harness starts on a Sunday
    subscribed(library)
    assert status_of(library) == ("xa", "Closed until Mon 9:00, leave a message")


def test_changes_of_presence_are_pushed_together_and_not_too_often(library: Library) -> None:
    pat = library.patron()
    pat.send(f"<presence to='{ASK}' type='subscribe'/>")
    library.clock.pump([1, 9])
    pat.received()
    mia = library.on_duty("mia")
    library.on_duty("noa")
    assert pat.received() == []
    library.clock.advance(1)
    assert [s.element.findtext(f"{{{ns.CLIENT}}}status") for s in pat.received()] == ["2 librarians, no wait"]
    mia.end()
    library.clock.advance(1)
    assert pat.received() == []
    library.clock.advance(4)
    assert len(pat.received()) == 1


def test_what_flickers_is_not_pushed(library: Library) -> None:
    pat = library.patron()
    pat.send(f"<presence to='{ASK}' type='subscribe'/>")
    library.on_duty("mia")
    library.clock.pump([1, 9])
    pat.received()
    noa = library.on_duty("noa")
    noa.end()
    library.clock.advance(60)
    assert pat.received() == []


def test_unsubscribing_ends_the_presence(library: Library) -> None:
    pat = library.patron()
    pat.send(f"<presence to='{ASK}' type='subscribe'/>")
    pat.received()
    pat.send(f"<presence to='{ASK}' type='unsubscribe'/>")
    assert f"unavailable from {ASK}/queue" in pat.told()
    library.on_duty("mia")
    library.clock.advance(60)
    assert pat.received() == []
    assert library.database.read_now(queues.subscribers, library.queue.profile.id) == set()


def test_a_probe_by_a_stranger_is_told_that_there_is_no_subscription(library: Library) -> None:
    library.arrive(f"<presence from='eve@elsewhere.example' to='{ASK}' type='probe'/>")
    assert library.elsewhere.told() == [f"unsubscribed from {ASK} to eve@elsewhere.example"]


def test_subscribers_are_remembered_over_a_restart(library: Library) -> None:
    subscribed(library)
    again = library.restart()
    assert status_of(again) == ("xa", "Nobody at the desk, leave a message")


def test_discovery_and_business_card() -> None:
    library = Library(settings={"web_page": "https://library.example/ask"}, hours="Mon 09:00-17:00")
    pat = library.patron()
    found = pat.ask("get", f"<query xmlns='{ns.DISCO_INFO}'/>", ASK.text).wire()
    assert b"category='collaboration' type='workgroup' name='Ask us'" in found
    assert ns.RECEIPTS.encode() in found
    card = pat.ask("get", f"<vCard xmlns='{ns.VCARD}'/>", ASK.text).wire()
    assert b"<FN>Ask us</FN>" in card
    assert b"<URL>https://library.example/ask</URL>" in card
    assert pat.ask("get", f"<ping xmlns='{ns.PING}'/>", ASK.text).type == "result"
    assert pat.ask("get", "<query xmlns='urn:example:unknown'/>", ASK.text).type == "error"
    assert pat.ask("set", f"<vCard xmlns='{ns.VCARD}'/>", ASK.text).type == "error"


# -- asking ------------------------------------------------------------------------


def test_the_first_message_is_acknowledged_with_one_line(library: Library) -> None:
    library.on_duty("mia")
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    assert bodies(pat, ASK.text) == ["Thank you, your question is here. A librarian will answer in a moment."]


def test_a_receipt_says_that_the_message_is_stored_and_not_before(library: Library) -> None:
    pat = library.patron()
    with library.holding():
        write(pat, ASK.text, "Where are the maps?", "m1", RECEIPT)
        assert pat.received() == []
    receipts = [s for s in messages(pat) if s.child(ns.RECEIPTS, "received") is not None]
    assert [s.child(ns.RECEIPTS, "received").get("id") for s in receipts] == ["m1"]  # type: ignore[union-attr]  # seen above
    assert receipts[0].to == pat.jid
    assert library.said() == [("patron", "Where are the maps?")]


def test_no_receipt_where_none_was_asked_for(library: Library) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?", "m1")
    assert all(s.child(ns.RECEIPTS, "received") is None for s in messages(pat))


def test_more_messages_are_added_without_another_acknowledgement(library: Library) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    pat.received()
    write(pat, ASK.text, "The old ones.")
    assert bodies(pat) == []
    assert library.said() == [("patron", "Where are the maps?"), ("patron", "The old ones.")]


def test_after_hours_the_question_is_kept_and_the_patron_is_told_when(library: Library) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    (acknowledged,) = bodies(pat)
    assert acknowledged.startswith("Thank you, your question is here. Nobody is at the desk right now;")
    closed = Library(hours="Mon 09:00-17:00")
    sam = closed.patron("sam")
    write(sam, ASK.text, "Where are the maps?")
    assert "The desk opens Mon 9:00" in bodies(sam)[0]


def test_the_privacy_page_is_named(library: Library) -> None:
    private = Library(settings={"privacy_url": "https://library.example/privacy"})
    pat = private.patron()
    write(pat, ASK.text, "Where are the maps?")
    assert bodies(pat)[0].endswith("What we keep: https://library.example/privacy")


def test_patrons_are_answered_in_their_language(library: Library) -> None:
    pat = library.patron()
    pat.send(f"<message to='{ASK}' type='chat' xml:lang='de-AT'><body>Wo sind die Karten?</body></message>")
    assert bodies(pat)[0].startswith("Vielen Dank, Ihre Frage ist angekommen.")
    assert library.question().language == "de"


@pytest.mark.parametrize(
    "child",
    [
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>",
        "<encrypted xmlns='urn:xmpp:omemo:2'/>",
        "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>",
        "<x xmlns='jabber:x:encrypted'>x</x>",
    ],
)
def test_an_encrypted_message_gets_a_clear_reply_and_asks_nothing(library: Library, child: str) -> None:
    pat = library.patron()
    write(pat, ASK.text, "I sent you an encrypted message", "m1", child)
    (reply,) = bodies(pat)
    assert reply.startswith("This desk cannot read encrypted messages")
    assert list(library.open_questions) == []


def test_the_hourly_limit_is_explained(library: Library) -> None:
    library.queue.patron_chat.hourly_limit = 1
    pat = library.patron()
    write(pat, ASK.text, "one")
    write(pat, ASK.text, "bye")
    pat.received()
    write(pat, ASK.text, "two", "m2", RECEIPT)
    assert bodies(pat) == [
        "You have asked a lot in the last hour. Please wait a little before the next question."
    ]


def test_a_message_to_an_address_that_is_none_bounces(library: Library) -> None:
    pat = library.patron()
    write(pat, f"ask+nobody@{DOMAIN}", "hello")
    write(pat, chat(1), "hello")
    assert pat.told() == [
        f"error item-not-found from ask+nobody@{DOMAIN}",
        f"error item-not-found from {chat(1)}",
    ]


def test_headlines_errors_and_empty_messages_ask_nothing(library: Library) -> None:
    pat = library.patron()
    for type in ("headline", "error", "chat"):
        pat.send(f"<message to='{ASK}' type='{type}'><subject>x</subject></message>")
    pat.send(f"<message to='{ASK}' type='headline'><body>news</body></message>")
    pat.send(f"<message to='{ASK}' type='chat'><body>  </body></message>")
    assert pat.received() == []
    assert list(library.open_questions) == []


def test_what_looks_like_a_command_is_a_question_when_a_patron_says_it(library: Library) -> None:
    sam = library.patron("sam")
    write(sam, ASK.text, "Where are the maps?")
    pat = library.patron()
    write(pat, ASK.text, "!1")
    assert library.question(1).owner is None
    assert (library.question(2).patron, library.said(2)) == (pat.jid.bare, [("patron", "!1")])


# -- plain words ---------------------------------------------------------------------


def test_help_and_position_before_any_question(library: Library) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Help")
    write(pat, ASK.text, "position")
    write(pat, ASK.text, "bye!")
    helped, place, goodbye = bodies(pat)
    assert helped.startswith("Just write your question")
    assert place == "You have no question waiting. Just write one."
    assert goodbye == "Goodbye, and thank you for asking."
    assert list(library.open_questions) == []


def test_position_in_the_line(library: Library) -> None:
    library.on_duty("mia")
    for name in ("ann", "ben", "cid", "pat"):
        write(library.patron(name), ASK.text, "?")
    pat = library.patron()
    write(pat, ASK.text, "position")
    assert bodies(pat)[-1].startswith("You are number 4 in line, about 2 minutes.")


def test_bye_takes_a_waiting_question_out_of_the_line(library: Library) -> None:
    mia = library.on_duty("mia")
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    mia.received()
    write(pat, ASK.text, "Bye")
    assert bodies(pat)[-1] == "Goodbye! Your question was taken out of the line."
    assert library.question().state == "abandoned"
    assert "#1: the patron has left the line." in bodies(mia)


def test_bye_to_a_librarian_is_delivered(library: Library) -> None:
    mia = library.on_duty("mia")
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, chat(), "Upstairs.")
    mia.received(), pat.received()
    write(pat, ASK.text, "bye")
    assert bodies(pat) == ["Goodbye, and thank you for asking."]
    assert bodies(mia) == ["bye", "* (The patron said goodbye. !close 3 when you are done.)"]
    assert library.question().state == "claimed"


def test_words_work_in_the_language_of_the_queue() -> None:
    library = Library(language="de")
    pat = library.patron()
    write(pat, ASK.text, "Hilfe")
    assert bodies(pat)[0].startswith("Schreiben Sie einfach Ihre Frage")


# -- the line ------------------------------------------------------------------------


def test_the_position_is_told_when_it_has_changed_and_once_a_minute_at_most(library: Library) -> None:
    library.on_duty("mia")
    for name in ("ann", "ben", "cid"):
        write(library.patron(name), ASK.text, "?")
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    pat.received()
    library.clock.advance(1)
    write(library.patron("ann"), ASK.text, "bye")
    write(library.patron("ben"), ASK.text, "bye")
    assert bodies(pat) == []
    library.clock.advance(60)
    (line,) = bodies(pat)
    assert line.startswith("You are number 2 in line")
    library.clock.advance(600)
    assert bodies(pat) == []


# -- the conversation ------------------------------------------------------------------


def test_the_answer_comes_from_the_queue_with_its_own_id(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    pat.received()
    write(mia, chat(), "Upstairs.", "a1", RECEIPT)
    told, answer = messages(pat, ASK.text)
    assert told.body == "mia is with you now."
    assert (answer.body, answer.id, answer.from_) == ("Upstairs.", "a1", ASK.with_resource("queue"))
    assert answer.child(ns.RECEIPTS, "request") is not None


def test_typing_markers_and_receipts_go_both_ways_once_claimed(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    typing = f"<composing xmlns='{ns.CHATSTATES}'/>"
    pat.send(f"<message to='{ASK}' type='chat'>{typing}</message>")
    write(pat, ASK.text, "Where are the maps?", "m1")
    mia.received()
    pat.send(f"<message to='{ASK}' type='chat'>{typing}</message>")
    assert mia.received() == []
    write(mia, chat(), "Upstairs.", "a1", RECEIPT)
    mia.received(), pat.received()
    pat.send(f"<message to='{ASK}' type='chat'>{typing}<thread>t1</thread></message>")
    pat.send(f"<message to='{ASK}'><received xmlns='{ns.RECEIPTS}' id='a1'/></message>")
    pat.send(f"<message to='{ASK}'><displayed xmlns='{ns.MARKERS}' id='a1'/></message>")
    seen = messages(mia, chat())
    assert [s.element[0].tag.partition("}")[2] for s in seen] == ["composing", "received", "displayed"]
    assert [s.element[0].get("id") for s in seen] == [None, "a1", "a1"]
    assert seen[0].element.findtext(f"{{{ns.CLIENT}}}thread") == "t1"
    mia.send(f"<message to='{chat()}' type='chat'>{typing}</message>")
    mia.send(f"<message to='{chat()}' type='chat'><displayed xmlns='{ns.MARKERS}' id='m1'/></message>")
    seen = messages(pat, ASK.text)
    assert [s.element[0].tag.partition("}")[2] for s in seen] == ["composing", "displayed"]


def test_a_receipt_just_after_the_close_still_reaches_the_librarian(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, chat(), "Upstairs.", "a1", RECEIPT)
    write(mia, chat(), "!close 1")
    mia.received()
    pat.send(f"<message to='{ASK}'><received xmlns='{ns.RECEIPTS}' id='a1'/></message>")
    pat.send(f"<message to='{ASK}'><composing xmlns='{ns.CHATSTATES}'/></message>")
    (passed,) = messages(mia, chat())
    received = passed.child(ns.RECEIPTS, "received")
    assert received is not None
    assert received.get("id") == "a1"


def test_thread_corrections_and_links_travel_with_the_words(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    extras = (
        "<thread>t1</thread><replace xmlns='urn:xmpp:message-correct:0' id='m0'/>"
        "<x xmlns='jabber:x:oob'><url>https://example.org/map.png</url></x>"
        "<origin-id xmlns='urn:xmpp:sid:0' id='m1'/><evil xmlns='urn:example:evil'/>"
    )
    write(pat, ASK.text, "Where are the maps?", "m1", extras)
    (question,) = [s for s in messages(mia, chat()) if s.id == "m1"]
    write(mia, chat(), "Upstairs.", "a1", "<thread>mine</thread>")
    assert sorted(child.tag.partition("}")[2] for child in question.element) == [
        "body",
        "origin-id",
        "replace",
        "thread",
        "x",
    ]
    answer = messages(pat, ASK.text)[-1]
    assert answer.element.findtext(f"{{{ns.CLIENT}}}thread") == "t1"


def test_switching_device_changes_nothing(library: Library) -> None:
    mia, phone = library.on_duty("mia"), library.patron()
    write(phone, ASK.text, "Where are the maps?")
    phone.end()
    library.clock.advance(0)
    laptop = library.online(f"pat@{DOMAIN}/laptop")
    write(laptop, ASK.text, "The old ones.")
    write(mia, chat(), "Upstairs.")
    assert bodies(laptop)[-1] == "Upstairs."
    assert library.said() == [
        ("patron", "Where are the maps?"),
        ("patron", "The old ones."),
        ("staff", "Upstairs."),
    ]


def test_an_answer_to_a_patron_who_is_away_waits_in_the_offline_store(library: Library) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    pat.end()
    library.clock.advance(0)
    mia = library.on_duty("mia")
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    pat = library.client(f"pat@{DOMAIN}/phone")
    pat.send("<presence/>")
    found = [s for s in messages(pat, ASK.text) if s.id == "a1"]
    assert [s.body for s in found] == ["Upstairs."]
    assert found[0].child(ns.DELAY, "delay") is not None


def test_patrons_of_other_servers_are_served_alike(library: Library) -> None:
    mia = library.on_duty("mia")
    library.arrive(
        f"<message from='eva@home.example/x' to='{ASK}' id='m1'><body>Maps?</body>{RECEIPT}</message>"
    )
    told = library.elsewhere.received()
    assert [str(s.to) for s in told] == ["eva@home.example/x", "eva@home.example"]
    write(mia, chat(), "Upstairs.", "a1")
    assert library.elsewhere.told() == [
        f"message from {ASK}/queue: mia is with you now. to eva@home.example",
        f"message from {ASK}/queue: Upstairs. to eva@home.example",
    ]


def test_what_a_patrons_server_sends_back_is_told_to_the_librarian(library: Library) -> None:
    mia = library.on_duty("mia")
    library.arrive(f"<message from='eva@home.example/x' to='{ASK}'><body>Maps?</body></message>")
    write(mia, chat(), "Upstairs.", "a1")
    mia.received()
    error = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    library.arrive(f"<message from='eva@home.example' to='{ASK}' type='error' id='a1'>{error}</message>")
    assert bodies(mia) == [
        "* #1: the answer could not be delivered to the patron. Why: that address does not exist any more."
    ]


def test_two_libraries_do_not_see_each_other(library: Library) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    assert library.open_question(JID.parse(f"pat@{DOMAIN}")) is not None
    assert library.open_question(JID.parse("pat@other.example")) is None
