"""Subscription states and how they change: RFC 6121 appendix A, as two tables.

Pure rules. What a subscription stanza does to a contact's state depends on that state and
on its direction: OUTBOUND holds what the user sends to a contact (A.2), INBOUND what a
contact sends to the user (A.3). Both are from the user's view: "from" means that the
contact sees the user's presence, "pending in" that the contact has asked to.

Pre-approval (3.4) is not a state but a mark beside it; `Outbound.preapproves` says when it is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import frozen

SUBSCRIPTION_TYPES: Final = ("subscribe", "unsubscribe", "subscribed", "unsubscribed")


class SubscriptionState(Enum):
    """The nine states (A.1): (subscription, pending out, pending in)."""

    NONE = ("none", False, False)
    NONE_OUT = ("none", True, False)
    NONE_IN = ("none", False, True)
    NONE_OUT_IN = ("none", True, True)
    TO = ("to", False, False)
    TO_IN = ("to", False, True)
    FROM = ("from", False, False)
    FROM_OUT = ("from", True, False)
    BOTH = ("both", False, False)

    def __init__(self, subscription: str, pending_out: bool, pending_in: bool) -> None:
        self.subscription = subscription
        self.pending_out = pending_out
        self.pending_in = pending_in

    @property
    def shows(self) -> bool:
        """True if the contact sees the user's presence."""
        return self.subscription in ("from", "both")

    @property
    def sees(self) -> bool:
        """True if the user sees the contact's presence."""
        return self.subscription in ("to", "both")


_BY_PARTS: Final = {state.value: state for state in SubscriptionState}


def state_of(subscription: str, pending_out: bool, pending_in: bool) -> SubscriptionState:
    """The state of a roster item. Raises `KeyError` for a combination that cannot be."""
    return _BY_PARTS[subscription, pending_out, pending_in]


@frozen
class Outbound:
    """The effect of a stanza that the user sends."""

    state: SubscriptionState
    routed: bool = True
    preapproves: bool = False


@frozen
class Inbound:
    """The effect of a stanza that a contact sends.

    `reply` is the type of the stanza that the server sends back on the user's behalf, "" for none.
    """

    state: SubscriptionState
    delivered: bool = False
    reply: str = ""


NONE, NONE_OUT, NONE_IN, NONE_OUT_IN, TO, TO_IN, FROM, FROM_OUT, BOTH = SubscriptionState


def _to(state: SubscriptionState) -> Outbound:
    return Outbound(state)


def _kept(state: SubscriptionState) -> Outbound:
    return Outbound(state, routed=False)


def _approved(state: SubscriptionState) -> Outbound:
    return Outbound(state, routed=False, preapproves=True)


def _new(state: SubscriptionState) -> Inbound:
    return Inbound(state, delivered=True)


def _gone(state: SubscriptionState) -> Inbound:
    return Inbound(state, delivered=True, reply="unsubscribed")


def _known(state: SubscriptionState) -> Inbound:
    return Inbound(state, reply="subscribed")


def _ignored(state: SubscriptionState) -> Inbound:
    return Inbound(state)


# fmt: off
# A.2: tables 2 to 5, a column each.
_OUT: Final = {
    #            subscribe         unsubscribe    subscribed            unsubscribed
    NONE:        (_to(NONE_OUT),    _to(NONE),    _approved(NONE),      _kept(NONE)),
    NONE_OUT:    (_to(NONE_OUT),    _to(NONE),    _approved(NONE_OUT),  _kept(NONE_OUT)),
    NONE_IN:     (_to(NONE_OUT_IN), _to(NONE_IN), _to(FROM),            _to(NONE)),
    NONE_OUT_IN: (_to(NONE_OUT_IN), _to(NONE_IN), _to(FROM_OUT),        _to(NONE_OUT)),
    TO:          (_to(TO),          _to(NONE),    _approved(TO),        _kept(TO)),
    TO_IN:       (_to(TO_IN),       _to(NONE_IN), _to(BOTH),            _to(TO)),
    FROM:        (_to(FROM_OUT),    _to(FROM),    _kept(FROM),          _to(NONE)),
    FROM_OUT:    (_to(FROM_OUT),    _to(FROM),    _kept(FROM_OUT),      _to(NONE_OUT)),
    BOTH:        (_to(BOTH),        _to(FROM),    _kept(BOTH),          _to(TO)),
}
# A.3: tables 6 to 9, a column each.
_IN: Final = {
    #            subscribe              unsubscribe         subscribed             unsubscribed
    NONE:        (_new(NONE_IN),         _ignored(NONE),     _ignored(NONE),        _ignored(NONE)),
    NONE_OUT:    (_new(NONE_OUT_IN),     _ignored(NONE_OUT), _new(TO),              _new(NONE)),
    NONE_IN:     (_ignored(NONE_IN),     _gone(NONE),        _ignored(NONE_IN),     _ignored(NONE_IN)),
    NONE_OUT_IN: (_ignored(NONE_OUT_IN), _gone(NONE_OUT),    _new(TO_IN),           _new(NONE_IN)),
    TO:          (_new(TO_IN),           _ignored(TO),       _ignored(TO),          _new(NONE)),
    TO_IN:       (_ignored(TO_IN),       _gone(TO),          _ignored(TO_IN),       _new(NONE_IN)),
    FROM:        (_known(FROM),          _gone(NONE),        _ignored(FROM),        _ignored(FROM)),
    FROM_OUT:    (_known(FROM_OUT),      _gone(NONE_OUT),    _new(BOTH),            _new(FROM)),
    BOTH:        (_known(BOTH),          _gone(TO),          _ignored(BOTH),        _new(FROM)),
}
# fmt: on

OUTBOUND: Final[Mapping[tuple[SubscriptionState, str], Outbound]] = {
    (state, type): step
    for state, steps in _OUT.items()
    for type, step in zip(SUBSCRIPTION_TYPES, steps, strict=True)
}
INBOUND: Final[Mapping[tuple[SubscriptionState, str], Inbound]] = {
    (state, type): step
    for state, steps in _IN.items()
    for type, step in zip(SUBSCRIPTION_TYPES, steps, strict=True)
}
