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
from refserver.sasl import EXTERNAL, offered
from refserver.stream.policy import ServerPolicy, StreamPolicy
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
    """All that the features of a stream depend on. `bindings` are channel-binding types."""

    policy: StreamPolicy
    tls: bool
    bindings: tuple[str, ...]
    authenticated: bool

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

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that are offered, best first; none where TLS is required and missing."""
        if Has.PRIVACY not in self.has:
            return ()
        policy = self.policy
        return offered(self.tls, self.bindings, policy.plain_without_tls, policy.scram_sha_1)


@frozen
class StreamFeature:
    """One feature; `element` returns None where policy does not have it."""

    name: str
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


def _mechanisms(situation: Situation) -> Element:
    names = (element(ns.SASL, "mechanism", text=name) for name in situation.mechanisms)
    return element(ns.SASL, "mechanisms", None, *names)


def _channel_bindings(situation: Situation) -> Element | None:
    if not situation.bindings:
        return None
    space = ns.SASL_CHANNEL_BINDING
    kinds = (element(space, "channel-binding", {"type": kind}) for kind in situation.bindings)
    return element(space, "sasl-channel-binding", None, *kinds)


def _register(situation: Situation) -> Element | None:
    return element(ns.FEATURE_REGISTER, "register") if situation.policy.registration else None


def _limits(situation: Situation) -> Element | None:
    policy = situation.policy
    limits = policy.limits_after if situation.authenticated else policy.limits_before
    if not limits.stanza_bytes:
        return None
    most = element(ns.STREAM_LIMITS, "max-bytes", text=str(limits.stanza_bytes))
    return element(ns.STREAM_LIMITS, "limits", None, most)


def _plain(space: str, name: str, *children: str) -> Callable[[Situation], Element]:
    """A feature that is only its name."""
    return lambda situation: element(space, name, None, *(element(space, child) for child in children))


STARTTLS: Final = StreamFeature("starttls", Has.NOTHING, Has.TLS | Has.AUTHENTICATED, _starttls)
CHANNEL_BINDINGS: Final = StreamFeature(  # XEP-0440
    "sasl-channel-binding", Has.TLS, Has.AUTHENTICATED, _channel_bindings
)
MECHANISMS: Final = StreamFeature("mechanisms", Has.PRIVACY, Has.AUTHENTICATED, _mechanisms)
REGISTER: Final = StreamFeature("register", Has.PRIVACY, Has.AUTHENTICATED, _register)  # XEP-0077
BIND: Final = StreamFeature("bind", Has.AUTHENTICATED, Has.NOTHING, _plain(ns.BIND, "bind"))
SESSION: Final = StreamFeature(
    "session", Has.AUTHENTICATED, Has.NOTHING, _plain(ns.SESSION, "session", "optional")
)
ROSTERVER: Final = StreamFeature("rosterver", Has.AUTHENTICATED, Has.NOTHING, _plain(ns.ROSTERVER, "ver"))
PREAPPROVAL: Final = StreamFeature(
    "pre-approval", Has.AUTHENTICATED, Has.NOTHING, _plain(ns.PREAPPROVAL, "sub")
)
LIMITS: Final = StreamFeature("limits", Has.NOTHING, Has.NOTHING, _limits)  # XEP-0478

MANAGEMENT: Final = StreamFeature("sm", Has.AUTHENTICATED, Has.NOTHING, _plain(ns.SM, "sm"))  # XEP-0198

CLIENT_FEATURES: Final = (
    STARTTLS,
    CHANNEL_BINDINGS,
    MECHANISMS,
    REGISTER,
    BIND,
    SESSION,
    MANAGEMENT,
    ROSTERVER,
    PREAPPROVAL,
    LIMITS,
)


@lru_cache(maxsize=64)
def features(known: tuple[StreamFeature, ...], situation: Situation) -> bytes:
    """`<stream:features/>` with those of `known` that `situation` allows."""
    offers = (feature.offer(situation) for feature in known)
    return serialise(element(ns.STREAM, "features", None, *(offer for offer in offers if offer is not None)))


@frozen
class ServerSituation(Situation):
    """`external`: the peer's certificate proves the domain that its header names."""

    external: bool

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """EXTERNAL where it would succeed (RFC 6120 13.7.2, XEP-0178 3), else none."""
        return (EXTERNAL,) if self.external and not self.authenticated else ()


def _server_mechanisms(situation: Situation) -> Element | None:
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
    StreamFeature("mechanisms", Has.PRIVACY, Has.AUTHENTICATED, _server_mechanisms),
    StreamFeature("dialback", Has.PRIVACY, Has.NOTHING, _dialback),  # XEP-0220 2.4.2
    StreamFeature("bidi", Has.PRIVACY, Has.AUTHENTICATED, _bidi),  # XEP-0288
    StreamFeature("sm", Has.AUTHENTICATED, Has.NOTHING, _management),  # XEP-0198
    LIMITS,
)
