"""`Feature`, the base class of features, and `arrange`, which puts features in order.

A feature is a class: its name, the XEPs it implements, what it adds to service discovery, and methods
declared with `@iq`, `@disco_info`, `@disco_items` (core/iqs.py) and `@on`. Duplicate handlers and cycles are
errors at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from attrs import frozen

from refserver.core.hooks import Handler
from refserver.core.iqs import IqHandlers, Request, Target, disco_info, disco_items, iq, marks_of

if TYPE_CHECKING:
    from refserver.core.core import Core

__all__ = ["Feature", "FeatureError", "Request", "Target", "arrange", "disco_info", "disco_items", "iq", "on"]


@frozen
class _OnMark:
    events: tuple[type, ...]


F = TypeVar("F", bound=Callable[..., Any])


def on(*events: type) -> Callable[[F], F]:
    """Mark the handler of events (core/hooks.py)."""

    def mark(function: F) -> F:
        marks_of(function).append(_OnMark(events))
        return function

    return mark


class Feature:
    """Base class of features. See the module's text."""

    name: ClassVar[str]
    xeps: ClassVar[tuple[str, ...]] = ()
    """Numbers of the XEPs implemented, as four digits."""
    disco: ClassVar[Mapping[Target, tuple[str, ...]]] = {}
    """The features that targets advertise (XEP-0030), besides the namespaces of iq handlers."""
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
    iqs: IqHandlers
    events: Mapping[type, tuple[Handler, ...]]


def arrange(features: Iterable[Feature]) -> Arrangement:
    """Order features by `after` and collect their handlers. Raises `FeatureError`."""
    ordered = _order(list(features))
    iqs = IqHandlers()
    events: dict[type, list[Handler]] = {}
    for feature in ordered:
        for target, names in feature.disco.items():
            iqs.advertise(target, names)
        for handler, mark in _declared(feature):
            if isinstance(mark, _OnMark):
                for event in mark.events:
                    events.setdefault(event, []).append(handler)
                continue
            try:
                iqs.add(handler, mark, feature.name)
            except ValueError as error:
                raise FeatureError(str(error)) from error
    return Arrangement(tuple(ordered), iqs, {event: tuple(found) for event, found in events.items()})


def _declared(feature: Feature) -> Iterable[tuple[Handler, object]]:
    for name in dir(type(feature)):
        for mark in getattr(getattr(type(feature), name), "marks", ()):
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
