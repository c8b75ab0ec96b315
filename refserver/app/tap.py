"""The plugin of twistd: the options of `twistd refserver` and the service they make."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from refserver.app.config import ConfigurationError, load
from refserver.app.log import LOG


class Options(usage.Options):
    """Options of `twistd refserver`."""

    longdesc = (
        "An XMPP server for libraries. Without --config: ./refserver.toml, then "
        "/etc/refserver/refserver.toml, then built-in defaults: data in ./var, listening on loopback only."
    )
    optParameters = [["config", "c", None, "The configuration file (TOML)."]]

    def postOptions(self) -> None:
        """Log in the server's own way, unless twistd's --logger names another one."""
        if self.parent is not None and not self.parent.get("logger"):
            LOG.options = self.parent
            self.parent["logger"] = f"{LOG.__module__}.LOG"


def makeService(options: Options) -> IService:
    """Return the whole server, not yet started.

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

    # Twisted's timers follow the wall clock, and stand still for an hour if that is set back by an hour.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]  # made for that: see ReactorBase
    LOG.set_level(settings.log.level)
    return compose(settings, reactor, read, LOG.set_level)
