"""refserverctl check."""

from __future__ import annotations

import click

from refserver.app.checks.finding import Finding, Result
from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.printing import print_json
from refserver.app.verbs.wire import plain

__all__ = ["check"]


@click.command()
@click.pass_context
@pass_context
def check(context: Context, ctx: click.Context) -> None:
    """Look for what is wrong, and say how to mend it. Status 1 if something is wrong."""
    from refserver.app.checks.everything import check_everything  # late: TLS takes long to import

    findings = list(check_everything(context.config))
    if context.json:
        print_json(plain(findings))
    else:
        for finding in findings:
            _print(finding)
    if any(finding.result is Result.WRONG for finding in findings):
        ctx.exit(1)


def _print(finding: Finding) -> None:
    click.echo(f"{finding.result:<6} {finding.about}: {finding.found}")
    if finding.mend:
        click.echo(f"       to mend it: {finding.mend}")
