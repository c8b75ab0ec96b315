"""Rosters: contacts, subscription states, versions (RFC 6121 2 and appendix A, XEP-0237)."""

from __future__ import annotations

from refserver import ns
from refserver.features.roster.queries import RosterQueries
from refserver.features.roster.rosters import Roster, Rosters
from refserver.features.roster.states import SubscriptionState
from refserver.storage.rosters import RosterItem
from refserver.xml.element import Element, element

__all__ = ["Roster", "RosterItem", "RosterQueries", "Rosters", "SubscriptionState", "stream_features"]


def stream_features() -> tuple[Element, ...]:
    """The stream features of rosters: versions (2.6.1) and pre-approval (3.4)."""
    return element(ns.ROSTERVER, "ver"), element(ns.PREAPPROVAL, "sub")
