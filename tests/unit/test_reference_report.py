"""Reports are counted from statistics rows alone."""

from __future__ import annotations

import csv
import io
import json

import pytest
from attrs import evolve

from refserver.reference.report import FORMATS, Spread, collect, report
from refserver.storage import Database, statistics
from refserver.storage.statistics import Statistics


def row(question: int, **values: object) -> Statistics:
    plain: dict[str, object] = {
        "question": question,
        "domain": "library.example",
        "queue": "ask",
        "channel": "xmpp",
        "language": "en",
        "day": "2025-11-22",
        "hour": 9,
        "weekday": 5,
        "staffed": True,
        "outcome": "answered",
    }
    return Statistics(**(plain | values))  # type: ignore[arg-type]  # whatever the test needs


ROWS = [
    row(1, wait=10.0, duration=60.0, patron_messages=2, staff_messages=3, gaps=(10.0, 20.0), read_level=3),
    row(2, wait=20.0, duration=90.0, patron_messages=1, staff_messages=1, gaps=(15.0,), kind="technical"),
    row(3, staffed=False, wait=50_000.0, hour=22, weekday=6, day="2025-11-23", transfers=1),
    row(4, outcome="", language="de", patron_messages=1),
]


def test_figures() -> None:
    figures = collect(ROWS, "library.example", "ask")
    assert (figures.questions, figures.open, figures.staffed) == (4, 1, 3)
    assert (figures.first_day, figures.last_day) == ("2025-11-22", "2025-11-23")
    assert figures.wait == Spread(15.0, 20.0, 20.0)
    assert figures.duration == Spread(75.0, 90.0, 90.0)
    assert (figures.patron_messages, figures.staff_messages) == (4, 4)
    assert figures.seconds_between == 15.0
    assert (figures.transfers, figures.releases) == (1, 0)
    assert figures.by_outcome == {"answered": 3, "open": 1}
    assert figures.by_read_level == {"3": 1}
    assert figures.by_kind == {"technical": 1}
    assert figures.by_language == {"de": 1, "en": 3}
    assert figures.by_hour == {"sat": {"09": 3}, "sun": {"22": 1}}


def test_the_ninetieth_percentile_is_a_value_that_occurred() -> None:
    figures = collect([row(n, wait=float(n)) for n in range(1, 21)], "library.example")
    assert figures.wait == Spread(10.5, 18.0, 20.0)


def test_spam_is_counted_apart() -> None:
    spam = row(
        9, outcome="spam", wait=1.0, duration=2.0, patron_messages=9, gaps=(1.0,), hour=3, language="xx"
    )
    with_spam, without = (collect(rows, "library.example", "ask") for rows in ([*ROWS, spam], ROWS))
    assert (with_spam.spam, without.spam) == (1, 0)
    assert with_spam.by_outcome == {"answered": 3, "open": 1, "spam": 1}
    assert evolve(with_spam, spam=0, by_outcome=without.by_outcome) == without
    assert "1 besides" in FORMATS["text"]([with_spam])


def test_nothing_asked_gives_an_empty_report_in_every_format() -> None:
    for write in FORMATS.values():
        assert write([collect([], "library.example", "ask")])


@pytest.fixture
def database() -> Database:
    database = Database.memory()
    for one in [*ROWS, row(5, queue="maps"), row(6, domain="other.example")]:
        database.write_now(statistics.add, one)
    return database


def test_a_report_of_a_library_is_one_a_queue_and_one_of_all(database: Database) -> None:
    reports = database.read_now(report, "library.example")
    assert [(one.queue, one.questions) for one in reports] == [("ask", 4), ("maps", 1), ("", 5)]


def test_a_report_of_a_queue_and_a_period(database: Database) -> None:
    (one,) = database.read_now(report, "library.example", "ask", "2025-11-23", "2025-11-30")
    assert (one.questions, one.first_day, one.last_day) == (1, "2025-11-23", "2025-11-30")


def test_json_is_a_list_of_objects(database: Database) -> None:
    (one,) = json.loads(FORMATS["json"](database.read_now(report, "library.example", "ask")))
    assert one["wait"] == {"median": 15.0, "p90": 20.0, "max": 20.0}
    assert one["seconds_between"] == 15.0


def test_csv_has_a_line_a_figure(database: Database) -> None:
    text = FORMATS["csv"](database.read_now(report, "library.example", "ask"))
    figures = {(line["figure"], line["key"]): line["value"] for line in csv.DictReader(io.StringIO(text))}
    assert figures["questions", ""] == "4"
    assert figures["wait", "p90"] == "20.0"
    assert figures["by_hour", "sat 09"] == "3"


def test_text_shows_our_figure_next_to_the_benchmarks(database: Database) -> None:
    text = FORMATS["text"](database.read_now(report, "library.example", "ask"))
    assert "ask@library.example, 2025-11-22 to 2025-11-23" in text
    assert "median 15 s (benchmarks: 16 s instant messaging, 38 s vendor software)" in text
    assert "median 15 s, p90 20 s, max 20 s" in text
    assert "  09:00                              3" in text
