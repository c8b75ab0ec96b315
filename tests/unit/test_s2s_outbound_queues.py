"""The ways to other servers: waiting, sending, giving back, trying again."""

from __future__ import annotations

import pytest
from twisted.python.failure import Failure

from refserver.errors import Cause, Condition, StreamCondition, StreamError, StreamFault
from refserver.jid import JID
from refserver.s2s import outbound_queue as pool_module
from refserver.s2s.attempts import MOST_OF_ACCOUNTS, MOST_OF_ONE_ACCOUNT, MOST_TO_ONE_SITE
from refserver.s2s.outbound_queue import ATTEMPT_SECONDS, IDLE_SECONDS, LONGEST_PAUSE
from refserver.s2s.outgoing import Unreachable
from tests.unit.outbound_queue_bench import HERE, MIA, NOT_FOUND, PAT, THERE, TIMEOUT, Bench, Stream


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_stanzas_wait_for_the_stream_and_leave_in_order(bench):
    for id in ("1", "2", "3"):
        bench.send(id)
    assert 1 == len(bench.attempts), "one attempt for all of them"
    stream = bench.open()
    bench.send("4")
    assert ["1", "2", "3", "4"] == stream.ids
    assert [] == bench.returned
    assert 4 == bench.status().sent


def test_each_pair_of_domains_has_a_stream_of_its_own(bench):
    bench.send("1")
    bench.send("2", from_=JID.parse("mia@other.example"))
    bench.send("3", to=JID.parse("pat@elsewhere.example"))
    assert 3 == len(bench.attempts)


def test_where_there_is_no_server_stanzas_come_back_at_once(bench):
    bench.send("1")
    bench.send("2")
    bench.fail(NOT_FOUND)
    assert [("1", "remote-server-not-found"), ("2", "remote-server-not-found")] == bench.errors()
    assert (MIA, PAT) == (bench.returned[0].to, bench.returned[0].from_)


def test_a_server_that_restarts_is_tried_again_before_anything_comes_back(bench):
    bench.send("1")
    bench.fail(TIMEOUT)
    assert [] == bench.returned
    bench.advance(1)
    assert 2 == len(bench.attempts)
    assert ["1"] == bench.open().ids


def test_what_waited_too_long_comes_back(bench):
    bench.send("1")
    bench.advance(ATTEMPT_SECONDS + 1)
    assert [("1", "remote-server-timeout")] == bench.errors()
    assert not bench.clock.getDelayedCalls()


def test_the_pauses_between_tries_grow_and_end_with_the_deadline(bench):
    bench.send("1")
    while not bench.returned:
        bench.fail(TIMEOUT)
        before = len(bench.attempts)
        while len(bench.attempts) == before and not bench.returned:
            bench.advance(0.1)
    assert 4 <= len(bench.attempts) <= 8
    assert [("1", "remote-server-timeout")] == bench.errors()
    assert StreamFault(Cause.CONNECTION_REFUSED) == bench.status().last_error


def test_after_a_failure_nobody_waits_until_the_pause_is_over(bench):
    bench.send("1")
    bench.fail(NOT_FOUND)
    bench.send("2")
    assert 1 == len(bench.attempts)
    assert [("1", "remote-server-not-found"), ("2", "remote-server-not-found")] == bench.errors()
    bench.advance(6)
    bench.send("3")
    assert 2 == len(bench.attempts)


def test_the_pause_doubles_up_to_a_minute(bench):
    for pause in (5, 10, 20, 40, LONGEST_PAUSE, LONGEST_PAUSE):
        bench.send("1")
        bench.fail(NOT_FOUND)
        tried = len(bench.attempts)
        bench.advance(pause - 1)
        bench.send("1")
        assert tried == len(bench.attempts), pause
        bench.advance(2)
    bench.send("1")
    assert tried + 1 == len(bench.attempts)


