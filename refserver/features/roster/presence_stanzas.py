"""Presence stanzas: those that end or follow a subscription, and the priority of one (RFC 6121 4.7.2.3)."""

from __future__ import annotations

import re
from typing import Final

from refserver import ns
from refserver.core.sessions import Sessions
from refserver.errors import Condition, StanzaError
from refserver.features.roster.states import OUTBOUND, SubscriptionState
from refserver.jid import JID
from refserver.stanza import Stanza, new_id
from refserver.xml.element import clark

LOWEST: Final = -128
HIGHEST: Final = 127

_PRIORITY: Final = clark(ns.CLIENT, "priority")
_BYTE: Final = re.compile(r"[ \t\r\n]*([+-]?[0-9]{1,9})[ \t\r\n]*").fullmatch


def presences(sessions: Sessions, account: JID, contact: JID) -> list[Stanza]:
    """The current presence of each available resource of `account`, for `contact`."""
    return [
        session.presence.copy_to(contact)
        for session in sessions.available(account)
        if session.presence is not None
    ]


def absences(sessions: Sessions, account: JID, contact: JID) -> list[Stanza]:
    """Unavailable presence from each available resource of `account`, for `contact`."""
    return [Stanza.presence(contact, session.jid, "unavailable") for session in sessions.available(account)]


def farewell(sessions: Sessions, account: JID, contact: JID, state: SubscriptionState) -> list[Stanza]:
    """The stanzas that end all subscriptions with a contact, in both directions (RFC 6121 2.5.2).

    Requests that are not answered yet are withdrawn and denied.
    """
    told = []
    if OUTBOUND[state, "unsubscribe"].state is not state:
        told.append(Stanza.presence(contact, account, "unsubscribe", new_id()))
    if state.shows:
        told += absences(sessions, account, contact)
    if OUTBOUND[state, "unsubscribed"].state is not state:
        told.append(Stanza.presence(contact, account, "unsubscribed", new_id()))
    return told


def priority_of(stanza: Stanza) -> int:
    """The priority that a presence announces, 0 if none.

    Raises `StanzaError` bad-request for more than one, for what is no integer, and for one
    out of bounds.
    """
    found = stanza.element.findall(_PRIORITY)
    if not found:
        return 0
    if len(found) > 1:
        raise StanzaError(Condition.BAD_REQUEST, "a presence has at most one priority")
    match = _BYTE(found[0].text or "")
    if match is None or len(found[0]) or not LOWEST <= int(match[1]) <= HIGHEST:
        raise StanzaError(Condition.BAD_REQUEST, f"a priority is an integer from {LOWEST} to {HIGHEST}")
    return int(match[1])
