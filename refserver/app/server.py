"""The server as a Twisted service: started by twistd, ended by SIGTERM, refreshed by SIGHUP.

Owns the order in which the parts start and stop. What the parts are is compose.py's business.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from refserver.app.data import DataInUse
from refserver.storage.errors import StorageError

log = Logger()


class Part(Protocol):
    """Something that starts and stops with the server."""

    def start(self) -> None:
        """Begin to serve. What it raises ends the start of the whole server."""

    async def stop(self) -> None:
        """Serve no more; return when everything is put away."""

    def reload(self) -> None:
        """Read certificates and settings again."""


class CannotStart(RuntimeError):
    """A part cannot start; the text says why and what to do."""


class NotReloaded(RuntimeError):
    """A part could not read everything again; what worked before goes on."""


class Server(Service):
    """Makes and starts the parts in order when twistd has forked, stops them in the opposite order.

    A part that cannot start ends the process with one line that says what to do, and status 1.
    """

    name = "refserver"

    def __init__(self, reactor: IReactorCore, build: Callable[[], Iterator[Part]]) -> None:
        self._reactor = reactor
        self._build = build
        self._started: list[Part] = []

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotations here
        _allow_descriptors()
        try:
            for part in self._build():
                part.start()
                self._started.append(part)
        except (OSError, CannotStart, DataInUse, StorageError) as error:
            print(f"refserver: {_explain(error)}", file=sys.stderr)
            raise SystemExit(1) from None
        except SQLAlchemyError as error:
            print(
                f"refserver: the database cannot be used ({type(error).__name__}); "
                "`refserverctl check` tells more, `refserverctl restore` puts a backup back",
                file=sys.stderr,
            )
            raise SystemExit(1) from None
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))  # type: ignore[attr-defined]
        sys.setswitchinterval(0.001)  # the database's threads need not wait 5 ms for a busy reactor
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at again
        gc.set_threshold(20_000, 20, 50)
        log.info("refserver is ready (process {pid})", pid=os.getpid())

    def reload(self) -> None:
        """Read again what SIGHUP asks for; a part that fails keeps what it had."""
        complete = True
        for part in self._started:
            try:
                part.reload()
            except Exception as error:
                complete = False
                log.error("not reloaded: {error}", error=_explain(error))
        if complete:
            log.info("certificates and settings were read again")

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]  # nor here
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for part in reversed(self._started):
            try:
                await part.stop()
            except Exception:
                log.failure("{part} could not be stopped in order", part=type(part).__name__)
        self._started.clear()


def _allow_descriptors() -> None:
    """As many file descriptors as we may have: each connection needs one, and shells start with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a limit that this system cannot grant: what we have must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _explain(error: Exception) -> str:
    return str(error) or type(error).__name__
