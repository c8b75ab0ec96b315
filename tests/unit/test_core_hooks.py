"""Events: told in order, stopped by True, and one broken handler harms no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from refserver.core.hooks import AccountAdded, AccountRemoved, Hooks
from refserver.jid import JID

EVENT = AccountAdded(JID.parse("mia@library.example"))


class Log:
    """Handlers that note what they were told, and return or raise what they are given."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def handler(self, answer: Any) -> Callable[[object], Any]:
        number = len(self.made)
        self.made.append(number)

        def handle(event: object) -> Any:
            assert event is EVENT
            self.told.append(number)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return handle

    made: list[int] = []


@pytest.fixture
def log() -> Log:
    log = Log()
    log.made = []
    return log


def hooks(log: Log, *answers: Any) -> Hooks:
    hooks = Hooks()
    hooks.freeze({AccountAdded: tuple(log.handler(answer) for answer in answers)})
    return hooks


def test_handlers_run_in_order_until_one_says_true(log: Log) -> None:
    assert hooks(log, None, False, True, None).run(EVENT)
    assert [0, 1, 2] == log.told


@pytest.mark.parametrize("answer", [None, False, 1, "yes", [1]])
def test_nothing_but_true_itself_stops_them(log: Log, answer: object) -> None:
    assert not hooks(log, answer, answer).run(EVENT)
    assert [0, 1] == log.told


def test_what_a_handler_raises_comes_through_to_who_asked_for_an_answer(log: Log) -> None:
    with pytest.raises(LookupError):
        hooks(log, None, LookupError(), None).run(EVENT)
    assert [0, 1] == log.told


def test_all_are_told_though_one_fails(log: Log) -> None:
    hooks(log, True, LookupError(), None).tell(EVENT)
    assert [0, 1, 2] == log.told


def test_an_event_that_nobody_waits_for_is_no_fault(log: Log) -> None:
    other = hooks(log, None)
    assert not other.run(AccountRemoved(EVENT.account))
    other.tell(AccountRemoved(EVENT.account))
    assert () == other.of(AccountRemoved)
    assert [] == log.told


def test_who_asks_waits_for_each_in_turn(log: Log) -> None:
    first: Deferred[None] = Deferred()
    second: Deferred[None] = Deferred()
    asked = Deferred.fromCoroutine(hooks(log, first, None, second, None).ask(EVENT))
    assert [0] == log.told
    first.callback(None)
    assert [0, 1, 2] == log.told
    assert not asked.called
    second.callback(None)
    assert [0, 1, 2, 3] == log.told
    assert asked.called


def test_a_failure_while_asking_comes_through(log: Log) -> None:
    failed: Deferred[None] = Deferred()
    asked = Deferred.fromCoroutine(hooks(log, failed, None).ask(EVENT))
    failed.errback(LookupError())
    failures: list[Any] = []
    asked.addErrback(failures.append)
    assert failures[0].check(LookupError)
    assert [0] == log.told
