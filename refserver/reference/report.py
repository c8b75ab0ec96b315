"""Reports on a library's reference service, counted from statistics rows alone.

Words that were said, patrons and librarians are in none of them. Times are seconds. The
benchmarks for seconds between messages are those library bloggers measured in 2007: one
message every 16 s in instant messaging, every 38 s in the vendors' chat software.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from statistics import median
from typing import Any, Final

from attrs import asdict, frozen
from sqlalchemy import Connection

from refserver.reference.settings import DAYS
from refserver.reference.states import Outcome
from refserver.storage import statistics
from refserver.storage.statistics import Statistics

IM_SECONDS: Final = 16.0
VENDOR_SECONDS: Final = 38.0


@frozen
class Spread:
    """Median, 90th percentile and maximum of some seconds; all None when there are none."""

    median: float | None
    p90: float | None
    max: float | None


@frozen
class Report:
    """The figures of one queue (or, with `queue` "", of a whole library) in a period.

    `staffed` questions came while somebody was on duty; `wait` is theirs. `seconds_between`
    is the median time between two messages of a conversation. The tables count questions.
    Spam is no question: `spam` and `by_outcome` say how much there was, all else is without it.
    """

    domain: str
    queue: str
    first_day: str
    last_day: str
    questions: int
    spam: int
    open: int
    staffed: int
    wait: Spread
    duration: Spread
    patron_messages: int
    staff_messages: int
    seconds_between: float | None
    transfers: int
    releases: int
    by_outcome: dict[str, int]
    by_read_level: dict[str, int]
    by_kind: dict[str, int]
    by_channel: dict[str, int]
    by_language: dict[str, int]
    by_hour: dict[str, dict[str, int]]


def report(
    connection: Connection, domain: str, queue: str = "", first_day: str = "", last_day: str = ""
) -> list[Report]:
    """Reports of a library's queues and then, if there are several, of the library.

    With `queue` only of that one. Days are ISO dates, both included; "" is no bound.
    """
    rows = statistics.rows(connection, domain, queue, first_day, last_day)
    names = [queue] if queue else sorted({row.queue for row in rows})
    reports = [
        collect([row for row in rows if row.queue == name], domain, name, first_day, last_day)
        for name in names
    ]
    if len(names) != 1:
        reports.append(collect(rows, domain, "", first_day, last_day))
    return reports


def collect(
    rows: Sequence[Statistics], domain: str, queue: str = "", first_day: str = "", last_day: str = ""
) -> Report:
    """The figures of some rows; a missing bound of the period is the first or last day asked."""
    days, outcomes = [row.day for row in rows], _counted(row.outcome or "open" for row in rows)
    rows = [row for row in rows if row.outcome != Outcome.SPAM]
    gaps = list(chain.from_iterable(row.gaps for row in rows))
    return Report(
        domain=domain,
        queue=queue,
        first_day=first_day or min(days, default=""),
        last_day=last_day or max(days, default=""),
        questions=len(rows),
        spam=outcomes.get(Outcome.SPAM, 0),
        open=sum(not row.outcome for row in rows),
        staffed=sum(row.staffed for row in rows),
        wait=_spread(row.wait for row in rows if row.staffed),
        duration=_spread(row.duration for row in rows),
        patron_messages=sum(row.patron_messages for row in rows),
        staff_messages=sum(row.staff_messages for row in rows),
        seconds_between=round(median(gaps), 1) if gaps else None,
        transfers=sum(row.transfers for row in rows),
        releases=sum(row.releases for row in rows),
        by_outcome=outcomes,
        by_read_level=_counted(str(row.read_level) for row in rows if row.read_level),
        by_kind=_counted(row.kind for row in rows if row.kind),
        by_channel=_counted(row.channel for row in rows),
        by_language=_counted(row.language for row in rows),
        by_hour=_hours(rows),
    )


def _spread(values: Iterable[float | None]) -> Spread:
    seconds = sorted(value for value in values if value is not None)
    if not seconds:
        return Spread(None, None, None)
    ninetieth = seconds[math.ceil(0.9 * len(seconds)) - 1]
    return Spread(round(median(seconds), 1), round(ninetieth, 1), round(seconds[-1], 1))


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _hours(rows: Iterable[Statistics]) -> dict[str, dict[str, int]]:
    """Questions by weekday (`mon`) and hour (`09`); only where there are any."""
    counted = Counter((row.weekday, row.hour) for row in rows)
    table: dict[str, dict[str, int]] = {}
    for (weekday, hour), number in sorted(counted.items()):
        table.setdefault(DAYS[weekday], {})[f"{hour:02}"] = number
    return table


# -- formats -------------------------------------------------------------------


def to_json(reports: Iterable[Report]) -> str:
    """A list of objects."""
    return json.dumps([asdict(one) for one in reports], indent=2, ensure_ascii=False)


def to_csv(reports: Iterable[Report]) -> str:
    """One line a figure: domain, queue, first day, last day, figure, key, value."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(("domain", "queue", "first_day", "last_day", "figure", "key", "value"))
    for one in reports:
        head = (one.domain, one.queue, one.first_day, one.last_day)
        for name, value in asdict(one).items():
            if name not in ("domain", "queue", "first_day", "last_day"):
                lines.writerows((*head, name, key, number) for key, number in _flat(value))
    return out.getvalue()


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, object]]:
    if not isinstance(value, dict):
        return [(prefix, "" if value is None else value)]
    return chain.from_iterable(_flat(inner, f"{prefix} {key}".strip()) for key, inner in value.items())


