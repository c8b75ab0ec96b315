"""What was handed to another server: asked for, confirmed, sent again, given back."""

from __future__ import annotations

import gc
import weakref

import pytest

from refserver.core.outbox import MOST_BYTES_TOGETHER
from refserver.errors import Cause, Condition, StreamCondition, StreamError
from refserver.jid import JID
from refserver.s2s import outbound_queue as backlog_module
from refserver.s2s.acknowledgement import ASK_SECONDS, CONFIRM_SECONDS, PING_SECONDS
from refserver.s2s.outbound_queue import ATTEMPT_SECONDS
from refserver.stanza import Stanza, Tracked
from tests.unit.outbound_queue_bench import HERE, MIA, NOT_FOUND, PAT, THERE, Bench, Stream

LIMIT = int(CONFIRM_SECONDS)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def opened(bench: Bench, managed: bool | None = True) -> Stream:
    """A stream of which everything is confirmed; there are no answers to earlier pings."""
    bench.send("0")
    stream = bench.open(Stream(managed=managed))
    stream.confirm()
    stream.asked.clear()
    stream.sent.clear()
    bench.clock.advance(max(ASK_SECONDS, PING_SECONDS))
    return stream


def conditions(told: list[object]) -> list[object]:
    return [error and error.condition for error in told]  # type: ignore[attr-defined]  # None or a StanzaError


# -- asking (XEP-0198) -------------------------------------------------------------


def test_the_other_server_is_asked_behind_the_first_stanza(bench):
    stream = opened(bench)
    bench.send("1")
    assert [1] == stream.asked


def test_there_is_one_question_at_a_time(bench):
    stream = opened(bench)
    for id in ("1", "2", "3"):
        bench.send(id)
    bench.clock.advance(5)
    assert [1] == stream.asked
    stream.confirm(1)
    assert [1, 3] == stream.asked


def test_questions_are_not_asked_too_often(bench):
    stream = opened(bench)
    for number in range(20):
        bench.send(str(number))
        stream.confirm()
    assert 1 == len(stream.asked)
    bench.send("last")
    assert 1 == len(stream.asked)
    bench.clock.advance(ASK_SECONDS)
    assert 2 == len(stream.asked), "but what came last is asked about in the end"


def test_nothing_is_asked_where_nothing_is_open(bench):
    stream = opened(bench)
    bench.send("1")
    bench.send("2")
    stream.confirm()
    bench.clock.advance(5)
    assert [1] == stream.asked
    assert not bench.clock.getDelayedCalls()


def test_much_that_is_open_is_asked_about_at_once(bench):
    small_window(bench, 10)
    stream = opened(bench)
    bench.send("1")
    stream.confirm()
    for number in range(6):
        bench.send(str(number))
    assert [1, 6] == stream.asked


def test_who_tracks_a_message_is_told_when_it_is_confirmed(bench):
    stream = opened(bench)
    first, second = bench.track("1"), bench.track("2")
    stream.confirm(1)
    assert ([None], []) == (first, second)
    stream.confirm(2)
    assert [None] == second


def test_while_it_is_open_whether_the_peer_confirms_nothing_is_asked(bench):
    stream = opened(bench, managed=None)
    bench.send("1")
    assert ([], []) == (stream.asked, stream.pings)
    stream.decide(True)
    assert ([1], []) == (stream.asked, stream.pings)


def test_a_peer_that_will_not_confirm_is_pinged_instead(bench):
    stream = opened(bench, managed=None)
    bench.send("1")
    stream.decide(False)
    assert 1 == len(stream.pings)


# -- streams that end ----------------------------------------------------------------


def test_what_is_not_confirmed_goes_out_on_the_next_stream_in_order_and_first(bench):
    stream = opened(bench)
    for id in ("1", "2", "3"):
        bench.send(id)
    stream.confirm(1)
    stream.end()
    assert 2 == len(bench.attempts), "nobody needs to send anything for that"
    bench.send("4")
    assert ["2", "3", "4"] == bench.open().ids
    assert [] == bench.returned


