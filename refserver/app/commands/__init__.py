"""The commands of refserverctl: one module a noun.

A request (request.py) is a class with its transaction and what a running server does about it; `@command`
(context.py) declares what is typed. docs/architecture.md walks the way of a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from refserver.app.commands.request import Done, Refused, Request, ServerRequest

__all__ = ["MODULES", "Done", "Refused", "Request", "ServerRequest", "load_requests"]

MODULES: Final = {
    "account": "accounts",
    "allow": "blocks",
    "backup": "backup",
    "block": "blocks",
    "canned": "queues",
    "check": "check",
    "example": "check",
    "librarian": "librarians",
    "library": "libraries",
    "question": "questions",
    "patron": "patrons",
    "queue": "queues",
    "report": "questions",
    "restore": "backup",
    "s2s": "s2s",
    "spam": "blocks",
    "status": "status",
    "transcript": "patrons",
}
"""The first word of each command, and the module in this folder that has it."""


def load_requests() -> Mapping[str, type[Request]]:
    """Import every module of commands; return all classes of requests by their words."""
    modules = [import_module(f"{__name__}.{name}") for name in sorted(set(MODULES.values()))]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {kind.words: kind for kind in found if issubclass(kind, Request) and hasattr(kind, "words")}
