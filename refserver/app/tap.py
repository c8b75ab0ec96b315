"""The plugin of twistd: the options of `twistd refserver`, the service they make, and its log.

twistd's options choose the place of the log: standard output with --nodaemon, else --logfile or --syslog. On
the journal's socket a line begins with its level (sd-daemon(3)) and has no time, which the journal adds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from twisted.application.service import IService
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
)
from twisted.python import usage
from twisted.python.logfile import LogFile

from refserver.app.config import ConfigurationError, load

_PRIORITIES: Final = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}


class Log:
    """Makes twistd's log observer; `options` are twistd's own, and set before it is asked for."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = options or {}
        self._levels = LogLevelFilterPredicate()

    def set_level(self, level: str) -> None:
        """Write events of this level and above from now on; `level` is a value of `[log] level`."""
        self._levels.setLogLevelForNamespace("", LogLevel.levelWithName(level))

    def __call__(self) -> ILogObserver:
        """Return the observer. twistd calls this once it knows the settings and has not yet forked."""
        observer: ILogObserver = FilteringLogObserver(self._observer(), [self._levels])
        return observer

    def _observer(self) -> ILogObserver:
        if self.options.get("syslog"):
            from twisted.python.syslog import SyslogObserver  # late: not every system has it

            emit: Any = SyslogObserver(self.options["prefix"]).emit
            legacy: ILogObserver = LegacyLogObserverWrapper(emit)
            return legacy
        name, in_foreground = self.options.get("logfile"), self.options.get("nodaemon")
        if in_foreground and name in (None, "", "-"):
            return FileLogObserver(sys.stdout, _journal_lines if is_journal(sys.stdout) else _lines)
        if name == "-":
            raise SystemExit("refserver: a daemon has no standard output to log to: choose a --logfile")
        file = LogFile.fromFullPath(name or "twistd.log")
        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, lambda *_: file.rotate())
        return FileLogObserver(file, _lines)


LOG: Final = Log()
"""The log of this process. twistd finds it by its name, as it wants a log observer's factory (--logger)."""


def is_journal(stream: IO[str]) -> bool:
    """Return True if `stream` is connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _lines(event: LogEvent) -> str | None:
    text = eventAsText(event)
    return text.replace("\n", "\n\t") + "\n" if text else None


def _journal_lines(event: LogEvent) -> str | None:
    text = eventAsText(event, includeTimestamp=False)
    priority = f"<{_PRIORITIES.get(event.get('log_level'), 6)}>"
    return "".join(f"{priority}{line}\n" for line in text.splitlines()) if text else None


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
