"""Features are put in order when the server starts, and what does not fit together is an error then."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from refserver.core.feature import Feature, FeatureError, Request, Target, arrange, iq, on
from refserver.core.hooks import MessageSent, PresenceSent

CORE: Any = None


class Bold(Feature):
    name = "bold"

    @on(MessageSent)
    def sent(self, event: MessageSent) -> None:
        """Hear of messages."""

    @iq("get", "urn:a", "query", to=(Target.SERVER, Target.ACCOUNT))
    def get(self, request: Request) -> None:
        """Answer."""


class Shy(Feature):
    name = "shy"
    after: ClassVar[Any] = (Bold, "not installed")

    @on(MessageSent, PresenceSent)
    def sent(self, event: object) -> None:
        """Hear of both."""


class Last(Feature):
    name = "last"
    after = ("shy",)

    @on(MessageSent)
    def sent(self, event: MessageSent) -> None:
        """Hear of messages."""


def test_handlers_come_in_the_order_that_features_ask_for() -> None:
    bold, shy, last = Bold(CORE), Shy(CORE), Last(CORE)
    arranged = arrange([last, shy, bold])
    assert (bold, shy, last) == arranged.features
    assert (bold.sent, shy.sent, last.sent) == arranged.events[MessageSent]
    assert (shy.sent,) == arranged.events[PresenceSent]


def test_an_iq_has_one_handler_for_each_kind_of_address() -> None:
    bold = Bold(CORE)
    key = ("get", "{urn:a}query")
    assert {(*key, Target.SERVER): bold.get, (*key, Target.ACCOUNT): bold.get} == arrange([bold]).iqs


def test_what_a_feature_inherits_counts() -> None:
    class Bolder(Bold):
        name = "bolder"

    bolder = Bolder(CORE)
    assert (bolder.sent,) == arrange([bolder]).events[MessageSent]


def test_two_handlers_of_one_iq_are_an_error() -> None:
    class Rival(Feature):
        name = "rival"

        @iq("get", "urn:a", "query", to=Target.SERVER)
        def get(self, request: Request) -> None:
            """Answer, too."""

    with pytest.raises(FeatureError, match=r"get \{urn:a\}query is handled twice"):
        arrange([Bold(CORE), Rival(CORE)])


def test_two_features_of_one_name_are_an_error() -> None:
    with pytest.raises(FeatureError, match="two features are called bold"):
        arrange([Bold(CORE), Bold(CORE)])


def test_features_that_all_want_to_be_last_are_an_error() -> None:
    class Later(Feature):
        name = "not installed"
        after = ("last",)

    with pytest.raises(FeatureError, match=r"in a circle: .*shy"):
        arrange([Bold(CORE), Shy(CORE), Last(CORE), Later(CORE)])
