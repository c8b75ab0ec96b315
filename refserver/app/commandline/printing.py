"""What refserverctl prints: tables and lines for people, JSON where `--json` is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

__all__ = ["print_json", "print_one", "print_table", "printable"]

_ODD: Final = re.compile("[^ -~\n]")  # perhaps not printable


def print_json(data: Any) -> None:
    """Data as JSON, on lines. What a terminal might obey, in strangers' words, is escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    click.echo(_ODD.sub(lambda odd: odd[0] if odd[0].isprintable() else json.dumps(odd[0])[1:-1], text))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """The `columns` of rows, under their names; the line `nothing` if there are no rows."""
    if not rows:
        click.echo(nothing)
        return
    table = [[column.replace("_", " ") for column in columns]]
    table += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_one(values: Mapping[str, Any]) -> None:
    """The values of one object, a line each."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {_cell(value)}".rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(_cell, value)) or "-"
    return f"{value:g}" if isinstance(value, float) else printable(str(value)).replace("\n", " ")


def printable(text: str) -> str:
    """Text without what a terminal might obey: strangers choose some of the words that are printed."""
    return _ODD.sub(lambda odd: odd[0] if odd[0].isprintable() else "\N{REPLACEMENT CHARACTER}", text)
