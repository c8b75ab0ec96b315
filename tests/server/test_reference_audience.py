"""The queue's presence, brought to many: once to each, and to other servers no faster than they take it."""

from __future__ import annotations

from refserver import ns
from refserver.core.hooks import RemoteReachable
from refserver.errors import Condition, StanzaError
from refserver.reference.queue_presence import BATCH, PATIENCE_SECONDS
from refserver.stanza import Stanza
from tests.server.library import ASK, Library

AWAY = StanzaError(Condition.REMOTE_SERVER_TIMEOUT)


def subscribe(library: Library, many: int, domain: str) -> None:
    """Patrons of another server; they see at once that nobody is there."""
    for number in range(many):
        library.arrive(f"<presence from='pat{number}@{domain}' to='{ASK}' type='subscribe'/>")
    library.clock.pump([1, 9])
    library.elsewhere.received()


def text(presence: Stanza) -> str:
    return presence.element.findtext(f"{{{ns.CLIENT}}}status") or ""


def change(library: Library, *nicks: str) -> list[Stanza]:
    """Librarians come: what is sent to other servers at once."""
    for nick in nicks:
        library.on_duty(nick)
    library.clock.advance(5)
    return library.elsewhere.received()


def confirm(library: Library, sent: list[Stanza], error: StanzaError | None = None) -> list[Stanza]:
    """The other server has confirmed it, or cannot be reached: what is sent then."""
    for stanza in sent:
        stanza.settle(error)
    library.clock.advance(0)
    return library.elsewhere.received()


def test_a_new_subscriber_is_told_once(library: Library) -> None:
    library.on_duty("mia")  # a push is due in a second
    library.arrive(f"<presence from='pat@a.example' to='{ASK}' type='subscribe'/>")
    assert [text(stanza) for stanza in library.elsewhere.received()] == ["", "1 librarian, no wait"]
    library.clock.pump([1, 9])
    assert library.elsewhere.received() == []


def test_a_subscriber_who_came_during_a_flicker_is_put_right(library: Library) -> None:
    library.clock.pump([1, 9])
    mia = library.on_duty("mia")
    library.arrive(f"<presence from='pat@a.example' to='{ASK}' type='subscribe'/>")
    library.elsewhere.received()
    mia.end()
    library.clock.pump([1, 9])
    (put_right,) = library.elsewhere.received()
    assert text(put_right) == "Nobody at the desk, leave a message"


def test_thousands_on_one_server_are_told_in_batches_as_it_confirms_them(library: Library) -> None:
    subscribe(library, 2 * BATCH + 1, "a.example")
    first = change(library, "mia")
    assert len(first) == BATCH
    second = confirm(library, first)
    third = confirm(library, second)
    assert [len(second), len(third)] == [BATCH, 1]
    assert confirm(library, third) == []
    assert len({stanza.to for stanza in first + second + third}) == 2 * BATCH + 1


def test_what_has_changed_meanwhile_is_told_only_as_it_is_now(library: Library) -> None:
    subscribe(library, BATCH + 1, "a.example")
    first = change(library, "mia")
    assert change(library, "noa") == [], "the first batch is still under way"
    second = confirm(library, first)
    third = confirm(library, second)
    assert {text(stanza) for stanza in second + third} == {"2 librarians, no wait"}
    assert len(second + third) == BATCH + 1
    assert str(second[0].to) == "pat0@a.example"


def test_a_server_that_does_not_answer_holds_up_nobody_else(library: Library) -> None:
    subscribe(library, BATCH + 1, "a.example")
    subscribe(library, 2, "b.example")
    first = change(library, "mia")
    there = [stanza for stanza in first if stanza.to is not None and stanza.to.domainpart == "b.example"]
    confirm(library, there)
    assert [str(stanza.to) for stanza in change(library, "noa")] == ["pat0@b.example", "pat1@b.example"]


def test_a_server_that_never_answers_is_told_again_after_a_while(library: Library) -> None:
    subscribe(library, BATCH + 1, "a.example")
    assert len(change(library, "mia")) == BATCH
    library.clock.advance(PATIENCE_SECONDS)
    assert len(change(library, "noa")) == BATCH


def test_a_server_that_is_away_costs_one_batch_and_is_told_when_it_is_back(library: Library) -> None:
    subscribe(library, BATCH + 1, "a.example")
    first = change(library, "mia")
    assert confirm(library, first, AWAY) == []
    library.core.hooks.tell(RemoteReachable("a.example"))
    again = library.elsewhere.received()
    assert [stanza.to for stanza in again] == [stanza.to for stanza in first]
    assert len(confirm(library, again)) == 1


def test_who_has_unsubscribed_meanwhile_is_told_nothing(library: Library) -> None:
    subscribe(library, BATCH + 1, "a.example")
    first = change(library, "mia")
    library.arrive(f"<presence from='pat{BATCH}@a.example' to='{ASK}' type='unsubscribe'/>")
    library.elsewhere.received()
    assert confirm(library, first) == []


def test_the_end_of_a_queue_is_seen_everywhere(library: Library) -> None:
    subscribe(library, 2, "a.example")
    library.queue.presence.leave()
    assert [stanza.type for stanza in library.elsewhere.received()] == ["unavailable", "unavailable"]
    assert len(library.queue.presence.subscribers) == 0
