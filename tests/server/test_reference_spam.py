"""`!spam` at the desk: the question is closed, whoever sent it finds nobody any more; it can be undone."""

from __future__ import annotations

import pytest

from refserver.features.library_access import LibraryAccess
from refserver.jid import JID
from refserver.reference import privacy
from refserver.reference.closing import BLOCKED_SECONDS
from refserver.reference.feature import Reference
from refserver.storage import access_rules, queues, statistics
from refserver.storage.access_rules import Rule, SpamCount
from tests.server.elsewhere import DAY, Home, claimed, owing, restarted, wait
from tests.server.library import ASK, DOMAIN, ROOM, Library, bodies, chat, write

EVE = "eve@spam.example"
SPEAKER = f"{EVE}/bot"
REFUSED = [f"error service-unavailable from {ASK} to {SPEAKER}"]


@pytest.fixture
def library() -> Library:
    library = Library()
    library.clock.advance(1)
    return library


def asks(library: Library, words: str = "Cheap watches", by: str = SPEAKER) -> None:
    library.arrive(f"<message from='{by}' to='{ASK}' type='chat'><body>{words}</body></message>")


def subscribes(library: Library, who: str) -> None:
    library.arrive(f"<presence from='{who}' to='{ASK}' type='subscribe'/>")


def told(library: Library) -> list[str]:
    return library.elsewhere.told()


def desk_lines(client) -> list[str]:
    return bodies(client, ROOM)


def test_spam_in_the_chat_closes_the_question_and_lets_its_sender_in_no_more(library: Library) -> None:
    mia = library.on_duty("mia")
    asks(library)
    write(mia, chat(), "!1")
    told(library)
    write(mia, chat(), "!spam")
    assert (library.question().state, library.question().outcome) == ("closed", "spam")
    assert told(library) == []
    asks(library, "Cheaper watches")
    assert told(library) == REFUSED
    assert library.open_question(JID.parse(EVE)) is None


