"""All checks, in the order in which one depends on the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refserver.app.checks.certificates import check_certificates
from refserver.app.checks.components import check_components
from refserver.app.checks.data import check_data
from refserver.app.checks.desks import check_desks
from refserver.app.checks.dns import NameServers, system_name_servers
from refserver.app.checks.federation import check_federation
from refserver.app.checks.finding import Finding
from refserver.app.checks.machine import this_machine
from refserver.app.checks.ports import check_ports, listeners
from refserver.app.commands import Refused
from refserver.app.commands.caller import Caller
from refserver.app.commands.libraries import ListLibraries
from refserver.app.commands.queues import ListQueues
from refserver.app.commands.status import ShowStatus
from refserver.app.config import ConfigurationError, find, load
from refserver.app.settings import Settings

__all__ = ["check_everything"]


def check_everything(config: Path | None) -> Iterator[Finding]:
    """Findings on the configuration in effect and all that it names; `config` as for `config.load`."""
    try:
        settings = load(config)
    except ConfigurationError as error:
        for problem in error.problems:
            yield Finding.wrong(
                "configuration", f"{error.file}: {problem}", "correct the file, and check again"
            )
        return
    file = find(config)
    yield Finding.good("configuration", "no file: built-in defaults" if file is None else str(file))
    caller = Caller(settings)
    yield from check_data(caller.database)
    try:
        status, libraries, queues = map(caller.look, (ShowStatus(), ListLibraries(), ListQueues()))
    except Refused as error:
        yield Finding.wrong("server", str(error), "do what it says, and check again")
        return
    yield from check_desks(libraries or (), queues or ())
    domains = [library["domain"] for library in libraries or ()]
    yield from check_certificates(settings.tls.certificates, domains, settings.s2s.trusted_ca)
    yield from check_components(settings.components.secret_files, domains)
    places = [(place.host, place.port) for place in settings.s2s.name_servers]
    look_up = NameServers(places or system_name_servers())
    yield from check_federation(settings, domains, look_up, this_machine())
    yield from check_ports(settings, _held(status, settings))


def _held(status: Any, settings: Settings) -> list[str] | None:
    """What our server listens on; if it does not say, what it should listen on. None: it does not run."""
    if status is None or not status.get("running"):
        return None
    usual = [description for key in listeners(settings) for description in getattr(settings.listen, key)]
    held: list[str] = status.get("listening", usual)
    return held
