"""What could not be delivered to another server: who is told of it, and when it is forgotten."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.core.hooks import RemoteReachable
from refserver.errors import Condition
from refserver.reference import outbox
from refserver.reference.privacy import forget_due
from refserver.storage import conversations, queues
from refserver.storage import outbox as store
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
    owing,
    relays,
    send_back,
    wait,
)
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, write

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
    mia = answered_in_vain(library, home, closing="!close 2")
    mia.received()
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    assert [NOT_REACHED] == [line for line in bodies(mia) if "delivered" in line]


def test_if_nobody_is_at_the_desk_whoever_comes_on_duty_is_told(library: Library, home: Home) -> None:
    mia = answered_in_vain(library, home, closing="!close 2")
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


def test_the_owner_is_told_that_the_patrons_account_here_is_gone(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Maps?")
    write(mia, chat(), "Hello.")
    pat.end()
    library.clock.advance(0)
    mia.received()
    library.remove_account(pat.jid.bare.text)
    told = mia.told()
    assert f"message from {chat()}/queue: * #1: the patron has left the line." in told
    assert f"push {chat()} remove" in told
    write(mia, chat(), "Upstairs.", "a1")
    (refused,) = bodies(mia, chat())
    assert "What you wrote was not delivered." in refused
    library.clock.advance(0)
    assert {} == library.queue.outbox._recipients


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
    library.database.write_now(conversations.confirm, library.queue.profile.id, PAT, "a2")
    library.core.hooks.tell(RemoteReachable(HOME))
    with library.holding():
        send_back(library, "a1", "resource-constraint", "wait")
        library.clock.advance(outbox.SOONEST_SECONDS)
    assert [] == home.words()
    wait(library, HOUR)
    assert ["Answer 1."] == home.words()
    assert {} == library.queue.outbox._recipients


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
    answered_in_vain(library, home, closing="!close 2")
    wait(library, 2 * DAY, 10 * MINUTE)
    home.back()
    assert 2 == len(home.taken())
    wait(library, HOUR, 10 * MINUTE)
    assert library.question().patron is None
    assert [] == library.said()


def test_after_the_last_attempt_it_is_forgotten(library: Library, home: Home) -> None:
    answered_in_vain(library, home, closing="!close 2")
    wait(library, OWED_DAYS * DAY + 2 * HOUR, 10 * MINUTE)
    assert library.question().patron is None
    assert [] == library.said()
    assert 0 == owing(library)


def test_what_is_owed_goes_with_what_is_forgotten(library: Library, home: Home) -> None:
    """However it came that nobody has tried it in time."""
    answered_in_vain(library, home, closing="!close 2")
    library.queue.stop()
    library.database.write_now(forget_due, library.core.now() + OWED_DAYS * DAY + 3 * HOUR)
    assert 0 == owing(library)
    assert [] == library.said()
    assert (set(), set()) == library.database.read_now(store.recipients, library.queue.profile.id)


def test_what_is_owed_goes_with_the_queue(library: Library, home: Home) -> None:
    answered_in_vain(library, home, closing="!close 2")
    library.database.write_now(queues.remove, ASK)
    assert 0 == owing(library)
