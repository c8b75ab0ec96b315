"""refserverctl check and example: what is wrong with an installation; the files that one needs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from refserver.app.checks import READ, Finding, ServerUser
from refserver.app.commands.context import Caller, Context, pass_context, print_json, printable
from refserver.app.commands.libraries import ListLibraries
from refserver.app.commands.queues import ListQueues
from refserver.app.commands.request import Refused, to_json
from refserver.app.commands.status import ShowStatus
from refserver.app.config import ConfigurationError, find, load
from refserver.app.settings import Settings


@click.command()
@click.pass_context
@pass_context
def check(context: Context, ctx: click.Context) -> None:
    """Look for what is wrong, and say how to mend it. Status 1 if something is wrong."""
    findings = list(_findings(context.config))
    if context.json:
        print_json(to_json(findings))
    else:
        for finding in findings:
            _print(finding)
    if any(finding.result == "wrong" for finding in findings):
        ctx.exit(1)


def _findings(config: Path | None) -> Iterator[Finding]:
    """Check everything, in the order in which one check depends on another; `config` as for `config.load`."""
    from refserver.app.checks import certificates, data, dns, ports  # late: they take long to import

    try:
        settings = load(config)
    except ConfigurationError as error:
        for problem in error.problems:
            yield Finding.wrong(
                "configuration", f"{error.file}: {problem}", "correct the file, and check again"
            )
        return
    file = find(config)
    caller = Caller(settings)
    user = ServerUser.of(caller.folder)
    if file is not None and not user.may(file, READ):
        yield Finding.wrong("configuration", f"{user.name} cannot read {file}", f"chmod o+r {file}")
    else:
        yield Finding.good("configuration", "no file: built-in defaults" if file is None else str(file))
    yield from data.check_plugins(user)
    yield from data.check_data(caller.database, user)
    try:
        status, libraries, queues = map(caller.look, (ShowStatus(), ListLibraries(), ListQueues()))
    except Refused as error:
        yield Finding.wrong("server", str(error), "do what it says, and check again")
        return
    yield from data.check_desks(libraries or (), queues or ())
    domains = [library["domain"] for library in libraries or ()]
    trusted = settings.s2s.trusted_ca
    yield from certificates.check_certificates(settings.tls.certificates, domains, user, trusted)
    yield from data.check_components(settings.components.secret_files, domains, user)
    places = [(place.host, place.port) for place in settings.s2s.name_servers]
    look_up = dns.NameServers(places or dns.system_name_servers())
    yield from dns.check_federation(settings, domains, look_up, ports.this_machine())
    yield from ports.check_ports(settings, _held(status, settings, ports.listeners(settings)))


def _held(status: Any, settings: Settings, keys: Iterable[str]) -> list[str] | None:
    """Return what our server listens on, or should listen on if it does not say; None if it does not run."""
    if status is None or not status.get("running"):
        return None
    usual = [text for key in keys for text in getattr(settings.listen, key)]
    held: list[str] = status.get("listening", usual)
    return held


def _print(finding: Finding) -> None:
    click.echo(printable(f"{finding.result:<6} {finding.about}: {finding.found}"))
    if finding.mend:
        first, *records = printable(finding.mend).splitlines()
        click.echo(f"       to mend it: {first}")
        for record in records:
            click.echo(f"         {record}")


# -- examples ------------------------------------------------------------------------


EXAMPLES: Final = {"config": "refserver.toml", "unit": "refserver.service", "certificates": "certificates.sh"}

_FOLDER: Final = Path(__file__).parents[1] / "examples"
_OF_CHECKOUT: Final = Path(__file__).parents[3] / "conf"  # the wheel has the configuration among the examples


@click.command()
@click.argument("which", type=click.Choice(list(EXAMPLES)), metavar="|".join(EXAMPLES))
def example(which: str) -> None:
    """Print the commented configuration, a systemd unit, or a script that installs certificates."""
    file = _FOLDER / EXAMPLES[which]
    text = (file if file.exists() else _OF_CHECKOUT / file.name).read_text("utf-8")
    click.echo(text.replace("/opt/refserver/bin", str(Path(sys.executable).parent)), nl=False)
