"""The log: which events are written, where, and how a line looks.

twistd's options choose the place: standard output with --nodaemon, else --logfile or --syslog. On the
journal's socket a line begins with its level (sd-daemon(3)) and has no time, which the journal adds.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import IO, Any, Final

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
from twisted.python.logfile import LogFile

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
