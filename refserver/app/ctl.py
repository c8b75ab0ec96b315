"""`refserverctl`: the operator's command line.

Its exit status is 0 when a command is done, 1 with one clear line when it is refused, 2 when it is called
wrongly. The commands are in refserver/app/commands.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

import refserver
from refserver.app.commands import MODULES, Refused
from refserver.app.commands.context import Context
from refserver.app.config import ConfigurationError

NAME = "refserverctl"


class _Commands(click.Group):
    """Imports a command when it is called, and turns what is refused into a line and status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = MODULES.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(import_module(f"refserver.app.commands.{module}"), cmd_name)
        return found

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (Refused, ConfigurationError) as error:
            click.echo(f"{NAME}: {error}", err=True)
            ctx.exit(1)


@click.group(NAME, cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The server's configuration file. Otherwise ./refserver.toml, then /etc/refserver/refserver.toml.",
)
@click.option("--json", is_flag=True, help="Print data as JSON: a list of objects for a list.")
@click.version_option(refserver.__version__, prog_name=NAME)
@click.pass_context
def command(ctx: click.Context, config: Path | None, json: bool) -> None:
    """Manage a refserver, running or stopped. A running server sees each change at once."""
    ctx.obj = Context(config, json)


def main() -> None:
    """Run the command line that the process was started with; ends the process."""
    command(prog_name=NAME)
