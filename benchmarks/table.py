"""Turns results into the table of ratios: as text for a terminal, as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from attrs import field, frozen

from benchmarks.scenarios import MEASURES, SCENARIOS, Goal, Measure

_OURS = "refserver"  # the goals are its own
_BUSY_GENERATOR = 90.0
_BUSY_MACHINE = 10.0
_BUSY_HOST = 10.0
_IDLE_SERVER = 80.0


@frozen
class Result:
    """The report of xload on one run of a scenario on one server."""

    server: str
    scenario: str
    repeat: int
    figures: dict[str, Any] = field(repr=False)

    def value(self, key: str) -> float | None:
        """The figure at a dotted path, None where the run has no such figure."""
        found: Any = self.figures
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return None if found is None else float(found)


@frozen
class Table:
    """Medians over the repeats, with the first server as the one that is compared."""

    servers: Sequence[str]
    results: Sequence[Result]

    def rows(self) -> list[list[str]]:
        """The header and one row a measure that has a figure."""
        subject, *peers = self.servers
        header = ["", "unit", *self.servers, *(f"{subject} ÷ {peer}" for peer in peers)]
        if subject == _OURS:
            header += ["goal", "met"]
        return [header, *(self._row(m) for m in MEASURES if any(self._figures(m).values()))]

    def notes(self) -> list[str]:
        """Return what makes a figure doubtful: losses, a generator or a machine that was too busy."""
        found = []
        for result in self.results:
            if complaint := ", ".join(_complaints(result)):
                found.append(f"{result.server}, {result.scenario}, run {result.repeat}: {complaint}")
        return found

    def _figures(self, measure: Measure) -> dict[str, float | None]:
        return {server: self._median(server, measure) for server in self.servers}

    def _median(self, server: str, measure: Measure) -> float | None:
        runs = (r for r in self.results if (r.server, r.scenario) == (server, measure.scenario))
        values = [value for run in runs if (value := run.value(measure.key)) is not None]
        return median(values) if values else None

    def _row(self, measure: Measure) -> list[str]:
        figures = self._figures(measure)
        subject, *peers = self.servers
        mine = figures[subject]
        ratios = [_ratio(mine, figures[peer]) for peer in peers]
        values = [_number(figures[server]) for server in self.servers]
        row = [measure.title, measure.unit, *values, *ratios]
        if subject == _OURS:
            goals = " and ".join(_goal(goal) for goal in measure.goals)
            row += [goals, _met(measure.goals, mine, figures)]
        return row


def text(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest entry, words to the left and figures to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (
            word.ljust(width) if i < 2 else word.rjust(width)
            for i, (word, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""
    head, *body = rows
    rule = ["---", "---", *("---:" for _ in head[2:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _ratio(mine: float | None, other: float | None) -> str:
    return "–" if mine is None or not other else f"{mine / other:.2f}"


def _goal(goal: Goal) -> str:
    return f"≤ {goal.factor:.2f} {goal.peer}" if goal.peer else f"≤ {goal.factor:g}"


def _met(goals: Sequence[Goal], mine: float | None, figures: dict[str, float | None]) -> str:
    """`yes` or `no`; a dash where there is no goal, or a figure that it needs is missing."""
    limits = [goal.factor * (figures.get(goal.peer) or 0) if goal.peer else goal.factor for goal in goals]
    if mine is None or not limits or not all(limits):
        return "–"
    return "yes" if all(mine <= limit for limit in limits) else "no"


def _complaints(result: Result) -> Iterable[str]:
    figures = result.figures
    for key in ("lost", "errors", "failed", "dropped"):
        if figures.get(key):
            yield f"{figures[key]} {key}"
    if figures.get("generator_cpu_pct", 0) > _BUSY_GENERATOR:
        yield "the generator was the limit"
    if (other := figures.get("other_cpu_pct", 0)) > _BUSY_MACHINE:
        yield f"other processes took {other:.0f} % of a core"
    if (stolen := figures.get("steal_pct", 0)) > _BUSY_HOST:
        yield f"the machine's host kept {stolen:.0f} % of a core to itself"
    saturating = any(s.saturates for s in SCENARIOS if s.name == result.scenario)
    if saturating and (used := figures.get("server_cpu_pct", 100)) < _IDLE_SERVER:
        yield f"the server used only {used:.0f} % of its core"
