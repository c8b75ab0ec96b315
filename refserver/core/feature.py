"""What a feature is, and the registry that puts features in order.

A feature is a class: its name, the XEPs it implements, what it adds to service discovery,
and handlers: methods marked with `@iq` and `@on`. The registry freezes at start-up:
duplicate handlers, unknown neighbours and cycles are errors then, not surprises later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from attrs import frozen

from refserver.core.hooks import Handler
from refserver.core.hosts import Host
from refserver.core.sessions import Session
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml.element import Element, clark

if TYPE_CHECKING:
    from refserver.core.core import Core

__all__ = ["Feature", "FeatureError", "Request", "Target", "arrange", "iq", "on"]


class Target(Enum):
    """Whom an iq asks."""

    __hash__ = object.__hash__  # members are single; Enum's own hash is a Python function

    SERVER = "server"
    """A library's domain itself."""
    OWN = "own"
    """The sender's own account (its bare JID, or no `to`). Others' accounts: forbidden."""
    ACCOUNT = "account"
    """Any account's bare JID, the sender's own included."""


@frozen
class Request:
    """An iq of type get or set for the server or an account, as its handler sees it."""

    stanza: Stanza
    payload: Element
    host: Host
    account: JID
    """The bare JID asked (the library's own JID for `Target.SERVER`)."""
    session: Session | None
    """The sender's session, None for a sender elsewhere."""

    @property
    def sender(self) -> JID:
        """Who asks: a full JID, or a server's."""
        assert self.stanza.from_ is not None
        return self.stanza.from_

    @property
    def is_own(self) -> bool:
        """Whether the sender asks its own account."""
        return self.session is not None and self.session.account == self.account


@frozen
class _IqMark:
    type: str
    tag: str
    to: tuple[Target, ...]


@frozen
class _OnMark:
    events: tuple[type, ...]


F = TypeVar("F", bound=Callable[..., Any])


def iq(type: str, namespace: str, name: str, to: Target | tuple[Target, ...]) -> Callable[[F], F]:
    """Mark the handler of an iq: `type` is get or set, the payload `{namespace}name`.

    The handler takes a `Request` and returns the result's payload or None, now or (async) later.
    """

    def mark(function: F) -> F:
        targets = to if isinstance(to, tuple) else (to,)
        _marks(function).append(_IqMark(type, clark(namespace, name), targets))
        return function

    return mark


def on(*events: type) -> Callable[[F], F]:
    """Mark the handler of events (core/hooks.py)."""

    def mark(function: F) -> F:
        _marks(function).append(_OnMark(events))
        return function

    return mark


def _marks(function: Any) -> list[_IqMark | _OnMark]:
    if not hasattr(function, "feature_marks"):
        function.feature_marks = []
    marks: list[_IqMark | _OnMark] = function.feature_marks
    return marks


class Feature:
    """Base class of features. See the module's text."""

    name: ClassVar[str]
    xeps: ClassVar[tuple[str, ...]] = ()
    """Numbers of the XEPs implemented, as four digits."""
    disco: ClassVar[tuple[str, ...]] = ()
    """What the library's domain advertises (XEP-0030)."""
    account_disco: ClassVar[tuple[str, ...]] = ()
    """What an account's bare JID advertises."""
    after: ClassVar[tuple[type[Feature] | str, ...]] = ()
    """Features whose handlers of the same event come first. Names not installed are passed over."""

    def __init__(self, core: Core) -> None:
        self.core = core


class FeatureError(Exception):
    """The features do not fit together: a mistake in how the server was composed."""


@frozen
class Arrangement:
    """All handlers of the installed features, in order."""

    features: tuple[Feature, ...]
    iqs: Mapping[tuple[str, str, Target], Handler]
    events: Mapping[type, tuple[Handler, ...]]


def arrange(features: Iterable[Feature]) -> Arrangement:
    """Order features by `after` and collect their handlers. Raises `FeatureError`."""
    ordered = _order(list(features))
    iqs: dict[tuple[str, str, Target], Handler] = {}
    events: dict[type, list[Handler]] = {}
    for feature in ordered:
        for handler, mark in _handlers(feature):
            if isinstance(mark, _OnMark):
                for event in mark.events:
                    events.setdefault(event, []).append(handler)
                continue
            for target in mark.to:
                key = (mark.type, mark.tag, target)
                if key in iqs:
                    raise FeatureError(f"{feature.name}: {mark.type} {mark.tag} is handled twice")
                iqs[key] = handler
    return Arrangement(tuple(ordered), iqs, {event: tuple(found) for event, found in events.items()})


def _handlers(feature: Feature) -> Iterable[tuple[Handler, _IqMark | _OnMark]]:
    for name in dir(type(feature)):
        for mark in getattr(getattr(type(feature), name), "feature_marks", ()):
            yield getattr(feature, name), mark


def _order(features: list[Feature]) -> list[Feature]:
    by_name: dict[str, Feature] = {}
    for feature in features:
        if by_name.setdefault(feature.name, feature) is not feature:
            raise FeatureError(f"two features are called {feature.name}")
    graph: dict[str, list[str]] = {}
    for feature in features:
        names = [other if isinstance(other, str) else other.name for other in feature.after]
        graph[feature.name] = [name for name in names if name in by_name]
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise FeatureError(
            f"features come after each other in a circle: {', '.join(error.args[1])}"
        ) from error
