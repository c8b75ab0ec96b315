"""All verbs by name, and the verb that a line asks for: the server's end of what wish.py describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from cattrs import BaseValidationError

from refserver.app.verbs.accounts import (
    AccountVerifiers,
    AddAccount,
    DisableAccount,
    EnableAccount,
    ListAccounts,
    RemoveAccount,
    SetPassword,
)
from refserver.app.verbs.blocks import (
    AddAllow,
    AddBlock,
    AllowOnly,
    ListAllows,
    ListBlocks,
    ListSpam,
    RemoveAllow,
    RemoveBlock,
)
from refserver.app.verbs.canned import ListCanned, RemoveCanned, SetCanned
from refserver.app.verbs.federation import ListRemotes, ShowRemote
from refserver.app.verbs.librarians import AddLibrarian, ListLibrarians, RemoveLibrarian
from refserver.app.verbs.libraries import AddLibrary, ListLibraries, RemoveLibrary
from refserver.app.verbs.plain import CONVERTER, plain
from refserver.app.verbs.questions import ListQuestions, ShowQuestion
from refserver.app.verbs.queues import AddQueue, ListQueues, RemoveQueue, SetQueue
from refserver.app.verbs.reports import MakeReport
from refserver.app.verbs.status import ShowStatus
from refserver.app.verbs.verb import Refused, Verb
from refserver.app.verbs.wish import Wish, line_of

__all__ = ["VERBS", "decode", "encode", "ok", "refused"]

VERBS: Final[Mapping[str, type[Verb]]] = {
    kind.verb: kind
    for kind in (
        AddLibrary,
        ListLibraries,
        RemoveLibrary,
        AddAccount,
        AccountVerifiers,
        ListAccounts,
        RemoveAccount,
        SetPassword,
        DisableAccount,
        EnableAccount,
        AddQueue,
        SetQueue,
        ListQueues,
        RemoveQueue,
        AddLibrarian,
        ListLibrarians,
        RemoveLibrarian,
        SetCanned,
        ListCanned,
        RemoveCanned,
        AddBlock,
        ListBlocks,
        RemoveBlock,
        AddAllow,
        ListAllows,
        RemoveAllow,
        AllowOnly,
        ListSpam,
        ListQuestions,
        ShowQuestion,
        MakeReport,
        ListRemotes,
        ShowRemote,
        ShowStatus,
    )
}


def encode(verb: Verb) -> bytes:
    """A verb as a line."""
    return Wish(verb.verb, plain(verb)).line


def decode(line: bytes) -> Verb:
    """The verb that a line asks for. Raises `Refused`."""
    try:
        asked = json.loads(line)
        name, arguments = asked["verb"], asked.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refused('not a request: a line is {"verb": …, "arguments": {…}}') from None
    kind = VERBS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Refused("this server does not know that verb: are server and refserverctl of the same version?")
    try:
        return CONVERTER.structure(arguments, kind)
    except (BaseValidationError, ValueError, TypeError, AttributeError):
        raise Refused(
            f"{name}: these are not its arguments: are server and refserverctl of the same version?"
        ) from None


def ok(data: Any) -> bytes:
    """The answer of a verb that was done."""
    return line_of({"ok": plain(data)})


def refused(line: str) -> bytes:
    """The answer of a verb that was refused."""
    return line_of({"refused": " ".join(line.split())})
