"""Affiliations and roles (XEP-0045 5): their order, and who may change whose.

An affiliation is lasting and belongs to a bare JID; a role is an occupant's for one visit.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Affiliation", "Role", "initial_role", "may_change_affiliation", "may_change_role"]


class Affiliation(IntEnum):
    """A long-lived association with a room (5.2), lowest first."""

    OUTCAST = 0
    NONE = 1
    MEMBER = 2
    ADMIN = 3
    OWNER = 4

    @property
    def word(self) -> str:
        """The name on the wire."""
        return self.name.lower()


class Role(IntEnum):
    """A position in a room during one visit (5.1), lowest first."""

    NONE = 0
    VISITOR = 1
    PARTICIPANT = 2
    MODERATOR = 3

    @property
    def word(self) -> str:
        """The name on the wire."""
        return self.name.lower()


def initial_role(affiliation: Affiliation, moderated: bool) -> Role:
    """The role of somebody who enters (5.1.2)."""
    if affiliation >= Affiliation.ADMIN:
        return Role.MODERATOR
    if affiliation is Affiliation.MEMBER or not moderated:
        return Role.PARTICIPANT
    return Role.VISITOR


def may_change_affiliation(actor: Affiliation, old: Affiliation, new: Affiliation) -> bool:
    """Whether `actor` may turn `old` into `new` (5.2.1): admins among those below them, owners all."""
    if actor is Affiliation.OWNER:
        return True
    return actor is Affiliation.ADMIN and max(old, new) <= Affiliation.MEMBER


def may_change_role(actor: Affiliation, actor_role: Role, target: Affiliation, old: Role, new: Role) -> bool:
    """Whether an occupant may turn another's role `old` into `new` (5.1.1, 8.2, 9.6)."""
    if actor_role is not Role.MODERATOR or target > actor:
        return False
    if Role.MODERATOR in (old, new):  # 9.6: only admins and owners make and unmake moderators
        return actor >= Affiliation.ADMIN and (target < Affiliation.ADMIN or new is Role.MODERATOR)
    return True
