"""What the queue owes people on other servers: kept, tried again for days, in order, and then told of."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from refserver import ns
from refserver.components.component import Component
from refserver.core.hooks import RemoteReachable
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import owed
from refserver.reference.closing import forget
from refserver.reference.undelivered import OWED_DAYS
from refserver.stanza import Stanza
from refserver.storage import owed as store
from refserver.storage import queues
from refserver.storage.conversations import Relay
from refserver.storage.conversations import of as history
from tests.server.harness import Client
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, messages, write

HOME = "home.example"
PAT = JID.parse(f"pat@{HOME}")
MINUTE, HOUR, DAY = 60, 3600, 86400
KEPT = (
    "* (The patron's server cannot be reached now. "
    "What you write is kept, and delivered as soon as it is back.)"
)


class Home:
    """The destination of all that is sent to other servers: takes it, or is away."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.away: Condition | None = None
        self.confirms = True
        self.refuses: dict[str, Condition] = {}
        self.attempts: list[float] = []
        self.unconfirmed: list[Stanza] = []
        self._taken: list[Stanza] = []
        library.core.router.remote = self
        library.queue.owed._random = lambda: 0.5

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`."""
        condition = self.refuses.get(stanza.body, self.away)
        if condition is not None:
            self.attempts.append(self._library.clock.seconds())
            self._library.core.router.bounce(stanza, StanzaError(condition))
            return
        if stanza.body:
            self._taken.append(stanza)
        if self.confirms:
            stanza.settle(None)
        else:
            self.unconfirmed.append(stanza)

    def back(self) -> None:
        """It is there again, and a stream shows it."""
        self.away = None
        self._library.core.hooks.tell(RemoteReachable(HOME))
        self._library.clock.pump([owed.SOONEST_SECONDS, 1])

    def taken(self) -> list[Stanza]:
        """The messages with words that it took since the last look."""
        taken, self._taken = self._taken, []
        return taken

    def words(self) -> list[str]:
        return [stanza.body for stanza in self.taken()]


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def home(library: Library) -> Home:
    return Home(library)


def restarted(library: Library, away: Condition | None = None) -> tuple[Library, Home]:
    """kill -9, and another server on the same database; the other server is `away` or not."""
    library.clock.advance(0)
    again = Library(library.database)
    again._answers = library._answers
    home = Home(again)
    home.away = away
    again.clock.advance(library.clock.seconds())
    return again, home


def ask(library: Library, body: str = "Maps?", patron: JID = PAT, id: str = "m1") -> None:
    library.arrive(
        f"<message from='{patron}/x' to='{ASK}' type='chat' id='{id}'><body>{body}</body></message>"
    )


def claimed(library: Library, home: Home) -> Client:
    """A librarian who has a question of a patron elsewhere."""
    mia = library.on_duty("mia")
    ask(library)
    write(mia, chat(), "Hello.", "a0")
    home.taken()
    mia.received()
    return mia


def wait(library: Library, seconds: float, step: float = 60.0) -> None:
    """Let time pass, with whatever falls due on the way."""
    library.clock.pump([step] * round(seconds / step))


def delays(stanzas: list[Stanza]) -> list[str]:
    found = [stanza.child(ns.DELAY, "delay") for stanza in stanzas]
    return ["" if delay is None else delay.get("stamp", "") for delay in found]


def send_back(
    library: Library, id: str, condition: str, type: str = "cancel", sender: str = PAT.text
) -> None:
    """The patron's own server answers with an error."""
    error = f"<error type='{type}'><{condition} xmlns='{ns.STANZAS}'/></error>"
    library.arrive(f"<message from='{sender}' to='{ASK}/queue' type='error' id='{id}'>{error}</message>")


def relays(library: Library, number: int = 1) -> dict[str, Relay]:
    stored = library.database.read_now(history, library.question(number).id)
    return {message.body: message.relay for message in stored}


def owing(library: Library) -> int:
    return library.database.read_now(store.count)


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
    assert {} == again.queue.owed._debts


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
    again.clock.advance(owed.START_SECONDS)
    sent = after.taken()
    assert [(s.id, s.body) for s in before] == [(s.id, s.body) for s in sent]
    assert all(stamp.startswith("2025-06-15T15:06:40") for stamp in delays(sent))
    assert 0 == owing(again)


def test_nothing_is_owed_to_patrons_here(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Maps?")
    write(mia, chat(), "Upstairs.")
    pat.end()
    write(mia, chat(), "And left.")
    library.clock.advance(0)
    assert 0 == owing(library)
    assert {} == library.queue.owed._debts


def test_a_receipt_of_the_patron_confirms_too(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.confirms = False
    write(mia, chat(), "Upstairs.", "a1")
    library.arrive(f"<message from='{PAT}/x' to='{ASK}'><received xmlns='{ns.RECEIPTS}' id='a1'/></message>")
    again, after = restarted(library)
    wait(again, HOUR)
    assert [] == after.words()


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
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
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
    assert [] == library.queue.owed._line
    assert 0 == owing(library)


def test_pauses_are_scattered(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    library.queue.owed._random = lambda: 1.0
    write(mia, chat(), "Upstairs.", "a1")
    (debt,) = library.queue.owed._debts[HOME].values()
    assert 60 * (1 + owed.JITTER) == pytest.approx(debt.due - library.clock.seconds())


def test_it_is_tried_at_once_when_the_patron_is_heard_of_but_not_all_the_time(
    library: Library, home: Home
) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    tried = len(home.attempts)
    for number in range(3):
        ask(library, f"Hello? {number}", id=f"again{number}")
        library.clock.advance(1)
    assert tried == len(home.attempts)
    home.away = None
    library.clock.advance(owed.SOONEST_SECONDS)
    assert ["Upstairs."] == home.words()


def test_an_error_is_no_sign_of_life(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    tried = len(home.attempts)
    send_back(library, "nothing", "remote-server-timeout", "wait")
    library.clock.pump([owed.SOONEST_SECONDS, 1])
    assert tried == len(home.attempts)


def test_another_server_that_is_back_changes_nothing(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    tried = len(home.attempts)
    library.core.hooks.tell(RemoteReachable("other.example"))
    library.clock.pump([owed.SOONEST_SECONDS, 1])
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
    wait(library, owed.UNSETTLED_SECONDS - MINUTE, 10)
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
    wait(library, 2 * owed.UNSETTLED_SECONDS)
    assert ["Answer 1.", "Answer 2."] == home.words()
    assert {} == library.queue.owed._debts


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
    (debt,) = library.queue.owed._debts[HOME].values()
    assert {} == debt.flying
    assert 1 == len(library.queue.owed._line)
    home.back()
    assert [f"Answer {number}." for number in range(500)] == home.words()
    assert {} == library.queue.owed._debts


def test_not_all_patrons_of_a_server_are_served_at_the_same_moment(library: Library, home: Home) -> None:
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    patrons = [JID.parse(f"pat{number}@{HOME}") for number in range(3 * owed.MOST_AT_ONCE)]
    for patron in patrons:
        ask(library, patron=patron)
    home.confirms = False
    home.back()
    assert owed.MOST_AT_ONCE == len(home.taken())
    unconfirmed, home.unconfirmed = home.unconfirmed, []
    home.confirms = True
    for stanza in unconfirmed:
        stanza.settle(None)
    wait(library, MINUTE, 1)
    assert 2 * owed.MOST_AT_ONCE == len(home.taken())
    assert 0 == owing(library)


# -- giving up ---------------------------------------------------------------------

NOT_REACHED = (
    "#1: the answer could not be delivered to the patron. "
    "Why: the server of that address could not be reached for days."
)


def test_after_days_the_librarian_is_told_once_and_the_history_says_it(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Answer 1.", "a1")
    wait(library, DAY, HOUR)
    write(mia, chat(), "Answer 2.", "a2")
    mia.received()
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    assert [f"* {NOT_REACHED}"] == bodies(mia, chat())
    assert [("system", NOT_REACHED)] == [line for line in library.said() if line[0] == "system"]
    assert {"Answer 1.": Relay.GIVEN_UP, "Answer 2.": Relay.GIVEN_UP}.items() <= relays(library).items()
    home.back()
    assert [] == home.words()


def test_she_is_told_again_if_the_patron_has_written_meanwhile(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    for number in (1, 2):
        write(mia, chat(), f"Answer {number}.", f"a{number}")
        mia.received()
        send_back(library, f"a{number}", "gone")
        assert 1 == len(bodies(mia, chat()))
        ask(library, "Hello?", id=f"again{number}")


def test_of_a_closed_question_the_desk_is_told(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    mia.received()
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    assert [NOT_REACHED] == [line for line in bodies(mia) if "delivered" in line]


def test_if_nobody_is_at_the_desk_whoever_comes_on_duty_is_told(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    mia.end()
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    noa = library.online(f"noa@{DOMAIN}/desk")
    library.enter(noa, "noa")
    assert NOT_REACHED in bodies(noa, f"ask@rooms.{DOMAIN}")


@pytest.mark.parametrize(
    "condition, why",
    [
        (Condition.POLICY_VIOLATION, "the server of that address refused it."),
        (Condition.ITEM_NOT_FOUND, "that address does not exist any more."),
    ],
)
def test_what_is_refused_for_good_is_not_tried_again(
    library: Library, home: Home, condition: Condition, why: str
) -> None:
    mia = claimed(library, home)
    home.refuses["Upstairs."] = condition
    write(mia, chat(), "Upstairs.", "a1")
    told = bodies(mia, chat())
    assert [f"* #1: the answer could not be delivered to the patron. Why: {why}"] == told
    tried = len(home.attempts)
    wait(library, DAY, HOUR)
    assert tried == len(home.attempts)
    write(mia, chat(), "Or there.", "a2")
    assert ["Or there."] == home.words()


def test_lines_of_the_queue_that_cannot_be_delivered_are_no_news(library: Library, home: Home) -> None:
    home.away = Condition.GONE
    mia = library.on_duty("mia")
    ask(library)
    mia.received()
    wait(library, DAY, HOUR)
    assert [] == [line for line in bodies(mia) if "delivered" in line]
    assert 0 == owing(library)


def test_a_new_owner_is_told_what_never_arrived(library: Library, home: Home) -> None:
    mia, noa = claimed(library, home), library.on_duty("noa")
    write(mia, chat(), "Upstairs.", "a1")
    send_back(library, "a1", "gone")
    write(mia, chat(), "!release")
    noa.received()
    write(noa, chat(), "!1")
    assert (
        "* #1: the answer could not be delivered to the patron. Why: that address does not exist any more."
        in (bodies(noa, chat()))
    )


# -- what the patron's server sends back -------------------------------------------


def test_an_answer_that_comes_back_is_told_to_the_librarian(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    write(mia, chat(), "Upstairs.", "a1")
    send_back(library, "a1", "service-unavailable")
    (told,) = bodies(mia, chat())
    assert "not while nobody is logged in" in told
    assert Relay.GIVEN_UP is relays(library)["Upstairs."]
    library.clock.advance(0)  # the store learns only now that it had been confirmed
    assert Relay.GIVEN_UP is relays(library)["Upstairs."]


def test_an_answer_without_an_id_is_known_too(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    write(mia, chat(), "Upstairs.")
    (answer,) = home.taken()
    send_back(library, answer.id, "gone")
    assert 1 == len(bodies(mia, chat()))


@pytest.mark.parametrize("id", ["", "c1", "ask-1-1", "ask-1-99", "ask-x-y", f"ask-{'9' * 30}-1"])
def test_what_is_no_answer_and_comes_back_is_no_news(library: Library, home: Home, id: str) -> None:
    """A chat state or a receipt (XEP-0085, 0184), or something that never was."""
    mia = claimed(library, home)
    mia.send(f"<message to='{chat()}' type='chat' id='c1'><composing xmlns='{ns.CHATSTATES}'/></message>")
    send_back(library, id, "gone")
    assert [] == bodies(mia)


def test_errors_of_strangers_are_no_news(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    write(mia, chat(), "Upstairs.", "a1")
    send_back(library, "a1", "gone", sender=f"eve@{HOME}")
    assert [] == bodies(mia)


def test_a_full_mailbox_is_tried_again(library: Library, home: Home) -> None:
    """Also if the server had confirmed that it has the message."""
    mia = claimed(library, home)
    write(mia, chat(), "Upstairs.", "a1")
    send_back(library, "a1", "resource-constraint", "wait")
    assert ["Upstairs."] == home.words()
    assert [KEPT] == bodies(mia, chat())
    wait(library, 2 * MINUTE)
    assert ["Upstairs."] == home.words()
    wait(library, DAY, HOUR)
    assert [] == home.words()


def test_what_comes_back_while_the_store_is_asked_is_not_forgotten(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    write(mia, chat(), "Answer 1.", "a1")
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Answer 2.", "a2")
    home.away = None
    home.taken()
    library.core.hooks.tell(RemoteReachable(HOME))
    with library.holding():
        send_back(library, "a1", "resource-constraint", "wait")
        library.clock.advance(owed.SOONEST_SECONDS)
    assert [] == home.words()
    wait(library, HOUR)
    assert ["Answer 1.", "Answer 2."] == home.words()
    assert {} == library.queue.owed._debts


def test_an_error_before_the_confirmation_counts(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.confirms = False
    write(mia, chat(), "Upstairs.", "a1")
    send_back(library, "a1", "resource-constraint", "wait")
    (stanza,) = home.unconfirmed
    stanza.settle(None)
    home.taken()
    wait(library, 2 * MINUTE)
    assert ["Upstairs."] == home.words()


# -- forgetting --------------------------------------------------------------------


def test_a_finished_question_is_not_forgotten_before_its_answer_has_arrived(
    library: Library, home: Home
) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    wait(library, 2 * DAY, 10 * MINUTE)
    home.back()
    assert 2 == len(home.taken())
    wait(library, HOUR, 10 * MINUTE)
    assert library.question().patron is None
    assert [] == library.said()


def test_after_the_last_attempt_it_is_forgotten(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    assert library.question().patron is None
    assert [] == library.said()
    assert 0 == owing(library)


def test_what_is_owed_goes_with_what_is_forgotten(library: Library, home: Home) -> None:
    """However it came that nobody has tried it in time."""
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    library.queue.stop()
    library.database.write_now(forget, library.core.now() + OWED_DAYS * DAY + 3 * HOUR)
    assert 0 == owing(library)
    assert [] == library.said()
    assert (set(), set()) == library.database.read_now(store.recipients, library.queue.record.id)


def test_what_is_owed_goes_with_the_queue(library: Library, home: Home) -> None:
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    write(mia, chat(), "!close 2")
    library.database.write_now(queues.remove, ASK)
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
    sms.stream = gateway = Gateway()
    library.core.hooks.tell(RemoteReachable(sms.domain))
    library.clock.pump([owed.SOONEST_SECONDS, 1])
    assert 1 == gateway.data.count(b"mia is with you now.")
    assert 1 == gateway.data.count(b"Upstairs.")
    library.clock.advance(0)
    assert 0 == owing(library)


# -- librarians elsewhere ----------------------------------------------------------

EVE = JID.parse(f"eve@{HOME}")


def hers(library: Library) -> Client:
    """A patron here whose question a librarian elsewhere has taken."""
    library.database.write_now(
        queues.put_librarian, library.queue.record.id, queues.Librarian(EVE, "eve", 3, "")
    )
    library.queue.librarians[EVE] = queues.Librarian(EVE, "eve", 3, "")
    pat = library.patron()
    write(pat, ASK.text, "Maps?", "m1")
    library.arrive(f"<message from='{EVE}/x' to='{chat()}' type='chat' id='e1'><body>Hello.</body></message>")
    pat.received()
    return pat


def test_a_librarian_elsewhere_gets_what_was_asked_and_it_is_confirmed(library: Library, home: Home) -> None:
    hers(library)
    first = home.taken()[0]
    assert ("m1", "Maps?") == (first.id, first.body)
    library.clock.advance(0)
    assert Relay.DONE is relays(library)["Maps?"]


def test_words_for_a_librarian_whose_server_is_away_come_later_and_once(library: Library, home: Home) -> None:
    pat = hers(library)
    home.taken()
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(pat, ASK.text, "The old ones.", "m2")
    write(pat, ASK.text, "Of the town.", "m3")
    again, after = restarted(library, Condition.REMOTE_SERVER_TIMEOUT)
    wait(again, HOUR)
    after.back()
    sent = after.taken()
    assert [("m2", "The old ones."), ("m3", "Of the town.")] == [(s.id, s.body) for s in sent]
    assert "" not in delays(sent)
    wait(again, DAY, HOUR)
    assert [] == after.words()


def test_a_librarian_who_is_offline_keeps_her_question(library: Library, home: Home) -> None:
    """Her server has no place for messages: she gets them when she is back, as one with an account here."""
    pat = hers(library)
    home.taken()
    write(pat, ASK.text, "The old ones.", "m2")
    error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"
    library.arrive(f"<message from='{EVE}' to='{chat()}/queue' type='error' id='m2'>{error}</message>")
    assert EVE == library.question().owner
    home.taken()
    wait(library, 2 * MINUTE)
    assert ["The old ones."] == home.words()


def test_a_librarian_who_is_away_for_days_loses_the_question_and_the_next_gets_the_words(
    library: Library, home: Home
) -> None:
    pat = hers(library)
    home.taken()
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(pat, ASK.text, "The old ones.", "m2")
    pat.received()
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    assert library.question().owner is None
    assert "Another librarian will be with you as soon as possible." in bodies(pat)
    mia = library.on_duty("mia")
    write(mia, chat(), "!1")
    words = [s for s in messages(mia, chat()) if s.id == "m2"]
    assert ["The old ones."] == [s.body for s in words]
    library.clock.advance(0)
    assert Relay.DONE is relays(library)["The old ones."]


def test_last_words_for_a_librarian_who_has_closed_the_question_are_told_to_the_desk(
    library: Library, home: Home
) -> None:
    pat = hers(library)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(pat, ASK.text, "Thanks!", "m2")
    library.arrive(
        f"<message from='{EVE}/x' to='{chat()}' type='chat' id='e2'><body>!close 2</body></message>"
    )
    mia = library.on_duty("mia")
    home.away = Condition.ITEM_NOT_FOUND
    library.clock.pump([owed.SOONEST_SECONDS, 1])
    assert (
        "#1: what the patron wrote could not be delivered to eve. Why: that address does not exist any more."
        in bodies(mia)
    )
    assert "closed" == library.question().state
    assert Relay.GIVEN_UP is relays(library)["Thanks!"]
