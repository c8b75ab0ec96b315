"""The features of a stream between servers: what each needs, and the element that offers it."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from refserver import ns
from refserver.sasl import EXTERNAL
from refserver.stream.features import LIMITS, STARTTLS, Has, Situation, StreamFeature
from refserver.stream.federation import ServerPolicy
from refserver.xml.element import Element, element


@frozen
class ServerSituation(Situation):
    """`external`: the peer's certificate proves the domain that its header names."""

    external: bool

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """EXTERNAL where it would succeed (RFC 6120 13.7.2, XEP-0178 3), else none."""
        return (EXTERNAL,) if self.external and not self.authenticated else ()


def _mechanisms(situation: Situation) -> Element | None:
    names = [element(ns.SASL, "mechanism", text=name) for name in situation.mechanisms]
    return element(ns.SASL, "mechanisms", None, *names) if names else None


def _dialback(situation: Situation) -> Element | None:
    policy = situation.policy
    if not isinstance(policy, ServerPolicy) or not policy.dialback:
        return None
    return element(ns.FEATURE_DIALBACK, "dialback", None, element(ns.FEATURE_DIALBACK, "errors"))


def _bidi(situation: Situation) -> Element | None:
    policy = situation.policy
    return element(ns.FEATURE_BIDI, "bidi") if isinstance(policy, ServerPolicy) and policy.bidi else None


def _management(situation: Situation) -> Element | None:
    policy = situation.policy
    return element(ns.SM, "sm") if isinstance(policy, ServerPolicy) and policy.management else None


SERVER_FEATURES: Final = (
    STARTTLS,
    StreamFeature("mechanisms", Has.PRIVACY, Has.AUTHENTICATED, _mechanisms),
    StreamFeature("dialback", Has.PRIVACY, Has.NOTHING, _dialback),  # XEP-0220 2.4.2
    StreamFeature("bidi", Has.PRIVACY, Has.AUTHENTICATED, _bidi),  # XEP-0288
    StreamFeature("sm", Has.AUTHENTICATED, Has.NOTHING, _management),  # XEP-0198
    LIMITS,
)
