"""The order of features, and what cannot be put together."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from refserver.core.feature import Feature, FeatureError, Request, Target, arrange, iq, on
from refserver.core.hooks import MessageDelivering, MessageSent
from refserver.xml.element import clark

CORE: Any = None  # no feature here looks at it
REQUEST: Any = None


def feature(name: str, *after: type[Feature] | str, event: type = MessageSent) -> type[Feature]:
    """A feature with one handler that returns its name."""

    class Made(Feature):
        @on(event)
        def handle(self, happened: object) -> str:
            return self.name

    Made.name, Made.after = name, after
    return Made


def order(*kinds: type[Feature]) -> list[str]:
    arrangement = arrange(kind(CORE) for kind in kinds)
    handlers = arrangement.events[MessageSent]
    assert [feature.name for feature in arrangement.features] == [handler(None) for handler in handlers]
    return [handler(None) for handler in handlers]


def test_features_come_after_those_they_name_however_they_are_listed() -> None:
    first = feature("first")
    second = feature("second", first)
    third = feature("third", "second", first)
    for listed in ([first, second, third], [third, second, first], [second, third, first]):
        assert ["first", "second", "third"] == order(*listed)


def test_without_a_wish_the_listed_order_stays() -> None:
    names = ["c", "a", "d", "b"]
    assert names == order(*map(feature, names))


def test_a_neighbour_that_is_not_installed_is_passed_over() -> None:
    assert ["a", "b"] == order(feature("a", "archive"), feature("b", "a", "carbons"))


def test_a_circle_is_an_error_that_names_it() -> None:
    with pytest.raises(FeatureError, match=r"circle: .*\ba\b.*\bb\b|circle: .*\bb\b.*\ba\b"):
        order(feature("a", "b"), feature("b", "a"))


def test_a_feature_after_itself_is_a_circle() -> None:
    with pytest.raises(FeatureError, match="circle"):
        order(feature("a", "a"))


def test_two_of_one_name_are_an_error() -> None:
    with pytest.raises(FeatureError, match="two features are called a"):
        order(feature("a"), feature("a"))


class Ping(Feature):
    name = "ping"

    @iq("get", "urn:p", "ping", to=(Target.SERVER, Target.ACCOUNT))
    def ping(self, request: Request) -> str:
        return "pong"

    @iq("set", "urn:p", "ping", to=Target.SERVER)
    @iq("set", "urn:q", "ping", to=Target.OWN)
    def change(self, request: Request) -> str:
        return "changed"

    @on(MessageSent, MessageDelivering)
    def both(self, event: object) -> str:
        return "both"


class Other(Feature):
    name = "other"
    target: ClassVar[Target] = Target.SERVER

    @iq("get", "urn:p", "ping", to=Target.SERVER)
    def ping(self, request: Request) -> str:
        return "mine"


def test_handlers_are_found_by_type_payload_and_target() -> None:
    iqs = arrange([Ping(CORE)]).iqs
    assert {
        ("get", clark("urn:p", "ping"), Target.SERVER): "pong",
        ("get", clark("urn:p", "ping"), Target.ACCOUNT): "pong",
        ("set", clark("urn:p", "ping"), Target.SERVER): "changed",
        ("set", clark("urn:q", "ping"), Target.OWN): "changed",
    } == {key: handler(REQUEST) for key, handler in iqs.iqs.items()}


def test_one_handler_may_serve_several_events() -> None:
    events = arrange([Ping(CORE)]).events
    assert ["both"] == [handler(None) for handler in events[MessageSent]]
    assert ["both"] == [handler(None) for handler in events[MessageDelivering]]


def test_a_question_that_two_would_answer_is_an_error() -> None:
    with pytest.raises(FeatureError, match=r"other: get \{urn:p\}ping is handled twice"):
        arrange([Ping(CORE), Other(CORE)])


def test_the_handlers_of_a_base_class_are_inherited_and_may_be_overridden() -> None:
    class Derived(Ping):
        name = "derived"

        def both(self, event: object) -> str:
            return "not a handler any more"

    arrangement = arrange([Derived(CORE)])
    assert 4 == len(arrangement.iqs.iqs)
    assert MessageSent not in arrangement.events