def test_what_cannot_be_sent_again_comes_back_in_order(bench):
    stream = opened(bench)
    bench.send("1")
    bench.send("2")
    told = bench.track("3")
    stream.end()
    bench.send("4")
    bench.fail(NOT_FOUND)
    assert ["1", "2", "4"] == [id for id, _ in bench.errors()]
    assert {"remote-server-not-found"} == {condition for _, condition in bench.errors()}
    assert [Condition.REMOTE_SERVER_NOT_FOUND] == conditions(told)


def test_what_ends_two_streams_is_not_tried_on_a_third(bench):
    stream = opened(bench)
    bench.send("1")
    told = bench.track("2")
    stream.end()
    second = bench.open()
    bench.send("3")
    second.end()
    assert [("1", "remote-server-timeout")] == bench.errors()
    assert [Condition.REMOTE_SERVER_TIMEOUT] == conditions(told)
    third = bench.open()
    assert ["3"] == third.ids
    third.end()
    assert 3 == len(bench.attempts), "nothing is left to be sent"


def test_a_confirmation_on_the_second_stream_settles(bench):
    stream = opened(bench)
    told = bench.track("1")
    stream.end()
    second = bench.open()
    assert [] == told
    second.confirm()
    assert [None] == told
    assert 0 == bench.status().returned


def test_a_late_confirmation_by_a_stream_that_is_over_counts_nothing(bench):
    stream = opened(bench)
    told = bench.track("1")
    (queue,) = bench.pool
    stream.end()
    queue.confirmed(stream, 1)
    queue.managed(stream)
    queue.ended(stream, "again")
    assert [] == told
    assert ["1"] == bench.open().ids


def test_old_presence_is_not_sent_again(bench):
    stream = opened(bench)
    bench.presence("old")
    bench.presence("new")
    stream.end()
    assert ["new"] == bench.open().ids


def test_who_sends_again_on_an_error_does_not_get_in_front(bench):
    stream = opened(bench)
    bench.send("1")
    stream.end()
    second = bench.open()
    bench.send("2")
    bench.router.accounts.deliver = lambda stanza: bench.send("again")
    second.end()
    assert ["2", "again"] == bench.open().ids


