"""Requests: what an operator can ask for, each as one database transaction.

A request is an attrs class. Its attributes are the arguments, which travel as JSON; `run` is the transaction;
`apply` is what a running server does once the transaction is durable. A running server executes it, or, if
none runs, refserverctl does (context.py).

On the socket a request is a line of JSON, `{"request": "account add", "arguments": {...}}`, and so is its
answer: `{"ok": data}` or `{"refused": "line"}`. Bytes are in base64.

This module and the click commands import neither SQLAlchemy nor Twisted, but through late.py.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Final, TypeVar

from attrs import frozen
from cattrs import BaseValidationError, Converter

from refserver.app.commands.late import Connection, RunningServer, accounts, libraries, queues
from refserver.jid import JID, InvalidJID

T = TypeVar("T")


class Refused(Exception):
    """The request cannot be fulfilled and nothing was changed; the text is one line that says what to do."""


@frozen
class Done:
    """The result of a transaction: data for the operator, as JSON has them, and events for a running server.

    Data is a list of objects for a list; for a change it is an object whose `done` says what was done.
    """

    data: Any
    events: tuple[object, ...] = ()


@frozen
class Request(ABC):
    """Base class. `words` are those of the command; `writes` is False if the transaction only reads."""

    words: ClassVar[str]
    writes: ClassVar[bool] = True

    @abstractmethod
    def run(self, connection: Connection, now: float) -> Done:
        """Execute the request at `now` (Unix seconds) within a transaction. Raises `Refused`."""

    async def apply(self, server: RunningServer, done: Done) -> Any:
        """Make a running server act on the durable change; return the data for the operator."""
        for event in done.events:
            await server.core.hooks.ask(event)
        return done.data


@frozen
class ServerRequest(Request):
    """Base class of requests about what only a running server knows."""

    writes: ClassVar[bool] = False

    def run(self, connection: Connection, now: float) -> Done:
        """Raise `Refused`: the store does not know the answer."""
        raise Refused(f"{self.words} needs a running server, and none runs: start it, and ask again")

    @abstractmethod
    def answer(self, server: RunningServer) -> Any:
        """Return the data for the operator. Raises `Refused`."""


# -- requests as lines of JSON -------------------------------------------------------


def encode(request: Request) -> bytes:
    """Return the line that asks for a request."""
    return _line({"request": request.words, "arguments": to_json(request)})


def decode(line: bytes, kinds: Mapping[str, type[Request]]) -> Request:
    """Return the request in a line; `kinds` are the known ones by their words. Raises `Refused`."""
    try:
        asked = json.loads(line)
        words, arguments = asked["request"], asked.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refused('not a request: a line is {"request": …, "arguments": {…}}') from None
    kind = kinds.get(words) if isinstance(words, str) else None
    if kind is None:
        raise Refused("this server does not know that request: are server and refserverctl of one version?")
    try:
        return from_json(arguments, kind)
    except (BaseValidationError, ValueError, TypeError, AttributeError):
        raise Refused(
            f"{words}: these are not its arguments: are server and refserverctl of one version?"
        ) from None


def ok(data: Any) -> bytes:
    """Return the answer to a request that was fulfilled."""
    return _line({"ok": to_json(data)})


def refused(reason: str) -> bytes:
    """Return the answer to a request that was refused."""
    return _line({"refused": " ".join(reason.split())})


def read_answer(line: bytes) -> Any:
    """Return the data of an answer. Raises `Refused` with the reason of a refusal."""
    answer = json.loads(line)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer["ok"]


def to_json(value: Any) -> Any:
    """Return a value as JSON has it."""
    return _CONVERTER.unstructure(value)


def from_json(data: Any, kind: type[T]) -> T:
    """Return the value of class `kind` of which `to_json` made `data`."""
    return _CONVERTER.structure(data, kind)


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


_CONVERTER: Final = Converter(forbid_extra_keys=True)
_CONVERTER.register_unstructure_hook(bytes, lambda value: b64encode(value).decode("ascii"))
_CONVERTER.register_structure_hook(bytes, lambda text, _: b64decode(text, validate=True))


# -- dates and times -----------------------------------------------------------------


def day_of(text: str) -> date:
    """Return the day that is written like 2026-01-31. Raises `Refused`."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise Refused(f"{text!r} is no day: write it like 2026-01-31")
    return day


def moment(seconds: float | None) -> str | None:
    """Return a time as data has it: ISO 8601, UTC, to the second."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


# -- addresses: no account and no queue share one ------------------------------------
# A queue `ask` owns `ask` and every `ask+…` of its domain: its personas and questions (RFC 7622 addresses).


def domain_address(text: str, *, like: str = "library.example") -> str:
    """Return a domain in its normal form. Raises `Refused`, which shows a domain `like` it should be."""
    jid = _parsed(text)
    if jid is None or jid.localpart or jid.resourcepart:
        raise Refused(f"{text!r} is no domain: write it like {like}")
    return jid.domainpart


def served_domain(connection: Connection, text: str) -> str:
    """Return the domain of a library that is there. Raises `Refused`."""
    domain = domain_address(text)
    _library(connection, domain)
    return domain


def bare_address(text: str) -> JID:
    """Return an address local@domain. Raises `Refused`."""
    jid = _parsed(text)
    if jid is None or not jid.localpart or not jid.is_bare:
        raise Refused(f"{text!r} is no address: write it like mia@library.example")
    return jid


def domain_of(connection: Connection, jid: JID) -> str:
    """Return the domain of an address. Raises `Refused` if it is no library's."""
    _library(connection, jid.domainpart)
    return jid.domainpart


def queue_at(connection: Connection, text: str) -> queues.Queue:
    """Return the queue of that address. Raises `Refused`."""
    jid = bare_address(text)
    found = queues.find(connection, jid)
    if found is None:
        domain_of(connection, jid)
        raise Refused(f"there is no queue {jid}: `refserverctl queue list` shows those there are")
    return found


def queues_at(connection: Connection, text: str | None) -> list[queues.Queue]:
    """Return the queue of that address, or all queues if none is named. Raises `Refused`."""
    return queues.all_queues(connection) if text is None else [queue_at(connection, text)]


def queue_of(connection: Connection, jid: JID) -> queues.Queue | None:
    """Return the queue that owns an address: its own, or one of its personas or questions."""
    return queues.find(connection, JID.of(jid.localpart.partition("+")[0], jid.domainpart))


def refuse_shadowing(connection: Connection, account: JID) -> None:
    """Raise `Refused` if a queue owns the address of a new account."""
    owner = queue_of(connection, account)
    if owner is not None:
        raise Refused(f"{account} belongs to the queue {owner.jid}: choose another address")


def refuse_shadowed_accounts(connection: Connection, queue: JID) -> None:
    """Raise `Refused` if an account has the address of a new queue, or of its personas or questions."""
    own, personas = queue.localpart, f"{queue.localpart}+"
    for account in accounts.list(connection, queue.domainpart):
        if account.jid.localpart == own or account.jid.localpart.startswith(personas):
            raise Refused(
                f"there is an account {account.jid}, whose address the queue would take: "
                "choose another address, or remove the account first"
            )


def _library(connection: Connection, domain: str) -> None:
    if libraries.get(connection, domain) is None:
        raise Refused(
            f"there is no library {domain}: `refserverctl library list` shows those there are, "
            f"`refserverctl library add {domain}` adds it"
        )


def _parsed(text: str) -> JID | None:
    try:
        return JID.parse(text)
    except InvalidJID:
        return None
