"""refserverctl question …, report and status, while no server runs: what they show and what never."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference import answering, asking, closing
from refserver.reference.asking import Asker, Utterance
from refserver.storage import Database, queues
from tests.unit.ctl_runner import Ctl

ASK = "ask@library.example"
MIA = JID.parse("mia@library.example")
PAT = JID.parse("patricia@patrons.example")
NOON = 1_750_075_200.0  # Monday, 2025-06-16 12:00 UTC
WORDS = "where are the bees"


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", "library.example")
    ctl.ok("queue", "add", ASK)
    ctl.add_account(MIA.text)
    ctl.ok("librarian", "add", ASK, MIA.text, "--nick", "Mia")
    return ctl


def store(ctl: Ctl, work: Callable[[Connection], Any]) -> Any:
    """Do something in the store."""
    database = Database.open(ctl.database)
    try:
        return database.write_now(work)
    finally:
        database.close_now()


def ask(ctl: Ctl, patron: JID = PAT, queue: str = ASK, at: float = NOON) -> int:
    """A patron asks; the question's id."""

    def work(connection: Connection) -> int:
        found = queues.find(connection, JID.parse(queue))
        assert found is not None
        return asking.say(connection, found.id, Asker(patron), Utterance(WORDS), now=at).question.id

    return int(store(ctl, work))


def claim(ctl: Ctl, question: int, at: float = NOON + 20) -> None:
    store(ctl, lambda connection: answering.claim(connection, question, MIA, at))


def answer_and_close(ctl: Ctl, question: int) -> None:
    def work(connection: Connection) -> None:
        answering.answer(connection, question, MIA, Utterance("on shelf 638"), now=NOON + 30)
        closing.close(connection, question, MIA, now=NOON + 60, level=3, tags=("bees",))

    claim(ctl, question)
    store(ctl, work)


def test_open_questions_are_listed_in_the_order_of_waiting(ctl: Ctl) -> None:
    ask(ctl, JID.parse("second@patrons.example"), at=NOON + 5)
    ask(ctl, at=NOON)
    rows = ctl.json("question", "list")
    assert [(row["number"], row["state"], row["asked"]) for row in rows] == [
        (2, "waiting", "2025-06-16T12:00:00Z"),
        (1, "waiting", "2025-06-16T12:00:05Z"),
    ]


def test_a_list_can_be_of_one_state_or_of_all(ctl: Ctl) -> None:
    answer_and_close(ctl, ask(ctl))
    claim(ctl, ask(ctl))
    ask(ctl, JID.parse("second@patrons.example"))

    def numbers(*words: str) -> list[int]:
        return [row["number"] for row in ctl.json("question", "list", *words)]

    assert numbers() == [2, 3]
    assert numbers("--state", "waiting") == [3]
    assert numbers("--state", "claimed") == [2]
    assert numbers("--state", "closed") == [1]
    assert numbers("--state", "all") == [1, 2, 3]
    assert numbers("--state", "parked") == []
    assert ctl.run("question", "list", "--state", "lost").exit_code == 2


def test_a_list_can_be_of_one_queue(ctl: Ctl) -> None:
    ctl.ok("queue", "add", "children@library.example")
    ask(ctl)
    ask(ctl, queue="children@library.example")
    (row,) = ctl.json("question", "list", "--queue", "children@library.example")
    assert (row["queue"], row["number"]) == ("children@library.example", 2)
    assert len(ctl.json("question", "list")) == 2


def test_a_question_is_shown_with_all_that_is_counted_of_it(ctl: Ctl) -> None:
    answer_and_close(ctl, ask(ctl))
    shown = ctl.json("question", "show", "1")
    assert {
        name: shown[name] for name in ("state", "librarian", "outcome", "read_level", "tags", "wait")
    } == {
        "state": "closed",
        "librarian": "Mia",
        "outcome": "answered",
        "read_level": 3,
        "tags": ["bees"],
        "wait": 20.0,
    }
    assert shown["messages"] == {"patron": 1, "staff": 1, "note": 0, "system": 0}
    assert shown["closed"] == "2025-06-16T12:01:00Z"


def test_a_number_that_two_libraries_have_needs_the_queue(ctl: Ctl) -> None:
    ctl.ok("library", "add", "second.example")
    ctl.ok("queue", "add", "ask@second.example")
    ask(ctl)
    ask(ctl, queue="ask@second.example")
    assert ctl.refused("question", "show", "1") == (
        f"several libraries have a question 1: choose with --queue among {ASK}, ask@second.example"
    )
    assert ctl.json("question", "show", "1", "--queue", ASK)["queue"] == ASK


