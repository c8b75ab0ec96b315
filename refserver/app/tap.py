"""What twistd calls: the options of `twistd refserver` and the service they make.

Owns the command line of the server process. Reads the settings, and leaves wiring to `compose`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from refserver.app.config import ConfigurationError, load

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """Options of `twistd refserver`."""

    longdesc = (
        "An XMPP server for libraries. Without --config: ./refserver.toml, then "
        "/etc/refserver/refserver.toml, then built-in defaults: data in ./var, listening on loopback only."
    )
    optParameters = [["config", "c", None, "The configuration file (TOML)."]]


def makeService(options: Options) -> IService:
    """The whole server, not yet started.

    A faulty configuration ends the process with status 1, one line a fault.
    """
    path = options["config"]
    read = partial(load, Path(path).absolute() if path is not None else None)
    try:
        settings = read()
    except ConfigurationError as error:
        raise SystemExit(f"refserver: {error}") from None
    # Late, so that `twistd --help` and a faulty configuration need neither the reactor nor the whole server.
    from twisted.internet import reactor

    from refserver.app.compose import compose

    return compose(settings, reactor, read)
