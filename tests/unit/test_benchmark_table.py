"""The table of a benchmark run says what the runs said: medians, ratios, goals and doubts."""

from __future__ import annotations

from benchmarks.table import Result, Table, markdown, text


def result(server: str, scenario: str = "chat", repeat: int = 1, **figures: object) -> Result:
    return Result(server, scenario, repeat, dict(figures))


def chat(server: str, *cpu: float) -> list[Result]:
    return [
        result(server, repeat=n, server_cpu_s_per_1000_messages=value, server_cpu_pct=100)
        for n, value in enumerate(cpu, 1)
    ]


def test_a_row_has_medians_and_ratios_to_the_first_server():
    """0.02 of 0.05 is 0.40, and at most half of ejabberd."""
    table = Table(["refserver", "ejabberd"], chat("refserver", 0.09, 0.02, 0.01) + chat("ejabberd", 0.05))
    header, row = table.rows()
    assert header[2:] == ["refserver", "ejabberd", "refserver ÷ ejabberd", "goal", "met"]
    assert row[2:] == ["0.02", "0.05", "0.40", "≤ 0.50 ejabberd", "yes"]


def test_a_goal_above_its_limit_is_not_met():
    """0.026 is more than half of 0.05."""
    table = Table(["refserver", "ejabberd"], chat("refserver", 0.026) + chat("ejabberd", 0.05))
    assert table.rows()[1][-1] == "no"


def test_a_goal_without_its_peer_is_neither_met_nor_missed():
    """Without ejabberd nobody knows."""
    table = Table(["refserver", "prosody"], chat("refserver", 0.02) + chat("prosody", 0.09))
    assert table.rows()[1][-1] == "–"


def test_a_goal_beside_two_peers_needs_both():
    """p99 must be no worse than either."""
    results = [
        result(server, "open", latency_ms={"p50": 1, "p99": p99})
        for server, p99 in (("refserver", 4.0), ("prosody", 5.0), ("ejabberd", 3.0))
    ]
    rows = Table(["refserver", "prosody", "ejabberd"], results).rows()
    assert next(row for row in rows if "p99" in row[0])[-1] == "no"


def test_goals_are_left_out_where_refserver_is_not_measured():
    """They are its own."""
    table = Table(["prosody", "ejabberd"], chat("prosody", 0.09) + chat("ejabberd", 0.05))
    assert table.rows()[0][2:] == ["prosody", "ejabberd", "prosody ÷ ejabberd"]


def test_doubtful_runs_are_named():
    """Losses, a busy machine or host, and a server that was not the limit."""
    doubtful = result("prosody", repeat=2, lost=3, other_cpu_pct=40.0, steal_pct=20.0, server_cpu_pct=50.0)
    complaints = (
        "3 lost, other processes took 40 % of a core, the machine's host kept 20 % of a core to itself, "
        "the server used only 50 % of its core"
    )
    table = Table(["prosody"], [doubtful, *chat("prosody", 0.1)])
    assert table.notes() == [f"prosody, chat, run 2: {complaints}"]


def test_text_and_markdown_hold_the_same_cells():
    """Aligned for a terminal, piped for a page."""
    rows = [["", "unit", "a"], ["chat", "ms", "1.5"]]
    assert text(rows) == "      unit    a\n---------------\nchat  ms    1.5"
    assert markdown(rows) == "|  | unit | a |\n| --- | --- | ---: |\n| chat | ms | 1.5 |"