def test_a_question_that_is_not_there_is_refused(ctl: Ctl) -> None:
    assert ctl.refused("question", "show", "417") == (
        "there is no question 417: `refserverctl question list --state all` shows all"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["question", "list", "--state", "all"],
        ["question", "show", "1"],
        ["report", ASK],
        ["report", ASK, "--format", "csv"],
    ],
)
def test_neither_patrons_nor_their_words_are_shown(ctl: Ctl, words: list[str]) -> None:
    answer_and_close(ctl, ask(ctl))
    for shown in (ctl.ok(*words), ctl.run("--json", *words).stdout):
        assert "patricia" not in shown
        assert "patrons.example" not in shown
        assert "bees" not in shown.replace('"bees"', "").replace("tags        bees", "")
        assert "shelf" not in shown


# -- report ----------------------------------------------------------------------


def test_a_report_counts_one_queue(ctl: Ctl) -> None:
    answer_and_close(ctl, ask(ctl))
    ask(ctl, JID.parse("second@patrons.example"))
    (report,) = ctl.json("report", ASK)
    assert (report["queue"], report["questions"], report["open"]) == ("ask", 2, 1)
    assert report["wait"] == {"median": 20.0, "p90": 20.0, "max": 20.0}
    assert report["by_hour"] == {"mon": {"12": 2}}


def test_a_report_of_a_library_counts_each_queue_and_all_of_them(ctl: Ctl) -> None:
    ctl.ok("queue", "add", "children@library.example")
    ask(ctl)
    ask(ctl, queue="children@library.example")
    reports = ctl.json("report", "library.example")
    assert [(one["queue"], one["questions"]) for one in reports] == [("ask", 1), ("children", 1), ("", 2)]


def test_a_report_is_of_the_days_from_to(ctl: Ctl) -> None:
    for day in range(4):
        ask(ctl, JID.parse(f"p{day}@patrons.example"), at=NOON + day * 86400)
    (report,) = ctl.json("report", ASK, "--from", "2025-06-17", "--to", "2025-06-18")
    assert (report["first_day"], report["last_day"], report["questions"]) == ("2025-06-17", "2025-06-18", 2)


def test_a_report_has_three_formats(ctl: Ctl) -> None:
    ask(ctl)
    assert ctl.ok("report", ASK).startswith(f"{ASK}, 2025-06-16 to 2025-06-16\n  questions         1 ")
    lines = list(csv.reader(ctl.ok("report", ASK, "--format", "csv").splitlines()))
    assert lines[0] == ["domain", "queue", "first_day", "last_day", "figure", "key", "value"]
    assert ["library.example", "ask", "2025-06-16", "2025-06-16", "questions", "", "1"] in lines
    as_json = ctl.ok("report", ASK, "--format", "json")
    assert json.loads(as_json) == ctl.json("report", ASK)


def test_a_removed_queue_can_still_be_reported(ctl: Ctl) -> None:
    ask(ctl)
    ctl.ok("queue", "remove", ASK, "--yes")
    assert ctl.json("report", ASK)[0]["questions"] == 1


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["report", "other@library.example"], "there is no queue other@library.example: "),
        (["report", "other.example"], "there is no library other.example: "),
        (
            ["report", ASK, "--from", "2025-06-18", "--to", "2025-06-17"],
            "the period ends (2025-06-17) before it begins (2025-06-18)",
        ),
    ],
)
def test_an_impossible_report_is_refused(ctl: Ctl, words: list[str], begins: str) -> None:
    assert ctl.refused(*words).startswith(begins)


def test_a_day_is_written_year_month_day(ctl: Ctl) -> None:
    assert ctl.run("report", ASK, "--from", "16.6.2025").exit_code == 2


# -- status ----------------------------------------------------------------------


def test_status_1_says_that_no_server_runs_and_what_the_store_knows(ctl: Ctl) -> None:
    answer_and_close(ctl, ask(ctl))
    ask(ctl)
    result = ctl.run("--json", "status")
    assert result.exit_code == 1
    assert result.stderr == "refserverctl: refserver is not running; this is what the store knows\n"
    status = json.loads(result.stdout)
    assert not status["running"]
    assert (status["libraries"], status["accounts"], status["queues"], status["librarians"]) == (1, 1, 1, 1)
    assert {state: number for state, number in status["questions"].items() if number} == {
        "waiting": 1,
        "closed": 1,
    }
    assert {"refserver", "python", "twisted", "sqlite"} <= set(status["versions"])


def test_status_for_people_names_the_states_that_there_are(ctl: Ctl) -> None:
    ask(ctl)
    assert "questions   waiting 1\n" in ctl.run("status").stdout


def test_status_makes_nothing_where_nothing_is(ctl: Ctl) -> None:
    ctl.config.write_text('[server]\ndata = "nowhere"\n')
    assert ctl.run("status").exit_code == 1
    assert not (ctl.folder / "nowhere").exists()
