"""`refserverctl`: the operator's command line.

Owns how it is called and how it ends: status 0 when done, 1 with a clear line when refused, 2 when called
wrongly. The commands are in refserver/app/commandline.
"""

from __future__ import annotations

from pathlib import Path

import click

import refserver
from refserver.app.commandline.accounts import account
from refserver.app.commandline.backup import backup, restore
from refserver.app.commandline.canned import canned
from refserver.app.commandline.check import check
from refserver.app.commandline.context import Context
from refserver.app.commandline.libraries import library
from refserver.app.commandline.questions import question, report
from refserver.app.commandline.queues import librarian, queue
from refserver.app.commandline.status import status
from refserver.app.config import ConfigurationError
from refserver.app.verbs import Refused

__all__ = ["command", "main"]

NAME = "refserverctl"


class _Ending(click.Group):
    """Turns what is refused into a line and status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """See `click.Group`."""
        try:
            return super().invoke(ctx)
        except (Refused, ConfigurationError) as error:
            click.echo(f"{NAME}: {error}", err=True)
            ctx.exit(1)


@click.group(NAME, cls=_Ending, context_settings={"help_option_names": ["-h", "--help"]})
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
    """Look after a refserver, whether or not it runs. A running server sees each change at once."""
    ctx.obj = Context(config, json)


for _each in (
    library,
    account,
    queue,
    librarian,
    canned,
    question,
    report,
    status,
    check,
    backup,
    restore,
):
    command.add_command(_each)


def main() -> None:
    """Run the command line that the process was started with; ends the process."""
    command(prog_name=NAME)