def test_the_desk_is_told_in_a_line_that_says_how_to_undo_it(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    asks(library)
    mia.received(), noa.received()
    write(mia, chat(), "!spam")
    line = (
        "#1 was spam: mia has closed it, and whoever sent it can no longer write to us. "
        "!unspam 1 lets them in again."
    )
    assert desk_lines(noa)[-1] == line
    answers = bodies(mia, chat())
    assert answers[-1].startswith("* Whoever sent it can no longer write to us.")
    assert EVE not in "".join(answers)


@pytest.mark.parametrize("claimed", [False, True])
def test_spam_works_at_the_desk_too(library: Library, claimed: bool) -> None:
    mia = library.on_duty("mia")
    asks(library)
    if claimed:
        write(mia, chat(), "!1")
    told(library)
    mia.send(f"<message to='{ROOM}' type='groupchat'><body>!spam 1</body></message>")
    assert (library.question().state, library.question().outcome) == ("closed", "spam")
    assert told(library) == [], "who sent it learns nothing"
    asks(library)
    assert told(library) == REFUSED


def test_at_the_desk_a_number_is_needed(library: Library) -> None:
    mia = library.on_duty("mia")
    for command in ("!spam", "!unspam"):
        mia.send(f"<message to='{ROOM}' type='groupchat'><body>{command}</body></message>")
        assert f"{command} needs the number of a question, like {command} 417." in desk_lines(mia)


def test_its_subscription_ends(library: Library) -> None:
    mia = library.on_duty("mia")
    subscribes(library, EVE)
    subscribes(library, "pat@good.example")
    asks(library)
    told(library)
    write(mia, chat(), "!spam")
    assert told(library) == [f"unavailable from {ASK}/queue to {EVE}", f"unsubscribed from {ASK} to {EVE}"]
    assert library.database.read_now(queues.subscribers, library.queue.profile.id) == {
        JID.parse("pat@good.example")
    }
    mia.send(f"<presence to='{ROOM}/mia' type='unavailable'/>")
    library.clock.advance(10)
    assert {line.rpartition(" to ")[2] for line in told(library)} == {"pat@good.example"}
    subscribes(library, EVE)
    assert told(library) == []


def test_the_store_names_nobody_and_the_block_ends_by_itself(library: Library) -> None:
    mia = library.on_duty("mia")
    asks(library)
    write(mia, chat(), "!spam")
    (rule,) = library.database.read_now(access_rules.rules, DOMAIN)
    assert (rule.domain, rule.localpart, rule.queue, rule.number) == ("spam.example", "", "ask", 1)
    assert rule.librarian == f"mia@{DOMAIN}"
    library.clock.advance(BLOCKED_SECONDS - 1)
    told(library)
    asks(library)
    assert told(library) == REFUSED
    library.clock.advance(1)
    asks(library)
    assert told(library) != REFUSED
    assert library.question(2).state != "closed"


def test_the_block_survives_a_restart_and_the_link_to_the_patron_does_not(library: Library) -> None:
    mia = library.on_duty("mia")
    asks(library)
    write(mia, chat(), "!spam")
    library.database.write_now(privacy.forget_due, library.core.now() + 30 * 86_400)
    assert library.question().patron is None
    again = library.restart()
    asks(again)
    assert told(again) == REFUSED
    noa = again.on_duty("noa")
    noa.send(f"<message to='{ROOM}' type='groupchat'><body>!unspam 1</body></message>")
    assert "noa has let whoever asked #1 in again." in desk_lines(noa)
    asks(again)
    assert again.question(2).patron == JID.parse(EVE)


def test_whoever_comes_through_a_gateway_of_the_library_can_be_blocked(library: Library) -> None:
    mia, phone = library.on_duty("mia"), f"+4912@sms.{DOMAIN}/sms"
    asks(library, by=phone)
    write(mia, chat(), "!spam")
    told(library)
    asks(library, by=phone)
    assert told(library) == [f"error service-unavailable from {ASK} to {phone}"]


def test_nothing_is_owed_to_who_sent_spam(library: Library) -> None:
    home = Home(library)
    home.confirms = False
    mia = claimed(library, home)
    write(mia, chat(), "Who is that?")
    assert owing(library) > 0
    write(mia, chat(), "!spam")
    assert owing(library) == 0
    again, after = restarted(library)
    wait(again, DAY)
    assert after.words() == []


def test_others_at_the_same_server_are_let_in(library: Library) -> None:
    mia = library.on_duty("mia")
    asks(library)
    write(mia, chat(), "!spam")
    asks(library, by="adam@spam.example/phone")
    assert library.question(2).patron == JID.parse("adam@spam.example")


def test_unspam_lets_the_sender_in_again_and_counts_it_no_more(library: Library) -> None:
    mia = library.on_duty("mia")
    asks(library)
    write(mia, chat(), "!spam")
    assert library.database.read_now(access_rules.reports, DOMAIN) == [
        SpamCount("spam.example", 1, library.core.now())
    ]
    mia.received()
    write(mia, chat(), "!unspam")
    assert bodies(mia, chat()) == ["* mia has let whoever asked #1 in again."]
    assert library.database.read_now(access_rules.reports, DOMAIN) == []
    assert library.core.hosts.gates == {}
    asks(library, "It was me")
    assert library.question(2).patron == JID.parse(EVE)
    write(mia, chat(), "!unspam")
    assert bodies(mia, chat())[-1] == "* Whoever asked #1 is not blocked."


def test_reopening_undoes_all_of_it(library: Library) -> None:
    mia = library.on_duty("mia")
    asks(library)
    write(mia, chat(), "!spam")
    write(mia, chat(), "!reopen")
    assert (library.question().state, library.question().outcome) == ("claimed", "")
    assert library.database.read_now(access_rules.rules, DOMAIN) == []
    asks(library, "A real question")
    assert ("patron", "A real question") in library.said()


def test_reopening_what_was_closed_otherwise_lifts_no_block(library: Library) -> None:
    mia = library.on_duty("mia")
    for number in (1, 2):
        asks(library)
        write(mia, chat(number), f"!{number}")
        write(mia, chat(number), "!close 1" if number == 1 else "!spam")
    write(mia, chat(1), "!reopen")
    assert library.question(1).state == "claimed"
    asks(library)
    assert told(library)[-1:] == REFUSED


def test_the_newer_block_is_lifted_with_the_older_question(library: Library) -> None:
    """Each question called spam would block anew; undoing either lets the sender in."""
    mia = library.on_duty("mia")
    asks(library)
    write(mia, chat(), "!spam")
    write(mia, chat(), "!unspam")
    asks(library)
    write(mia, chat(2), "!spam")
    write(mia, chat(1), "!unspam")
    assert library.database.read_now(access_rules.rules, DOMAIN) == []


def test_colleagues_and_whom_the_library_allows_cannot_be_blocked(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    write(noa, ASK.text, "I am a patron, too")
    library.database.write_now(access_rules.put, DOMAIN, Rule("spam.example", "eve", allowed=True))
    asks(library)
    for number in (1, 2):
        mia.received()
        write(mia, chat(number), "!spam")
        assert bodies(mia, chat(number))[-1].startswith(f"* #{number} comes from a colleague, or from")
        assert library.question(number).outcome == ""
    assert library.database.read_now(access_rules.reports, DOMAIN) == []


def test_a_colleague_s_question_is_not_to_be_called_spam(library: Library) -> None:
    mia, noa = library.on_duty("mia"), library.on_duty("noa")
    asks(library)
    write(noa, chat(), "!1")
    mia.received()
    write(mia, chat(), "!spam")
    assert bodies(mia, chat()) == ["* noa was first: #1 is taken."]
    assert library.question().outcome == ""


def test_strangers_cannot_say_spam(library: Library) -> None:
    pat = library.patron()
    asks(library)
    pat.received()
    write(pat, chat(), "!spam")
    assert pat.told() == [f"error item-not-found from {chat()}"]
    assert library.question().outcome == ""


def test_an_own_account_is_kept_from_the_queue_only(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Cheap watches")
    write(mia, chat(), "!spam")
    pat.received(), mia.received()
    write(pat, ASK.text, "Cheaper watches")
    write(pat, f"mia@{DOMAIN}", "Hello Mia")
    assert pat.told() == [f"error service-unavailable from {ASK}"]
    assert bodies(mia, f"pat@{DOMAIN}") == ["Hello Mia"]


def test_spam_does_not_count_for_waits_and_durations(library: Library) -> None:
    mia = library.on_duty("mia")
    asks(library)
    library.clock.advance(100)
    write(mia, chat(), "!1")
    library.clock.advance(1000)
    write(mia, chat(), "!spam")
    assert list(library.queue.profile.durations) == []
    assert library.database.read_now(statistics.recent_durations, DOMAIN, "ask") == []


def test_a_change_by_an_operator_ends_subscriptions_too(library: Library) -> None:
    for who in (EVE, "adam@spam.example", "pat@good.example"):
        subscribes(library, who)
    told(library)
    blocking = library.core.feature(LibraryAccess)
    blocking.put(DOMAIN, Rule("spam.example", "adam", allowed=True))
    blocking.put(DOMAIN, Rule("spam.example"))
    assert told(library) == [f"unavailable from {ASK}/queue to {EVE}", f"unsubscribed from {ASK} to {EVE}"]


def test_librarians_elsewhere_are_let_in_whatever_is_said_of_their_server(library: Library) -> None:
    librarian = queues.Librarian(JID.parse("lou@partner.example"), "lou", 3)
    library.database.write_now(queues.put_librarian, library.queue.profile.id, librarian)
    library.run(library.core.feature(Reference).refresh(DOMAIN))
    library.core.feature(LibraryAccess).put(DOMAIN, Rule("partner.example"))
    asks(library, "!who", by="lou@partner.example/desk")
    assert told(library) == [f"message from {ASK}/queue: Nobody is on duty. to lou@partner.example"]
