"""What the queue owes people on other servers: kept, tried again with growing pauses, in order and once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from refserver import ns
from refserver.components.service import Component
from refserver.core.hooks import RemoteReachable
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import outbox
from refserver.storage import conversations
from refserver.storage.conversations import Relay
from refserver.storage.outbox import OWED_DAYS
from tests.server.elsewhere import (
    DAY,
    HOME,
    HOUR,
    KEPT,
    MINUTE,
    PAT,
    Home,
    answered_in_vain,
    ask,
    claimed,
    delays,
    owing,
    relays,
    restarted,
    send_back,
    wait,
)
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, write

# -- a server that is there --------------------------------------------------------


def test_what_was_confirmed_is_owed_no_more_and_not_sent_again_after_a_restart(
    library: Library, home: Home
) -> None:
    mia = claimed(library, home)
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    assert ["Upstairs.", "Thank you for asking. If there is anything else, just write again."] == home.words()
    library.clock.advance(0)
    assert 0 == owing(library)
    again, after = restarted(library)
    wait(again, HOUR)
    assert [] == after.words()
    assert {} == again.queue.outbox._recipients


def test_what_was_not_confirmed_is_sent_again_after_a_restart_with_its_id_and_time(
    library: Library, home: Home
) -> None:
    home.confirms = False
    mia = library.on_duty("mia")
    ask(library)
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!c none")
    write(mia, chat(), "And left.")
    before = home.taken()
    assert ["", "", "", ""] == delays(before)
    again, after = restarted(library)
    again.clock.advance(outbox.START_SECONDS)
    sent = after.taken()
    assert [(s.id, s.body) for s in before] == [(s.id, s.body) for s in sent]
    assert all(stamp.startswith("2025-06-15T15:06:40") for stamp in delays(sent))
    assert 0 == owing(again)


def test_what_is_said_before_it_is_known_what_is_owed_does_not_overtake_it(
    library: Library, home: Home
) -> None:
    mia = claimed(library, home)
    home.confirms = False
    write(mia, chat(), "Upstairs.", "a1")
    again, after = restarted(library)
    debts = again.queue.outbox
    debts._recipients.clear()
    debts._line.clear()
    debts.hold()
    mia = again.online(f"mia@{DOMAIN}/desk")
    write(mia, chat(), "And left.", "a2")
    assert [] == after.words()
    again.run(debts.start())
    again.clock.advance(outbox.START_SECONDS)
    assert ["Upstairs.", "And left."] == after.words()


def test_nothing_is_owed_to_patrons_here(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Maps?")
    write(mia, chat(), "Upstairs.")
    pat.end()
    write(mia, chat(), "And left.")
    library.clock.advance(0)
    assert 0 == owing(library)
    assert {} == library.queue.outbox._recipients


def test_a_receipt_of_the_patron_confirms_too(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.confirms = False
    write(mia, chat(), "Upstairs.", "a1")
    library.arrive(f"<message from='{PAT}/x' to='{ASK}'><received xmlns='{ns.RECEIPTS}' id='a1'/></message>")
    again, after = restarted(library)
    wait(again, HOUR)
    assert "Upstairs." not in after.words()


# -- a server that is away ---------------------------------------------------------


def test_answers_and_the_closing_line_come_in_order_and_once_when_the_server_is_back(
    library: Library, home: Home
) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    for number in (1, 2, 3):
        write(mia, chat(), f"Answer {number}.", f"a{number}")
        library.clock.advance(10)
    write(mia, chat(), "!close 2")
    assert 4 == owing(library)
    home.back()
    sent = home.taken()
    assert ["Answer 1.", "Answer 2.", "Answer 3."] == [s.body for s in sent[:3]]
    assert ["a1", "a2", "a3"] == [s.id for s in sent[:3]]
    assert sent[3].body.startswith("Thank you for asking.")
    stamps = delays(sent)
    assert "" not in stamps
    assert sorted(stamps) == stamps
    wait(library, DAY, HOUR)
    assert [] == home.taken()
    assert 0 == owing(library)


def test_the_librarian_is_told_once_that_her_words_are_kept(library: Library, home: Home) -> None:
    mia = answered_in_vain(library, home)
    write(mia, chat(), "And left.", "a2")
    wait(library, 2 * HOUR)
    assert [KEPT] == bodies(mia, chat())


def test_she_is_told_also_when_a_line_of_the_queue_has_failed_before(library: Library, home: Home) -> None:
    home.away = Condition.REMOTE_SERVER_NOT_FOUND
    ask(library)
    mia = library.on_duty("mia")
    write(mia, chat(), "Upstairs.", "a1")
    assert KEPT in bodies(mia, chat())


def test_who_takes_the_question_is_named_before_her_answer(library: Library, home: Home) -> None:
    """The first reply takes it: in the store the answer stands before the line that announces her."""
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    mia = library.on_duty("mia")
    ask(library)
    library.clock.advance(10)
    write(mia, chat(), "Upstairs.", "a1")
    home.back()
    (acknowledged, announced, answer) = home.words()
    assert acknowledged.startswith("Thank you, your question is here.")
    assert ["mia is with you now.", "Upstairs."] == [announced, answer]


def test_what_is_said_later_waits_behind_what_has_failed(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.refuses["Answer 1."] = Condition.RESOURCE_CONSTRAINT
    write(mia, chat(), "Answer 1.", "a1")
    write(mia, chat(), "Answer 2.", "a2")
    assert [] == home.words()
    home.refuses.clear()
    wait(library, 2 * MINUTE)
    assert ["Answer 1.", "Answer 2."] == home.words()
    write(mia, chat(), "Answer 3.", "a3")
    assert ["Answer 3."] == home.words()


def test_what_was_under_way_behind_something_that_failed_is_not_sent_before_it(
    library: Library, home: Home
) -> None:
    mia = claimed(library, home)
    home.confirms = False
    write(mia, chat(), "Answer 1.", "a1")
    write(mia, chat(), "Answer 2.", "a2")
    first, second = home.unconfirmed
    lost = StanzaError(Condition.REMOTE_SERVER_TIMEOUT)
    first.settle(lost)
    write(mia, chat(), "Answer 3.", "a3")
    second.settle(lost)
    home.confirms = True
    home.taken()
    home.back()
    assert ["Answer 1.", "Answer 2.", "Answer 3."] == home.words()


def test_pauses_grow_and_end_after_days(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    begun = library.clock.seconds()
    write(mia, chat(), "Upstairs.", "a1")
    wait(library, (OWED_DAYS + 1) * DAY)
    minutes = [round((at - begun) / MINUTE) for at in home.attempts]
    assert [0, 1, 6, 21, 51, 111, 171, 231] == minutes[:8]
    assert {60} == {later - before for before, later in pairwise(minutes[5:])}
    assert OWED_DAYS * 24 * 60 - 60 <= minutes[-1] <= OWED_DAYS * 24 * 60
    assert [] == library.queue.outbox._line
    assert 0 == owing(library)


def test_pauses_are_scattered(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    library.queue.outbox._random = lambda: 1.0
    write(mia, chat(), "Upstairs.", "a1")
    (one,) = library.queue.outbox._recipients[HOME].values()
    assert 60 * (1 + outbox.JITTER) == pytest.approx(one.due - library.clock.seconds())


def test_it_is_tried_at_once_when_the_patron_is_heard_of_but_not_all_the_time(
    library: Library, home: Home
) -> None:
    answered_in_vain(library, home)
    tried = len(home.attempts)
    for number in range(3):
        ask(library, f"Hello? {number}", id=f"again{number}")
        library.clock.advance(1)
    assert tried == len(home.attempts)
    home.away = None
    library.clock.advance(outbox.SOONEST_SECONDS)
    assert ["Upstairs."] == home.words()


def test_an_error_is_no_sign_of_life(library: Library, home: Home) -> None:
    answered_in_vain(library, home)
    tried = len(home.attempts)
    send_back(library, "nothing", "remote-server-timeout", "wait")
    library.clock.pump([outbox.SOONEST_SECONDS, 1])
    assert tried == len(home.attempts)


def test_another_server_that_is_back_changes_nothing(library: Library, home: Home) -> None:
    answered_in_vain(library, home)
    tried = len(home.attempts)
    library.core.hooks.tell(RemoteReachable("other.example"))
    library.clock.pump([outbox.SOONEST_SECONDS, 1])
    assert tried == len(home.attempts)


def test_a_restart_in_between_loses_nothing_and_repeats_nothing(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    write(mia, chat(), "Answer 1.", "a1")
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Answer 2.", "a2")
    wait(library, DAY, HOUR)
    write(mia, chat(), "!close 2")
    again, after = restarted(library, Condition.REMOTE_SERVER_TIMEOUT)
    wait(again, DAY)
    after.back()
    (answer, closing) = after.taken()
    assert ("a2", "Answer 2.") == (answer.id, answer.body)
    assert closing.body.startswith("Thank you for asking.")
    wait(again, DAY, HOUR)
    assert [] == after.words()


def test_what_has_no_known_fate_holds_the_rest_up_only_for_a_while(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.confirms = False
    write(mia, chat(), "Answer 1.", "a1")
    write(mia, chat(), "Answer 2.", "a2")
    home.unconfirmed[0].settle(StanzaError(Condition.REMOTE_SERVER_TIMEOUT))
    home.taken()
    home.confirms = True
    wait(library, outbox.UNSETTLED_SECONDS - MINUTE, 10)
    assert [] == home.words()
    wait(library, 2 * MINUTE, 10)
    assert ["Answer 1.", "Answer 2."] == home.words()


def test_what_is_tried_again_and_has_no_known_fate_is_tried_again(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Answer 1.", "a1")
    home.confirms = False
    home.back()
    write(mia, chat(), "Answer 2.", "a2")
    assert ["Answer 1."] == home.words()
    home.confirms = True
    wait(library, 2 * outbox.UNSETTLED_SECONDS)
    assert ["Answer 1.", "Answer 2."] == home.words()
    assert {} == library.queue.outbox._recipients


def test_what_is_said_while_the_store_is_asked_is_sent_too(library: Library, home: Home) -> None:
    answered_in_vain(library, home)
    home.away = None
    library.database.write_now(conversations.confirm, library.queue.profile.id, PAT, "a1")
    library.core.hooks.tell(RemoteReachable(HOME))
    with library.holding():
        library.clock.advance(outbox.SOONEST_SECONDS)  # there is nothing in the store yet
        library.queue.outbox.tell(library.question(), "A moment, please.")
    assert ["A moment, please."] == home.words()
    assert {} == library.queue.outbox._recipients


def test_after_the_stop_nothing_is_tried_and_confirmations_still_count(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.confirms = False
    write(mia, chat(), "Answer 1.", "a1")
    write(mia, chat(), "Answer 2.", "a2")
    library.queue.stop()
    first, second = home.unconfirmed
    first.settle(None)
    second.settle(StanzaError(Condition.REMOTE_SERVER_TIMEOUT))
    home.taken()
    wait(library, DAY, HOUR)
    assert [] == home.words()
    assert {"Answer 1.": Relay.DONE, "Answer 2.": Relay.TO_DO}.items() <= relays(library).items()


def test_many_lines_wait_in_the_store_and_leave_in_order(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    for number in range(500):
        write(mia, chat(), f"Answer {number}.", f"b{number}")
    (one,) = library.queue.outbox._recipients[HOME].values()
    assert {} == one.flying
    assert 1 == len(library.queue.outbox._line)
    home.back()
    assert [f"Answer {number}." for number in range(500)] == home.words()
    assert {} == library.queue.outbox._recipients


def test_not_all_patrons_of_a_server_are_served_at_the_same_moment(
    library: Library, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_AT_ONCE", 10)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    patrons = [JID.parse(f"pat{number}@{HOME}") for number in range(30)]
    for patron in patrons:
        ask(library, patron=patron)
    home.confirms = False
    home.back()
    assert 10 == len(home.taken())
    unconfirmed, home.unconfirmed = home.unconfirmed, []
    home.confirms = True
    for stanza in unconfirmed:
        stanza.settle(None)
    wait(library, MINUTE, 1)
    assert 20 == len(home.taken())
    assert 0 == owing(library)


# -- components --------------------------------------------------------------------


class Gateway:
    """Implements `Attached`."""

    def __init__(self) -> None:
        self.data = b""

    def send(self, data: bytes) -> None:
        self.data += data

    def close(self, error: Any = None) -> None:
        raise AssertionError("nobody closes it")


def test_a_gateway_that_is_away_gets_it_when_it_is_back(library: Library) -> None:
    sms = Component("sms.library.example", library.core.router)
    library.core.hosts.add_service(sms.domain, sms)
    mia = library.on_duty("mia")
    ask(library, patron=JID.parse(f"+49123@{sms.domain}"))
    write(mia, chat(), "Upstairs.", "a1")
    assert 3 == owing(library)
    gateway: Any = Gateway()
    sms.stream = gateway
    library.core.hooks.tell(RemoteReachable(sms.domain))
    library.clock.pump([outbox.SOONEST_SECONDS, 1])
    assert 1 == gateway.data.count(b"mia is with you now.")
    assert 1 == gateway.data.count(b"Upstairs.")
    library.clock.advance(0)
    assert 0 == owing(library)
