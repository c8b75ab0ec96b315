"""What every command is given: the settings, how to get verbs done, and whether JSON is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from refserver.app.commandline.caller import Caller
from refserver.app.commandline.printing import print_json, print_table
from refserver.app.config import load
from refserver.app.settings import Settings
from refserver.app.verbs.wish import Wish

__all__ = ["Context", "pass_context"]


@frozen
class Context:
    """`config` is the file named with -c, None: wherever it is found."""

    config: Path | None
    json: bool

    @property
    def settings(self) -> Settings:
        """The settings, read when they are needed. Raises `ConfigurationError`."""
        return load(self.config)

    @property
    def caller(self) -> Caller:
        """Who gets verbs done."""
        return Caller(self.settings)

    def change(self, wish: Wish, address: str) -> None:
        """Do what changes something, and say what was done to `address`, a key of the answer."""
        data = self.caller.call(wish)
        if self.json:
            print_json(data)
        else:
            click.echo(f"{data.get(address, address)}: {data['done']}")
        if data.get("note"):
            click.echo(f"note: {data['note']}", err=True)

    def show(self, wish: Wish, columns: Sequence[str], nothing: str) -> None:
        """Do what lists something, and print it; `nothing` is said of an empty list."""
        data: list[dict[str, Any]] = self.caller.call(wish)
        if self.json:
            print_json(data)
        else:
            print_table(data, columns, nothing)


pass_context = click.make_pass_decorator(Context)
