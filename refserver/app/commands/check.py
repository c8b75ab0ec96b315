"""refserverctl check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from refserver.app.commands.context import Context, pass_context, print_json, printable
from refserver.app.commands.request import to_json

if TYPE_CHECKING:
    from refserver.app.checks.finding import Finding

__all__ = ["check"]


@click.command()
@click.pass_context
@pass_context
def check(context: Context, ctx: click.Context) -> None:
    """Look for what is wrong, and say how to mend it. Status 1 if something is wrong."""
    from refserver.app.checks.everything import check_everything  # late: TLS takes long to import

    findings = list(check_everything(context.config))
    if context.json:
        print_json(to_json(findings))
    else:
        for finding in findings:
            _print(finding)
    if any(finding.result == "wrong" for finding in findings):
        ctx.exit(1)


def _print(finding: Finding) -> None:
    click.echo(printable(f"{finding.result:<6} {finding.about}: {finding.found}"))
    if finding.mend:
        first, *records = printable(finding.mend).splitlines()
        click.echo(f"       to mend it: {first}")
        for record in records:
            click.echo(f"         {record}")