def to_text(reports: Iterable[Report]) -> str:
    """For people: a page a report."""
    return "\n\n".join(_page(one) for one in reports)


def _page(one: Report) -> str:
    name = f"{one.queue}@{one.domain}" if one.queue else f"{one.domain}, all queues"
    period = f"{one.first_day or '…'} to {one.last_day or '…'}"
    lines = [
        f"{name}, {period}",
        _line("questions", f"{one.questions} ({one.staffed} while staffed, {one.open} still open)"),
        _line("spam", f"{one.spam} besides"),
        _line("outcome", _list(one.by_outcome)),
        _line("READ level", _list(one.by_read_level)),
        _line("type", _list(one.by_kind)),
        _line("channel", _list(one.by_channel)),
        _line("language", _list(one.by_language)),
        _line("wait", _seconds(one.wait)),
        _line("duration", _seconds(one.duration)),
        _line("messages", f"{one.patron_messages} from patrons, {one.staff_messages} from staff"),
        _line("between messages", _between(one.seconds_between)),
        _line("handed over", f"{one.transfers} to colleagues, {one.releases} back to the queue"),
    ]
    return "\n".join(lines + _grid(one.by_hour))


def _line(name: str, value: str) -> str:
    return f"  {name:<18}{value}"


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "none"


def _seconds(spread: Spread) -> str:
    if spread.median is None:
        return "none"
    return f"median {spread.median:g} s, p90 {spread.p90:g} s, max {spread.max:g} s"


def _between(seconds: float | None) -> str:
    ours = "none" if seconds is None else f"median {seconds:g} s"
    return f"{ours} (benchmarks: {IM_SECONDS:g} s instant messaging, {VENDOR_SECONDS:g} s vendor software)"


def _grid(by_hour: dict[str, dict[str, int]]) -> list[str]:
    """Hours down, weekdays across."""
    if not by_hour:
        return []
    hours = sorted({hour for counts in by_hour.values() for hour in counts})
    lines = ["", "  hour  " + "".join(f"{day:>5}" for day in DAYS)]
    for hour in hours:
        cells = (by_hour.get(day, {}).get(hour, "") for day in DAYS)
        lines.append(f"  {hour}:00 " + "".join(f"{cell:>5}" for cell in cells))
    return lines


FORMATS: Final[dict[str, Callable[[Iterable[Report]], str]]] = {
    "text": to_text,
    "csv": to_csv,
    "json": to_json,
}
