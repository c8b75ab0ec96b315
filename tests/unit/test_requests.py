"""Requests check what callers other than refserverctl may send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from refserver.app.commands import Refused, Request, load_requests
from refserver.app.commands.blocks import ListSpam
from refserver.app.commands.libraries import AddLibrary
from refserver.app.commands.questions import STATES, ListQuestions, MakeReport
from refserver.app.commands.queues import AddQueue, QueueOptions
from refserver.app.commands.request import moment, refused
from refserver.storage import schema, sqlite

ASK, MIA = "ask@library.example", "mia@elsewhere.example"


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A library with a queue."""
    with sqlite.memory_engine().begin() as made:
        schema.metadata.create_all(made)
        for request in (AddLibrary("library.example"), AddQueue(ASK)):
            request.run(made, 0.0)
        yield made


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        (
            ListQuestions(state="lost"),
            f"'lost' is no state: choose one of {', '.join(STATES)}",
        ),
        (MakeReport(ASK, first_day="yesterday"), "'yesterday' is no day: write it like 2026-01-31"),
        (MakeReport(ASK, last_day="2026-02-30"), "'2026-02-30' is no day: write it like 2026-01-31"),
        (MakeReport(ASK, last_day="20260228"), "'20260228' is no day: write it like 2026-01-31"),
        (ListSpam("*", "2026-2-1"), "'2026-2-1' is no day: write it like 2026-01-31"),
    ],
)
def test_what_is_no_choice_is_refused(connection: Connection, asked: Request, refusal: str) -> None:
    with pytest.raises(Refused) as caught:
        asked.run(connection, 0.0)
    assert str(caught.value) == refusal


@pytest.mark.parametrize(
    "settings", [{"frob": 1}, {"dispatch": "by-lot"}, {"offer_seconds": "soon"}, {"time_zone": "../etc"}]
)
def test_settings_are_checked_whoever_sends_them(connection: Connection, settings: dict[str, object]) -> None:
    with pytest.raises(Refused):
        AddQueue("desk@library.example", QueueOptions(settings=settings)).run(connection, 0.0)


def test_the_requests_that_only_read_say_so() -> None:
    reading = {name for name, kind in load_requests().items() if not kind.writes}
    assert reading == {
        "library list",
        "account verifiers",
        "account list",
        "queue list",
        "canned list",
        "block list",
        "allow list",
        "spam list",
        "librarian list",
        "question list",
        "question show",
        "report",
        "s2s list",
        "s2s show",
        "status",
    }


def test_a_refusal_is_one_line() -> None:
    assert refused("one\ntwo") == b'{"refused":"one two"}\n'


def test_moments_are_in_utc_to_the_second() -> None:
    assert moment(1_750_075_200.9) == "2025-06-16T12:00:00Z"
    assert moment(None) is None
