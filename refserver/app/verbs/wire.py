"""Verbs and their answers as lines of JSON: what refserverctl and a running server say to each other.

`{"verb": "account add", "arguments": {…}}` is answered by `{"ok": data}` or `{"refused": "line"}`. Bytes
travel in base64.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from cattrs import BaseValidationError, Converter

from refserver.app.verbs.accounts import (
    AccountVerifiers,
    AddAccount,
    DisableAccount,
    EnableAccount,
    ListAccounts,
    RemoveAccount,
    SetPassword,
)
from refserver.app.verbs.canned import ListCanned, RemoveCanned, SetCanned
from refserver.app.verbs.librarians import AddLibrarian, ListLibrarians, RemoveLibrarian
from refserver.app.verbs.libraries import AddLibrary, ListLibraries, RemoveLibrary
from refserver.app.verbs.questions import ListQuestions, ShowQuestion
from refserver.app.verbs.queues import AddQueue, ListQueues, RemoveQueue, SetQueue
from refserver.app.verbs.reports import MakeReport
from refserver.app.verbs.status import ShowStatus
from refserver.app.verbs.verb import Refused, Verb

__all__ = ["LONGEST_LINE", "VERBS", "decode", "encode", "made_of", "ok", "plain", "read_answer", "refused"]

T = TypeVar("T")

LONGEST_LINE: Final = 16 * 1024 * 1024  # a list of 100,000 accounts is one line

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
        ListQuestions,
        ShowQuestion,
        MakeReport,
        ShowStatus,
    )
}


def encode(verb: Verb) -> bytes:
    """A verb as a line."""
    return _line({"verb": verb.verb, "arguments": plain(verb)})


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
        return _converter.structure(arguments, kind)
    except (BaseValidationError, ValueError, TypeError, AttributeError):
        raise Refused(
            f"{name}: these are not its arguments: are server and refserverctl of the same version?"
        ) from None


def ok(data: Any) -> bytes:
    """The answer of a verb that was done."""
    return _line({"ok": plain(data)})


def refused(line: str) -> bytes:
    """The answer of a verb that was refused."""
    return _line({"refused": " ".join(line.split())})


def read_answer(line: bytes) -> Any:
    """The data of an answer. Raises `Refused` for one that says so."""
    answer = json.loads(line)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer["ok"]


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return _converter.unstructure(value)


def made_of(data: Any, kind: type[T]) -> T:
    """A value of class `kind` from what `plain` made of it."""
    return _converter.structure(data, kind)


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


_converter = Converter(forbid_extra_keys=True)
_converter.register_unstructure_hook(bytes, lambda value: b64encode(value).decode("ascii"))
_converter.register_structure_hook(bytes, lambda text, _: b64decode(text, validate=True))
