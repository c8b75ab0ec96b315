"""refserverctl check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from refserver.app.checks import Finding, Result
from refserver.app.checks.certificates import check_certificates
from refserver.app.checks.data import check_data
from refserver.app.checks.desks import check_desks
from refserver.app.checks.ports import LISTENERS, check_ports
from refserver.app.commandline.caller import Caller
from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.printing import print_json
from refserver.app.config import ConfigurationError, find
from refserver.app.settings import Settings
from refserver.app.verbs import Refused
from refserver.app.verbs.libraries import ListLibraries
from refserver.app.verbs.queues import ListQueues
from refserver.app.verbs.status import ShowStatus
from refserver.app.verbs.wire import plain

__all__ = ["check"]


@click.command()
@click.pass_context
@pass_context
def check(context: Context, ctx: click.Context) -> None:
    """Look for what is wrong, and say how to mend it. Status 1 if something is wrong."""
    findings = list(_findings(context))
    if context.json:
        print_json(plain(findings))
    else:
        for finding in findings:
            _print(finding)
    if any(finding.result is Result.WRONG for finding in findings):
        ctx.exit(1)


def _findings(context: Context) -> Iterator[Finding]:
    try:
        settings = context.settings
    except ConfigurationError as error:
        for problem in error.problems:
            yield Finding.wrong(
                "configuration", f"{error.file}: {problem}", "correct the file, and check again"
            )
        return
    file = find(context.config)
    yield Finding.good("configuration", "no file: built-in defaults" if file is None else str(file))
    caller = Caller(settings)
    yield from check_data(caller.database)
    try:
        status, libraries, queues = map(caller.look, (ShowStatus(), ListLibraries(), ListQueues()))
    except Refused as error:
        yield Finding.wrong("server", str(error), "do what it says, and check again")
        return
    yield from check_desks(libraries or (), queues or ())
    yield from check_certificates(
        settings.tls.certificates, [library["domain"] for library in libraries or ()]
    )
    yield from check_ports(settings, _held(status, settings))


def _held(status: Any, settings: Settings) -> list[str] | None:
    """What our server listens on; if it does not say, what it should listen on."""
    if status is None or not status.get("running"):
        return None
    usual = [description for key in LISTENERS for description in getattr(settings.listen, key)]
    held: list[str] = status.get("listening", usual)
    return held


def _print(finding: Finding) -> None:
    click.echo(f"{finding.result:<6} {finding.about}: {finding.found}")
    if finding.mend:
        click.echo(f"       to mend it: {finding.mend}")
