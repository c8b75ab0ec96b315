"""The modules that commands use and that take long to import: each is imported when it is first used.

SQLAlchemy and Twisted take longer to import than a running server takes to answer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection as Connection

    from refserver.app import account_removal as account_removal
    from refserver.app.parts import RunningServer as RunningServer
    from refserver.core import hooks as hooks
    from refserver.features import library_access as library_access
    from refserver.muc import occupants as occupants
    from refserver.reference import answering as answering
    from refserver.reference import offices as offices
    from refserver.reference import privacy as privacy
    from refserver.reference import report as report
    from refserver.storage import access_rules as access_rules
    from refserver.storage import accounts as accounts
    from refserver.storage import conversations as conversations
    from refserver.storage import errors as errors
    from refserver.storage import libraries as libraries
    from refserver.storage import migrations as migrations
    from refserver.storage import outbox as outbox
    from refserver.storage import questions as questions
    from refserver.storage import queues as queues
    from refserver.storage import rooms as rooms
    from refserver.storage import sqlite as sqlite
    from refserver.storage import statistics as statistics
    from refserver.storage.access_rules import Rule as Rule
else:
    Connection = Rule = RunningServer = Any  # only for annotations

    class _Late:
        """Stands for a module that is imported when one of its attributes is first used."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(import_module(self._name), attribute)

    for package, names in {
        "app": "account_removal",
        "core": "hooks",
        "features": "library_access",
        "muc": "occupants",
        "reference": "answering offices privacy report",
        "storage": "access_rules accounts conversations errors libraries migrations outbox questions queues "
        "rooms sqlite statistics",
    }.items():
        for name in names.split():
            globals()[name] = _Late(f"refserver.{package}.{name}")