def test_a_success_forgets_the_failures(bench):
    bench.send("1")
    bench.fail(NOT_FOUND)
    bench.advance(6)
    bench.send("2")
    bench.open().close()
    bench.send("3")
    bench.fail(NOT_FOUND)
    bench.advance(6)
    bench.send("4")
    assert 4 == len(bench.attempts)


def test_a_sign_of_life_ends_the_pause(bench):
    bench.send("1")
    bench.fail(NOT_FOUND)
    bench.pool.heard_from("there.example")
    bench.send("2")
    assert 2 == len(bench.attempts)


def test_a_sign_of_life_ends_the_pause_between_two_tries(bench):
    bench.send("1")
    for _ in range(4):
        bench.fail(TIMEOUT)
        bench.pool.heard_from("there.example")
        bench.clock.advance(0)
    assert 5 == len(bench.attempts)
    bench.pool.heard_from("there.example")
    bench.clock.advance(0)
    assert 5 == len(bench.attempts), "it is being tried"
    assert ["1"] == bench.open().ids
    assert not bench.clock.getDelayedCalls()


def test_a_black_hole_costs_bounded_memory_and_every_stanza_gets_an_error(bench):
    for number in range(10_000):
        bench.send(str(number))
    refused = bench.errors()
    assert 9_000 == len(refused)
    assert {"resource-constraint"} == {condition for _, condition in refused}
    bench.advance(ATTEMPT_SECONDS + 1)
    rest = bench.errors()[9_000:]
    assert [(str(number), "remote-server-timeout") for number in range(1_000)] == rest


def test_large_stanzas_fill_the_backlog_by_their_size(bench):
    for number in range(30):
        bench.send(str(number), body="x" * 100_000)
    assert 10 == len(bench.returned)


def test_an_undeliverable_error_is_dropped(bench):
    bench.send("1", type="error")
    bench.fail(NOT_FOUND)
    bench.send("2", type="error")
    assert [] == bench.returned


def test_what_is_not_from_a_domain_of_ours_is_not_passed_on(bench):
    bench.send("1", from_=JID.parse("eve@elsewhere.example"))
    assert [] == bench.attempts
    assert [] == bench.returned


def test_a_stream_that_broke_is_made_anew_at_once(bench):
    bench.send("1")
    stream = bench.open()
    stream.confirm()
    stream.end()
    bench.send("2")
    assert 2 == len(bench.attempts)
    assert ["2"] == bench.open().ids
    assert 1 == bench.status().outgoing


def test_a_dying_stream_takes_nothing_more(bench):
    bench.send("1")
    bench.open().usable = False  # aborted, but not told yet
    bench.send("2")
    assert ["1", "2"] == bench.open().ids, "what it may not have taken comes first"


def test_a_stanza_too_large_for_the_peer_comes_back(bench):
    bench.send("1", body="x" * 2_000)
    bench.send("2")
    stream = bench.open(Stream(most=1_000))
    bench.send("3", body="x" * 2_000)
    assert ["2"] == stream.ids
    assert [("1", "policy-violation"), ("3", "policy-violation")] == bench.errors()


def test_idle_streams_are_closed_and_busy_ones_are_not(bench):
    bench.send("1")
    stream = bench.open()
    stream.confirm()
    bench.clock.advance(IDLE_SECONDS - 1)
    bench.pool.close_idle()
    assert stream.usable
    bench.clock.advance(2)
    bench.pool.close_idle()
    assert [None] == stream.closed_with
    assert 0 == bench.status().outgoing


