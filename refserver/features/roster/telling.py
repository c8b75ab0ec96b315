"""The presence stanzas that a change of a subscription makes the server send on an account's behalf."""

from __future__ import annotations

from refserver.core.sessions import Sessions
from refserver.features.roster.states import OUTBOUND, State
from refserver.jid import JID
from refserver.stanza import Stanza, new_id

__all__ = ["absences", "farewell", "presences"]


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


def farewell(sessions: Sessions, account: JID, contact: JID, state: State) -> list[Stanza]:
    """What tells a contact that all subscriptions, both ways, are at an end (RFC 6121 2.5.2).

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
