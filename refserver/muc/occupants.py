"""Who is in a room: affiliations and roles (XEP-0045 5), nicknames, sessions.

An affiliation is lasting and belongs to a bare JID or a domain; a role is an occupant's for one visit.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from attrs import define, field
from precis_i18n import get_profile

from refserver.jid import JID
from refserver.stanza import Stanza

__all__ = ["Affiliation", "Occupant", "Occupants", "Role", "initial_role", "lookalike"]

_nickname: Final = get_profile("NicknameCaseMapped:ToLower")


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


def lookalike(nick: str) -> str:
    """What `nick` looks like to people: equal for nicks that must not be in one room (RFC 8266)."""
    try:
        return str(_nickname.enforce(nick))
    except (UnicodeError, ValueError):
        return nick.casefold()


@define(eq=False)
class Occupant:
    """Somebody in a room. `sessions` are the full JIDs present under this nick with their presences.

    A *virtual* occupant is the server's own (a queue in its desk room): it has no sessions.
    """

    nick: str
    account: JID
    affiliation: Affiliation
    role: Role
    address: JID  # room/nick
    sessions: dict[JID, Stanza] = field(factory=dict)
    virtual: bool = False

    @property
    def presence(self) -> Stanza | None:
        """The presence others see: the latest of its sessions'."""
        return next(reversed(self.sessions.values()), None)


class Occupants:
    """The occupants of one room by nickname and by full JID."""

    def __init__(self) -> None:
        self._by_nick: dict[str, Occupant] = {}
        self._by_session: dict[JID, Occupant] = {}
        self._looks: dict[str, Occupant] = {}

    def named(self, nick: str) -> Occupant | None:
        """The occupant of that nickname."""
        return self._by_nick.get(nick)

    def like(self, nick: str) -> Occupant | None:
        """The occupant whose nickname is or looks like `nick`."""
        return self._by_nick.get(nick) or self._looks.get(lookalike(nick))

    def of(self, session: JID) -> Occupant | None:
        """The occupant that a full JID is."""
        return self._by_session.get(session)

    def of_account(self, account: JID) -> list[Occupant]:
        """The occupants that belong to a bare JID."""
        return [occupant for occupant in self._by_nick.values() if occupant.account == account]

    def add(self, occupant: Occupant) -> None:
        """Somebody enters, without sessions yet."""
        self._by_nick[occupant.nick] = occupant
        self._looks[lookalike(occupant.nick)] = occupant

    def join(self, occupant: Occupant, session: JID, presence: Stanza) -> None:
        """A session is (still) present as `occupant`."""
        occupant.sessions.pop(session, None)
        occupant.sessions[session] = presence
        self._by_session[session] = occupant

    def leave(self, session: JID) -> Occupant | None:
        """A session goes; the occupant with its last one. Returns whose it was."""
        occupant = self._by_session.pop(session, None)
        if occupant is not None:
            occupant.sessions.pop(session, None)
            if not occupant.sessions and not occupant.virtual:
                self.remove(occupant)
        return occupant

    def remove(self, occupant: Occupant) -> None:
        """An occupant goes with all its sessions."""
        if self._by_nick.get(occupant.nick) is occupant:
            del self._by_nick[occupant.nick]
            self._looks.pop(lookalike(occupant.nick), None)
        for session in occupant.sessions:
            self._by_session.pop(session, None)

    def rename(self, occupant: Occupant, nick: str, address: JID) -> None:
        """An occupant takes another nickname."""
        del self._by_nick[occupant.nick]
        self._looks.pop(lookalike(occupant.nick), None)
        occupant.nick, occupant.address = nick, address
        self.add(occupant)

    def sessions(self) -> Iterator[tuple[JID, Occupant]]:
        """Every session in the room; may change while it is walked through."""
        return iter(list(self._by_session.items()))

    def __iter__(self) -> Iterator[Occupant]:
        return iter(list(self._by_nick.values()))

    def __len__(self) -> int:
        return len(self._by_nick)
