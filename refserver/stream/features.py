"""Stream features as data: what each needs, what it forbids, and the element that offers it.

A feature is offered where all it needs is there and nothing it forbids (RFC 6120 4.3.2). The
machine that carries a feature out is elsewhere; these are only the announcements.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto
from functools import lru_cache
from typing import Final

from attrs import frozen

from refserver import ns
from refserver.stream.policy import StreamPolicy
from refserver.xml.element import Element, element
from refserver.xml.write import serialise


class Has(Flag):
    """The stages that a stream has reached."""

    # Members are single: their identity serves as a hash, and costs nothing.
    __hash__ = object.__hash__

    NOTHING = 0
    TLS = auto()
    PRIVACY = auto()  # TLS, or a policy that does not require it
    AUTHENTICATED = auto()


@frozen
class Situation:
    """All that the features of a stream depend on.

    `bindings` are channel-binding types, `mechanisms` the SASL mechanisms that may be used, best first.
    """

    policy: StreamPolicy
    tls: bool
    bindings: tuple[str, ...]
    authenticated: bool
    mechanisms: tuple[str, ...]

    @property
    def has(self) -> Has:
        """The stages that the stream has reached."""
        reached = Has.NOTHING
        if self.tls:
            reached |= Has.TLS
        if self.tls or not self.policy.require_tls:
            reached |= Has.PRIVACY
        if self.authenticated:
            reached |= Has.AUTHENTICATED
        return reached


@frozen
class StreamFeature:
    """One feature: the stages it needs and forbids. `element` returns None where policy does not have it."""

    needs: Has
    forbids: Has
    element: Callable[[Situation], Element | None]

    def offer(self, situation: Situation) -> Element | None:
        """The element to send, None where the feature is not to be offered."""
        has = situation.has
        if self.needs not in has or self.forbids & has:
            return None
        return self.element(situation)


def _starttls(situation: Situation) -> Element | None:
    if not situation.policy.offer_tls:
        return None
    required = [element(ns.TLS, "required")] if situation.policy.require_tls else []
    return element(ns.TLS, "starttls", None, *required)


def _mechanisms(situation: Situation) -> Element | None:
    names = [element(ns.SASL, "mechanism", text=name) for name in situation.mechanisms]
    return element(ns.SASL, "mechanisms", None, *names) if names else None


def _channel_bindings(situation: Situation) -> Element | None:
    if not situation.bindings:
        return None
    space = ns.SASL_CHANNEL_BINDING
    kinds = (element(space, "channel-binding", {"type": kind}) for kind in situation.bindings)
    return element(space, "sasl-channel-binding", None, *kinds)


def _limits(situation: Situation) -> Element | None:
    policy = situation.policy
    limits = policy.limits_after if situation.authenticated else policy.limits_before
    if not limits.stanza_bytes:
        return None
    most = element(ns.STREAM_LIMITS, "max-bytes", text=str(limits.stanza_bytes))
    return element(ns.STREAM_LIMITS, "limits", None, most)


def _name(space: str, name: str, *children: str, setting: str = "") -> Callable[[Situation], Element | None]:
    """A feature that is only its name; `setting` of the policy, if one is given, turns it on."""

    def offer(situation: Situation) -> Element | None:
        if setting and not getattr(situation.policy, setting):
            return None
        return element(space, name, None, *(element(space, child) for child in children))

    return offer


_STARTTLS: Final = StreamFeature(Has.NOTHING, Has.TLS | Has.AUTHENTICATED, _starttls)
_MECHANISMS: Final = StreamFeature(Has.PRIVACY, Has.AUTHENTICATED, _mechanisms)
_LIMITS: Final = StreamFeature(Has.NOTHING, Has.NOTHING, _limits)  # XEP-0478

CLIENT_FEATURES: Final = (
    _STARTTLS,
    StreamFeature(Has.TLS, Has.AUTHENTICATED, _channel_bindings),  # XEP-0440
    _MECHANISMS,
    StreamFeature(  # XEP-0077
        Has.PRIVACY, Has.AUTHENTICATED, _name(ns.FEATURE_REGISTER, "register", setting="registration")
    ),
    StreamFeature(Has.AUTHENTICATED, Has.NOTHING, _name(ns.BIND, "bind")),
    StreamFeature(Has.AUTHENTICATED, Has.NOTHING, _name(ns.SESSION, "session", "optional")),
    StreamFeature(Has.AUTHENTICATED, Has.NOTHING, _name(ns.SM, "sm")),  # XEP-0198
    StreamFeature(Has.AUTHENTICATED, Has.NOTHING, _name(ns.ROSTERVER, "ver")),
    StreamFeature(Has.AUTHENTICATED, Has.NOTHING, _name(ns.PREAPPROVAL, "sub")),
    _LIMITS,
)

SERVER_FEATURES: Final = (
    _STARTTLS,
    _MECHANISMS,
    StreamFeature(  # XEP-0220 2.4.2
        Has.PRIVACY, Has.NOTHING, _name(ns.FEATURE_DIALBACK, "dialback", "errors", setting="dialback")
    ),
    StreamFeature(  # XEP-0288
        Has.PRIVACY, Has.AUTHENTICATED, _name(ns.FEATURE_BIDI, "bidi", setting="bidi")
    ),
    StreamFeature(Has.AUTHENTICATED, Has.NOTHING, _name(ns.SM, "sm", setting="management")),  # XEP-0198
    _LIMITS,
)


@lru_cache(maxsize=64)
def features(known: tuple[StreamFeature, ...], situation: Situation) -> bytes:
    """`<stream:features/>` with those of `known` that `situation` allows."""
    offers = (feature.offer(situation) for feature in known)
    return serialise(element(ns.STREAM, "features", None, *(offer for offer in offers if offer is not None)))