def test_at_the_end_streams_are_closed_and_what_waits_comes_back(bench):
    bench.send("1")
    stream = bench.open()
    bench.send("2", to=JID.parse("pat@elsewhere.example"))
    bench.pool.close_all(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
    assert StreamCondition.SYSTEM_SHUTDOWN is stream.closed_with[0].condition
    assert [("2", "remote-server-timeout")] == bench.errors()
    assert not bench.clock.getDelayedCalls()


def test_queues_and_attempts_are_bounded(bench, monkeypatch):
    monkeypatch.setattr(pool_module, "MOST_QUEUES", 3)
    bench.pool.attempts._accounts.total = 2
    for number, sender in enumerate("abcd"):
        bench.send(str(number), JID.parse(f"pat@d{number}.example"), JID.parse(f"{sender}@{HERE}"))
    assert 2 == len(bench.attempts)
    assert [("2", "resource-constraint"), ("3", "resource-constraint")] == bench.errors()
    assert 3 == len(list(bench.pool))


def test_who_writes_to_many_servers_that_do_not_answer_keeps_nobody_else_from_his(bench):
    bench.pool.attempts._accounts.each = 2
    holes = [JID.parse(f"pat@hole{number}.example") for number in range(4)]
    for number, hole in enumerate(holes[:3]):
        bench.send(str(number), hole, MIA.bare.with_resource(f"device{number}"))
    assert [("2", "resource-constraint")] == bench.errors()
    bench.send("other", holes[3], JID.parse("ben@library.example"))
    assert 3 == len(bench.attempts)
    bench.attempts[0].errback(Failure(NOT_FOUND))
    bench.send("3", holes[2], MIA)
    assert 4 == len(bench.attempts), "one of hers is over"


def test_four_accounts_that_write_to_black_holes_keep_nobody_from_a_healthy_server(bench):
    """They take all places, as many as one account may have each."""
    for account in "abcd":
        for number in range(MOST_OF_ONE_ACCOUNT):
            bench.send("lost", JID.parse(f"pat@{account}{number}.example"), JID.parse(f"{account}@{HERE}"))
    assert (MOST_OF_ACCOUNTS, []) == (len(bench.attempts), bench.errors())
    bench.send("1")
    assert [("lost", "resource-constraint")] == bench.errors(), "the oldest attempt has made room"
    assert ["1"] == bench.open().ids


def test_a_queue_reaches_its_patrons_whatever_accounts_do(bench):
    bench.pool.attempts._accounts.total = 0
    bench.pool.hosts.get(HERE).addresses["ask"] = bench.router.accounts
    bench.send("1", PAT, JID.parse(f"ask@{HERE}/queue"))
    assert ([], 1) == (bench.errors(), len(bench.attempts))


def test_a_queue_may_have_people_on_many_servers_and_one_site_has_a_bound(bench):
    bench.pool.attempts._accounts.each = 1
    bench.pool.hosts.get(HERE).addresses["ask"] = bench.router.accounts
    queue = JID.parse(f"ask@{HERE}/queue")
    for number in range(MOST_TO_ONE_SITE + 1):
        bench.send(str(number), JID.parse(f"pat@d{number}.hole.example"), queue)
    assert [(str(MOST_TO_ONE_SITE), "resource-constraint")] == bench.errors()
    for number in range(3):
        bench.send("more", JID.parse(f"pat@d{number}.test"), queue)
    assert (1, MOST_TO_ONE_SITE + 3) == (len(bench.errors()), len(bench.attempts))


def test_the_queues_of_a_removed_library_end_when_all_is_sent(bench):
    bench.send("1")
    bench.pool.hosts.remove(HERE)
    bench.pool.retire(lambda domain: domain == HERE)
    stream = bench.open()
    bench.pool.look()
    assert (["1"], []) == (stream.ids, stream.closed_with)
    stream.confirm()
    bench.pool.look()
    assert ([None], []) == (stream.closed_with, list(bench.pool))


def test_a_fault_of_ours_gives_everything_back(bench):
    bench.send("1")
    stream = Stream()
    del stream.method
    bench.open(stream)
    assert [("1", "internal-server-error")] == bench.errors()


def test_the_first_stream_since_the_start_or_a_failure_is_told_once(bench):
    bench.send("1")
    stream = bench.open()
    assert ["there.example"] == bench.reachable
    bench.pool.heard_from("there.example")
    assert ["there.example"] == bench.reachable, "nothing has failed"
    stream.confirm()
    stream.end()
    bench.pool.heard_from("there.example")
    bench.pool.heard_from("there.example")
    assert 2 == len(bench.reachable)
    bench.send("2")
    bench.fail(NOT_FOUND)
    bench.pool.heard_from("there.example")
    assert 3 == len(bench.reachable)


def test_a_stream_that_was_closed_for_idleness_has_not_failed(bench):
    bench.send("1")
    bench.open().confirm()
    bench.clock.advance(IDLE_SECONDS + 1)
    bench.pool.close_idle()
    bench.send("2")
    bench.open()
    assert ["there.example"] == bench.reachable


def test_what_is_sent_when_a_server_is_back_comes_behind_what_waited(bench):
    bench.pool.reachable = lambda domain: bench.send("2")
    bench.send("1")
    assert ["1", "2"] == bench.open().ids


def test_a_stream_of_the_peers_carries_what_it_can(bench):
    bidi_link = Stream()
    bench.pool.add_bidi_link((HERE, THERE), bidi_link)
    bench.send("1")
    assert ["1"] == bidi_link.ids
    assert [] == bench.attempts
    bidi_link.confirm()
    bidi_link.end()
    bench.pool.remove_bidi_link(bidi_link)
    bench.send("2")
    assert 1 == len(bench.attempts)
    assert (1, 0) == (bench.status().sent, bench.status().outgoing)


def test_a_stream_of_the_peers_does_not_overtake_what_waits(bench):
    bench.send("1")
    bidi_link = Stream()
    bench.pool.add_bidi_link((HERE, THERE), bidi_link)
    bench.send("2")
    assert [] == bidi_link.sent
    assert ["1", "2"] == bench.open().ids


def test_a_stream_of_the_peers_carries_what_waited_when_he_cannot_be_reached(bench):
    """As behind a firewall that lets him out, but nobody in."""
    bench.send("1")
    bidi_link = Stream()
    bench.pool.add_bidi_link((HERE, THERE), bidi_link)
    bench.send("2")
    bench.clock.advance(ATTEMPT_SECONDS)
    assert ["1", "2"] == bidi_link.ids
    bench.send("3")
    assert ["1", "2", "3"] == bidi_link.ids
    assert [] == bench.errors()


def test_what_waits_at_the_end_comes_back_though_the_peer_has_a_stream(bench):
    bench.send("1")
    bidi_link = Stream()
    bench.pool.add_bidi_link((HERE, THERE), bidi_link)
    bench.pool.close_all(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
    assert ([], [("1", "remote-server-timeout")]) == (bidi_link.sent, bench.errors())


def test_a_stream_of_the_peers_that_is_over_is_not_used(bench):
    bidi_link = Stream()
    bidi_link.usable = False
    bench.pool.add_bidi_link((HERE, THERE), bidi_link)
    bench.send("1")
    assert ["1"] == bench.open().ids


def test_a_stream_of_the_peers_is_not_used_for_what_it_does_not_carry(bench):
    bidi_link = Stream()
    bench.pool.add_bidi_link((HERE, "elsewhere.example"), bidi_link)
    bench.send("1", to=JID.parse("pat@elsewhere.example"))
    assert [] == bidi_link.sent
    assert ["1"] == bench.open().ids


def test_a_stream_of_the_peers_is_left_to_it_when_nothing_is_sent(bench):
    bidi_link = Stream()
    bench.pool.add_bidi_link((HERE, THERE), bidi_link)
    bench.send("1")
    bidi_link.confirm()
    bench.clock.advance(IDLE_SECONDS + 1)
    bench.pool.close_idle()
    assert ([], []) == (bidi_link.closed_with, bidi_link.users)
    bench.send("2")
    assert ["1", "2"] == bidi_link.ids


def test_what_a_peer_says_is_fit_for_a_terminal(bench):
    bench.send("1")
    error = Unreachable(
        StreamFault(Cause.BUSY, said="busy\n\x1b[2J"), Condition.REMOTE_SERVER_NOT_FOUND, permanent=True
    )
    bench.fail(error)
    assert "busy??[2J" == bench.status().last_error.said
    assert 0 == len(bench.pool.attempts)
