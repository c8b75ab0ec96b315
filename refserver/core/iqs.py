"""Iq requests: one way to declare their handlers, one dispatcher that answers them for every destination.

A method is declared to be the handler of a request with `@iq`, whatever kind of address (`Target`) is asked:

    class Ping(Feature):
        @iq("get", ns.PING, "ping", to=(Target.SERVER, Target.QUEUE))
        def ping(self, request: Request) -> None: ...

Handlers are methods of features, or of the class of what is asked (a room, a queue), which the destination
passes to `Iqs.answer` as `place`; the place's own handler comes first. A handler returns the payload of the
result or None, at once or later (`async def`, a Deferred), or raises `StanzaError`.

The dispatcher answers service discovery (XEP-0030) for every target. A target's features are the namespaces
of its handlers and what features list in `disco`; identities, further features and forms (XEP-0128) come from
methods declared with `@disco_info`, of which a target may have several, and items from `@disco_items`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from functools import partial
from typing import Any, Final, TypeVar

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.hosts import Host
from refserver.core.router import Router
from refserver.core.sessions import Session, Sessions
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.payloads.disco import Info, Item, format_info, format_items
from refserver.stanza import Stanza
from refserver.xml.element import Element, clark

log = Logger()

_INFO: Final = clark(ns.DISCO_INFO, "query")
_ITEMS: Final = clark(ns.DISCO_ITEMS, "query")


class Target(Enum):
    """The kinds of addresses that an iq may ask."""

    __hash__ = object.__hash__  # members are single; Enum's own hash is a Python function

    SERVER = "server"
    """A library's domain."""
    OWN = "own"
    """The sender's own account (its bare JID, or no `to`). Others are answered with forbidden."""
    ACCOUNT = "account"
    """Any account's bare JID, the sender's own included."""
    ROOM_SERVICE = "room service"
    """The domain of a library's rooms."""
    ROOM = "room"
    """A room's bare JID."""
    OCCUPANT = "occupant"
    """A room's JID with a nickname."""
    QUEUE = "queue"
    """A queue's address."""
    QUESTION = "question"
    """The address of a question's chat."""
    COMPONENT = "component"
    """A component's domain, while the component is away."""


@frozen
class Request:
    """An iq of type get or set, as its handler sees it.

    `host` is the library that is asked, `place` what the destination says is asked (a room, a queue),
    `session` the sender's session, None for a sender elsewhere.
    """

    stanza: Stanza
    payload: Element
    target: Target
    host: Host
    session: Session | None = None
    place: Any = None

    @property
    def address(self) -> JID:
        """The bare JID that is asked."""
        assert self.stanza.to is not None
        return self.stanza.to.bare

    @property
    def sender(self) -> JID:
        """The sender: a full JID, or a server's."""
        assert self.stanza.from_ is not None
        return self.stanza.from_

    @property
    def is_own(self) -> bool:
        """True if the sender asks its own account."""
        return self.session is not None and self.session.account == self.address


Handler = Callable[[Request], Any]
F = TypeVar("F", bound=Callable[..., Any])
Targets = Target | tuple[Target, ...]


# -- declarations ------------------------------------------------------------------


@frozen
class _IqMark:
    type: str
    namespace: str
    name: str
    to: tuple[Target, ...]
    advertise: bool


@frozen
class _DiscoMark:
    tag: str
    node: str
    to: tuple[Target, ...]


def iq(type: str, namespace: str, name: str, to: Targets, *, advertise: bool = True) -> Callable[[F], F]:
    """Declare the handler of an iq: `type` is get or set, the payload `{namespace}name`.

    With `advertise` the namespace is a feature of each target (XEP-0030).
    """
    return _marker(_IqMark(type, namespace, name, _tuple(to), advertise))


def disco_info(to: Targets, node: str = "") -> Callable[[F], F]:
    """Declare a method that contributes to the disco#info of targets: `(Request) -> Info`, or a coroutine.

    It raises `StanzaError` if the sender may not know that the address exists. For `node` see `Iqs`.
    """
    return _marker(_DiscoMark(_INFO, node, _tuple(to)))


def disco_items(to: Targets, node: str = "") -> Callable[[F], F]:
    """Declare a method that contributes to the disco#items of targets: `(Request) -> Iterable[Item]`."""
    return _marker(_DiscoMark(_ITEMS, node, _tuple(to)))


def _marker(mark: object) -> Callable[[F], F]:
    def add(function: F) -> F:
        marks_of(function).append(mark)
        return function

    return add


def _tuple(to: Targets) -> tuple[Target, ...]:
    return to if isinstance(to, tuple) else (to,)


def marks_of(function: Any) -> list[object]:
    """The declarations made for a function, to be added to."""
    if not hasattr(function, "marks"):
        function.marks = []
    marks: list[object] = function.marks
    return marks


# -- tables ------------------------------------------------------------------------


@define
class IqHandlers:
    """The handlers of all features, or of one class of places."""

    iqs: dict[tuple[str, str, Target], Handler] = Factory(dict)
    disco: dict[tuple[str, Target, str], list[Handler]] = Factory(dict)
    advertised: dict[Target, set[str]] = Factory(dict)

    def add(self, handler: Handler, mark: object, owner: str) -> None:
        """Add a handler by its declaration. Raises `ValueError` for a request that has a handler already."""
        if isinstance(mark, _DiscoMark):
            for target in mark.to:
                self.disco.setdefault((mark.tag, target, mark.node), []).append(handler)
        elif isinstance(mark, _IqMark):
            tag = clark(mark.namespace, mark.name)
            for target in mark.to:
                key = (mark.type, tag, target)
                if key in self.iqs:
                    raise ValueError(f"{owner}: {mark.type} {tag} is handled twice")
                self.iqs[key] = handler
                if mark.advertise:
                    self.advertise(target, (mark.namespace,))

    def advertise(self, target: Target, features: Iterable[str]) -> None:
        """List features in the disco#info of a target."""
        self.advertised.setdefault(target, set()).update(features)


