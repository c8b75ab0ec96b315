"""What a benchmark between two servers reports: each end by itself, both together, and every doubt."""

from __future__ import annotations

import pytest

from benchmarks.federated import Pair, combined, pairs_of
from benchmarks.scenarios import MEASURES, SCENARIOS
from benchmarks.table import Result, Table

SENDING = {"refserver": 0.02, "prosody": 0.1}
RECEIVING = {"refserver": 0.03, "prosody": 0.08}
"""CPU seconds a thousand messages."""


def run(pair: Pair, **more: float) -> dict[str, float]:
    sender, receiver = pair
    return {
        "server_cpu_s_per_1000_messages": SENDING[sender],
        "peer_cpu_s_per_1000_messages": RECEIVING[receiver],
        "cpu_s_per_1000_messages": SENDING[sender] + RECEIVING[receiver],
        "server_cpu_pct": 40,
        "peer_cpu_pct": 50,
        **more,
    }


def result(name: str, **more: float) -> Result:
    return Result(name, "federation", 1, combined(name, {pair: run(pair, **more) for pair in pairs_of(name)}))


def test_each_end_is_compared_with_the_same_end_of_prosody():
    table = Table(["refserver", "prosody"], [result("refserver"), result("prosody")])
    rows = {row[0]: row[2:] for row in table.rows()}
    assert rows["to Prosody, saturated: the sending end"][:3] == ["0.02", "0.1", "0.20"]
    assert rows["from Prosody, saturated: the receiving end"][:3] == ["0.03", "0.08", "0.38"]
    assert rows["to its like, saturated: both ends"][:3] == ["0.05", "0.18", "0.28"]
    assert table.notes() == []


def test_prosody_runs_once_for_all_three():
    assert pairs_of("prosody") == [("prosody", "prosody")]
    assert len(pairs_of("refserver")) == 3


def test_what_one_run_lost_is_told():
    runs = {pair: run(pair) for pair in pairs_of("refserver")}
    runs["prosody", "refserver"].update(lost=2, errors=1, other_cpu_pct=50)
    figures = combined("refserver", runs)
    (note,) = Table(["refserver"], [Result("refserver", "federation", 1, figures)]).notes()
    assert note == "refserver, federation, run 1: 2 lost, 1 errors, other processes took 50 % of a core"


def test_an_idle_core_is_told():
    """Both servers share it: 40 and 30 % leave 30 % unused."""
    (note,) = Table(["refserver"], [result("refserver", peer_cpu_pct=30)]).notes()
    assert note.endswith("the server used only 70 % of its core")


@pytest.mark.parametrize("scenario", [each.name for each in SCENARIOS if each.between])
def test_every_scenario_between_servers_is_in_the_table(scenario: str):
    assert any(measure.scenario == scenario for measure in MEASURES)
