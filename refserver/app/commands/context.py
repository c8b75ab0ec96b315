"""The context that every command is given: settings, execution of requests, printing of answers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import frozen

from refserver.app.commands.caller import Caller
from refserver.app.commands.request import Refused
from refserver.app.config import SEARCHED, find, load
from refserver.app.settings import Settings

if TYPE_CHECKING:
    from refserver.app.commands.request import Request

_ODD: Final = re.compile("[^ -~\n]")  # perhaps not printable


@frozen
class Context:
    """`config` is the file named with -c; None: wherever it is found. `json`: answers are printed as JSON."""

    config: Path | None
    json: bool

    @property
    def settings(self) -> Settings:
        """The settings, read when they are needed. Raises `ConfigurationError`."""
        return load(self.config)

    @property
    def caller(self) -> Caller:
        """Has requests executed.

        Raises `Refused` if nothing says which server is meant: neither -c nor a configuration file that is
        looked for, and no data in ./var.
        """
        caller = Caller(self.settings)
        if self.config is None and find() is None and not caller.has_data:
            looked_for = " and ".join(str(path) for path in SEARCHED)
            raise Refused(
                f"there is no configuration file here ({looked_for} are looked for), and no data of a server "
                f"in {caller.folder}: name the server's configuration with -c FILE"
            )
        return caller

    def change(self, request: Request, address: str) -> None:
        """Have a change executed, and say what was done to `address`, a key of the answer."""
        self.say_done(self.caller.call(request), address)

    def say_done(self, data: Mapping[str, Any], address: str) -> None:
        """Print the answer to a change."""
        if self.json:
            print_json(data)
        else:
            click.echo(f"{data.get(address, address)}: {data['done']}")
        if data.get("note"):
            click.echo(f"note: {data['note']}", err=True)

    def show(self, request: Request, columns: Sequence[str], nothing: str) -> None:
        """Have a list made and print it; `nothing` is said of an empty list."""
        data: list[dict[str, Any]] = self.caller.call(request)
        if self.json:
            print_json(data)
        else:
            print_table(data, columns, nothing)


pass_context = click.make_pass_decorator(Context)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost. Raises `UsageError` if there is no terminal, and no --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for a confirmation: use --yes.")
    click.confirm(question, abort=True)


def print_json(data: Any) -> None:
    """Print data as JSON, indented. Characters that a terminal might obey are escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    click.echo(_ODD.sub(lambda odd: odd[0] if odd[0].isprintable() else json.dumps(odd[0])[1:-1], text))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """Print the `columns` of rows under their names, or the line `nothing` if there are no rows."""
    if not rows:
        click.echo(nothing)
        return
    table = [[column.replace("_", " ") for column in columns]]
    table += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_one(values: Mapping[str, Any]) -> None:
    """Print the values of one object, a line each."""
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
    """Return text without characters that a terminal might obey: strangers choose some of the words."""
    return _ODD.sub(lambda odd: odd[0] if odd[0].isprintable() else "\N{REPLACEMENT CHARACTER}", text)