def _handlers_of(kind: type) -> IqHandlers:
    """The handlers declared by the methods of a class of places."""
    found = IqHandlers()
    for name in dir(kind):
        for mark in getattr(getattr(kind, name), "marks", ()):
            found.add(partial(_call, name), mark, kind.__name__)
    return found


def _call(name: str, request: Request) -> Any:
    return getattr(request.place, name)(request)


# -- dispatching -------------------------------------------------------------------


class Iqs:
    """Answers iq requests for every destination of this server.

    Disco with a node: the handlers declared without a node are asked first, so that who may not see an
    address learns nothing of its nodes (XEP-0030 8). A node without a handler is item-not-found.
    """

    def __init__(self, router: Router, sessions: Sessions) -> None:
        self._router = router
        self._sessions = sessions
        self._features = IqHandlers()
        self._places: dict[type, IqHandlers] = {}

    def freeze(self, handlers: IqHandlers) -> None:
        """Set the handlers of the features, once, at start."""
        self._features = handlers

    def answer(self, stanza: Stanza, host: Host, target: Target, place: object = None) -> None:
        """Answer an iq of type get or set that was sent to `place`. Never raises."""
        payload = stanza.payload
        if payload is None or stanza.from_ is None:
            return
        request = Request(stanza, payload, target, host, self._sessions.get(stanza.from_), place)
        try:
            answer = self._handler(request)(request)
        except Exception:
            self._failed(Failure(), stanza)
            return
        if isinstance(answer, Coroutine):
            answer = Deferred.fromCoroutine(answer)
        if isinstance(answer, Deferred):
            answer.addCallback(self._answered, stanza)
            answer.addErrback(self._failed, stanza)
        else:
            self._answered(answer, stanza)

    def _answered(self, payload: Element | None, stanza: Stanza) -> None:
        self._router.route(stanza.result(payload))

    def _failed(self, failure: Failure, stanza: Stanza) -> None:
        error = failure.value
        if not isinstance(error, StanzaError):
            log.failure("an iq could not be processed", failure=failure)
            error = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        self._router.bounce(stanza, error)

    def _handler(self, request: Request) -> Handler:
        type, tag = request.stanza.type, request.payload.tag
        if type == "get" and tag == _INFO:
            return self._info
        if type == "get" and tag == _ITEMS:
            return self._items
        tables = self._tables(request)
        if request.target is Target.ACCOUNT:
            own = _first(tables, (type, tag, Target.OWN))
            if own is not None and request.is_own:
                return own
        found = _first(tables, (type, tag, request.target))
        if found is not None:
            return found
        if request.target is Target.ACCOUNT and own is not None:
            raise StanzaError(Condition.FORBIDDEN)
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)  # RFC 6120 8.4

    def _tables(self, request: Request) -> tuple[IqHandlers, ...]:
        if request.place is None:
            return (self._features,)
        kind = type(request.place)
        if kind not in self._places:
            self._places[kind] = _handlers_of(kind)
        return self._places[kind], self._features

    # -- service discovery ---------------------------------------------------------

    async def _info(self, request: Request) -> Element:
        found = await self._all_info(request, "")
        node = request.payload.get("node", "")
        if node:
            found = await self._all_info(request, node)
            if not found:
                raise StanzaError(Condition.ITEM_NOT_FOUND)
            return format_info(found, node)
        if not found:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return format_info([*found, Info(features=self._advertised(request))])

    async def _items(self, request: Request) -> Element:
        node = request.payload.get("node", "")
        if node:
            try:
                await self._all_info(request, "")
            except StanzaError:  # a stranger hears the same as without a node
                return format_items(await self._all_items(request, ""), node)
            if not self._contributions(_ITEMS, request, node):
                raise StanzaError(Condition.ITEM_NOT_FOUND)
        elif not self._contributions(_INFO, request, ""):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return format_items(await self._all_items(request, node), node)

    async def _all_info(self, request: Request, node: str) -> list[Info]:
        return [await _value(handler(request)) for handler in self._contributions(_INFO, request, node)]

    async def _all_items(self, request: Request, node: str) -> list[Item]:
        contributions = self._contributions(_ITEMS, request, node)
        return [item for handler in contributions for item in await _value(handler(request))]

    def _contributions(self, tag: str, request: Request, node: str) -> list[Handler]:
        key = (tag, request.target, node)
        return [handler for table in self._tables(request) for handler in table.disco.get(key, ())]

    def _advertised(self, request: Request) -> set[str]:
        targets = (request.target, Target.OWN) if request.is_own else (request.target,)
        tables = self._tables(request)
        return {name for table in tables for target in targets for name in table.advertised.get(target, ())}


def _first(tables: Iterable[IqHandlers], key: tuple[str, str, Target]) -> Handler | None:
    return next((table.iqs[key] for table in tables if key in table.iqs), None)


async def _value(answer: Any) -> Any:
    return await answer if isinstance(answer, Coroutine | Deferred) else answer