def test_when_the_server_stops_what_is_open_is_told_to_who_tracks_it_only(bench):
    opened(bench)
    told = bench.track("1")
    bench.send("2")
    bench.pool.close_all(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
    assert [Condition.REMOTE_SERVER_TIMEOUT] == conditions(told)
    assert [] == bench.returned
    assert not bench.clock.getDelayedCalls()


def test_a_stream_with_something_open_is_not_idle(bench):
    stream = opened(bench)
    bench.send("1")
    bench.clock.advance(10_000)
    bench.pool.close_idle()
    assert [] == stream.closed_with


def test_a_tracked_stanza_is_settled_at_once_while_nobody_tries(bench):
    bench.send("1")
    bench.fail(NOT_FOUND)
    assert [Condition.REMOTE_SERVER_NOT_FOUND] == conditions(bench.track("2"))
    assert 1 == len(bench.attempts)


# -- bounds ---------------------------------------------------------------------------


def small_window(bench: Bench, most: int) -> None:
    queue = bench.pool._new_queue((HERE, THERE))
    assert queue is not None
    queue._acknowledgements.window._most_stanzas = most


def test_more_than_the_window_holds_waits_for_confirmation(bench):
    small_window(bench, 4)
    stream = opened(bench)
    for id in ("1", "2", "3", "4", "5", "6"):
        bench.send(id)
    assert ["1", "2", "3", "4"] == stream.ids
    stream.confirm(2)
    assert ["1", "2", "3", "4", "5", "6"] == stream.ids
    assert [] == bench.returned


def test_what_comes_while_something_waits_goes_behind_it(bench):
    small_window(bench, 1)
    stream = opened(bench)
    for id in ("1", "2", "3"):
        bench.send(id)
    bench.presence("4")
    stream.confirm(1)
    stream.confirm(2)
    stream.confirm(3)
    assert ["1", "2", "3", "4"] == stream.ids


def test_who_reacts_to_what_comes_back_does_not_overtake_what_waits(bench):
    bench.router.accounts.deliver = lambda stanza: bench.send("reaction")
    bench.send("1", body="x" * 2_000)
    bench.send("2")
    assert ["2", "reaction"] == bench.open(Stream(most=1_000)).ids


def test_what_waits_for_room_goes_behind_what_is_sent_again(bench):
    small_window(bench, 2)
    stream = opened(bench)
    for id in ("1", "2", "3"):
        bench.send(id)
    stream.end()
    second = bench.open()
    second.confirm(1)
    assert ["1", "2", "3"] == second.ids


def test_a_peer_that_confirms_nothing_costs_bounded_memory_and_nothing_is_lost(bench):
    small_window(bench, 50)
    opened(bench)
    for number in range(3_000):
        bench.send(str(number))
    assert 3_000 - 50 - backlog_module.MOST_WAITING == len(bench.returned)
    assert {"resource-constraint"} == {condition for _, condition in bench.errors()}
    bench.returned.clear()
    bench.look(LIMIT)
    bench.look(ATTEMPT_SECONDS + 1)
    assert [str(number) for number in range(1_050)] == [id for id, _ in bench.errors()]
    assert bench.pool.budget.left == MOST_BYTES_TOGETHER


def test_presence_does_not_fill_the_window(bench):
    small_window(bench, 10)
    stream = opened(bench)
    for number in range(100):
        bench.presence(str(number), to=JID.parse(f"pat{number}@{THERE}"))
    bench.send("words")
    assert 101 == len(stream.ids)
    stream.end()
    assert [str(number) for number in range(5)] + ["words"] == bench.open().ids


def test_without_budget_a_stanza_is_sent_but_comes_back_when_the_stream_ends(bench):
    stream = opened(bench)
    bench.pool.budget.left = 0
    bench.send("1")
    assert ["1"] == stream.ids
    stream.end()
    assert [("1", "remote-server-timeout")] == bench.errors()


def test_what_was_sent_is_kept_without_its_tree(bench):
    opened(bench)
    stanza = Stanza.message(PAT, JID.parse(f"mia@{HERE}"), id="1", body="private")
    body = weakref.ref(stanza.element[0])
    bench.router.route(stanza)
    del stanza
    gc.collect()
    assert body() is None


# -- peers that are gone ---------------------------------------------------------------


@pytest.mark.parametrize("managed", [True, None])
def test_a_peer_that_confirms_no_more_is_left_and_its_stream_replaced(bench, managed):
    stream = opened(bench, managed)
    bench.send("1")
    bench.look(LIMIT - 1)
    assert [] == stream.closed_with
    bench.look(2)
    (error,) = stream.closed_with
    assert error is not None
    assert StreamCondition.CONNECTION_TIMEOUT is error.condition
    assert Cause.NOTHING_ACKNOWLEDGED is bench.status().last_error.cause
    assert ["1"] == bench.open().ids
    assert 1 == bench.status().outgoing


def test_who_confirms_a_little_is_waited_for(bench):
    stream = opened(bench)
    bench.send("1")
    bench.send("2")
    bench.look(LIMIT - 1)
    stream.confirm(1)
    bench.look(LIMIT - 1)
    assert [] == stream.closed_with
    bench.look(2)
    assert 1 == len(stream.closed_with)


def test_answering_without_confirming_is_not_enough(bench):
    stream = opened(bench)
    bench.send("1")
    for _ in range(LIMIT + 1):
        bench.look(1)
        stream.confirm(0)
    assert 1 == len(stream.closed_with)


def test_as_long_as_bytes_get_through_a_slow_peer_is_waited_for(bench):
    stream = opened(bench)
    bench.send("1")
    stream.unsent = 10_000
    for _ in range(LIMIT * 2):
        stream.unsent -= 10
        bench.look(1)
    assert [] == stream.closed_with
    bench.look(LIMIT + 1)
    assert 1 == len(stream.closed_with)


def test_much_may_take_a_slow_reader_longer(bench):
    stream = opened(bench)
    for number in range(4):
        bench.send(str(number), body="x" * 160_000)
    bench.look(LIMIT + 39)
    assert [] == stream.closed_with
    bench.look(3)
    assert 1 == len(stream.closed_with)


def test_time_without_anything_open_does_not_count(bench):
    stream = opened(bench)
    bench.look(LIMIT * 3)
    bench.send("1")
    bench.look(LIMIT - 1)
    assert [] == stream.closed_with


# -- pings (XEP-0199) --------------------------------------------------------------------


def test_a_message_is_followed_by_a_ping_to_the_other_domain(bench):
    stream = opened(bench, managed=False)
    bench.send("1")
    assert ["1"] == stream.ids
    (ping,) = stream.sent[1:]
    for part in (f"from='{HERE}'", f"to='{THERE}'", "type='get'", "urn:xmpp:ping"):
        assert part in ping.decode().replace('"', "'")


@pytest.mark.parametrize("type", ["result", "error"])
def test_any_answer_confirms_what_came_before_the_ping(bench, type):
    stream = opened(bench, managed=False)
    first = bench.track("1")
    second = bench.track("2")
    assert bench.answer(stream.pings[0], type=type)
    assert ([None], []) == (first, second)
    bench.clock.advance(PING_SECONDS)
    assert 2 == len(stream.pings)
    assert bench.answer(stream.pings[1])
    assert [None] == second


def test_one_ping_is_open_at_a_time(bench):
    stream = opened(bench, managed=False)
    for id in ("1", "2", "3"):
        bench.send(id)
    bench.clock.advance(PING_SECONDS * 3)
    assert 1 == len(stream.pings)


def test_presence_and_queries_alone_are_not_worth_a_ping(bench):
    stream = opened(bench, managed=False)
    bench.presence("1")
    bench.router.route(Stanza.iq("get", PAT, JID.parse(f"mia@{HERE}/desk"), "2"))
    bench.send("3", type="error")
    assert [] == stream.pings
    stream.end()
    assert 1 == len(bench.attempts), "and they are not sent again"


def test_what_is_tracked_is_confirmed_whatever_it_is(bench):
    stream = opened(bench, managed=False)
    told = bench.track("1", type="error")
    assert bench.answer(stream.pings[0])
    assert [None] == told


@pytest.mark.parametrize(
    ("from_", "to", "type"),
    [
        ("elsewhere.example", HERE, "result"),
        (f"pat@{THERE}", HERE, "result"),
        (f"{THERE}/x", HERE, "result"),
        (THERE, f"ask@{HERE}", "result"),
        (THERE, "other.example", "result"),
        (THERE, HERE, "get"),
    ],
)
def test_an_answer_from_or_to_somebody_else_has_no_effect(bench, from_, to, type):
    stream = opened(bench, managed=False)
    told = bench.track("1")
    assert not bench.answer(stream.pings[0], from_, to, type)
    assert [] == told
    assert bench.answer(stream.pings[0])


def test_another_id_and_a_second_answer_have_no_effect(bench):
    stream = opened(bench, managed=False)
    bench.send("1")
    assert not bench.answer("guessed")
    assert bench.answer(stream.pings[0])
    assert not bench.answer(stream.pings[0])


def test_an_answer_to_the_ping_of_a_stream_that_is_over_has_no_effect(bench):
    stream = opened(bench, managed=False)
    told = bench.track("1")
    stream.end()
    second = bench.open(Stream(managed=False))
    assert not bench.answer(stream.pings[0])
    assert [] == told
    assert bench.answer(second.pings[0])
    assert [None] == told


def test_who_has_answered_before_and_does_so_no_more_is_dead(bench):
    stream = opened(bench, managed=False)
    bench.send("1")
    bench.answer(stream.pings[0])
    bench.clock.advance(PING_SECONDS)
    bench.send("2")
    bench.look(LIMIT + 1)
    assert 1 == len(stream.closed_with)
    assert ["2"] == bench.open(Stream(managed=False)).ids


def test_who_never_answers_is_asked_no_more_and_believed_what_its_machine_has_taken(bench):
    stream = opened(bench, managed=False)
    told = bench.track("1")
    bench.look(LIMIT - 1)
    assert [] == told
    bench.look(2)
    assert [None] == told
    later = bench.track("2")
    bench.look(2)
    assert [] == later
    bench.look(5)
    assert [None] == later
    assert 1 == len(stream.pings)
    assert [] == stream.closed_with


def test_who_never_answers_and_takes_no_bytes_is_dead(bench):
    stream = opened(bench, managed=False)
    told = bench.track("1")
    stream.unsent = 100
    bench.look(LIMIT + 1)
    assert 1 == len(stream.closed_with)
    assert [] == told
    assert ["1"] == bench.open(Stream(managed=False)).ids


def test_a_silent_peer_that_takes_no_bytes_any_more_is_dead(bench):
    stream = opened(bench, managed=False)
    bench.send("1")
    bench.look(LIMIT + 1)
    stream.unsent = 100
    told = bench.track("2")
    bench.look(LIMIT + 1)
    assert 1 == len(stream.closed_with)
    assert [] == told


def test_a_peer_that_takes_no_stanza_as_large_as_a_ping_is_believed_as_a_silent_one(bench):
    stream = opened(bench, managed=False)
    bench.send("1")
    bench.answer(stream.pings[0])
    bench.clock.advance(PING_SECONDS)
    stream.most = len(stream.sent[1]) - 1
    told: list[object] = []
    bench.router.route(Tracked(Stanza.message(PAT, MIA, type="", id="2"), told.append))
    assert (["1", "2"], 1) == (stream.ids, len(stream.pings))
    bench.look(6)
    assert [None] == told


def test_on_the_next_stream_a_silent_peer_is_asked_again(bench):
    stream = opened(bench, managed=False)
    bench.send("1")
    bench.look(LIMIT + 1)
    stream.end()
    bench.send("2")
    assert 1 == len(bench.open(Stream(managed=False)).pings)


# -- streams of the peer's (XEP-0288) ------------------------------------------------------


def carried(bench: Bench, managed: bool = True) -> Stream:
    bidi_link = Stream(managed=managed)
    bench.pool.add_bidi_link((HERE, THERE), bidi_link)
    return bidi_link


def test_what_a_peers_stream_did_not_confirm_goes_out_on_ours(bench):
    bidi_link = carried(bench)
    told = bench.track("1")
    bench.send("2")
    bidi_link.confirm(1)
    assert [None] == told
    bidi_link.end()
    assert ["2"] == bench.open().ids


def test_another_stream_of_the_peers_serves_as_well(bench):
    bidi_link = carried(bench)
    bench.send("1")
    second = carried(bench)
    bidi_link.end()
    bench.send("2")
    assert ["1", "2"] == second.ids
    assert [] == bench.attempts


def test_a_peers_stream_without_management_is_confirmed_by_pings_until_it_has_it(bench):
    bidi_link = carried(bench, managed=False)
    bench.send("1")
    assert 1 == len(bidi_link.pings)
    bench.answer(bidi_link.pings[0])
    bench.clock.advance(max(ASK_SECONDS, PING_SECONDS))
    bidi_link.decide(True)
    bench.send("2")
    assert 1 == len(bidi_link.pings)
    assert [3] == bidi_link.asked


def test_a_peers_stream_that_confirms_nothing_is_ended(bench):
    bidi_link = carried(bench)
    bench.send("1")
    bench.look(LIMIT + 1)
    assert 1 == len(bidi_link.closed_with)
    assert ["1"] == bench.open().ids
