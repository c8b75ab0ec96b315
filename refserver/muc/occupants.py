"""The occupants of a room: their roles (XEP-0045 5.1), nicknames and sessions."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Final

from attrs import define, field
from precis_i18n import get_profile

from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage.rooms import Affiliation

_nickname: Final = get_profile("NicknameCaseMapped:ToLower")


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
    """Return the role of somebody who enters (5.1.2)."""
    if affiliation >= Affiliation.ADMIN:
        return Role.MODERATOR
    if affiliation is Affiliation.MEMBER or not moderated:
        return Role.PARTICIPANT
    return Role.VISITOR


@lru_cache(maxsize=10_000)
def nickname_key(nick: str) -> str:
    """Return a key that is equal for nicknames that are equal by RFC 8266 2.4; "" for nothing but spaces."""
    try:
        return str(_nickname.enforce(nick))
    except (UnicodeError, ValueError):
        return "" if nick.isspace() else nick.casefold()


@define(eq=False)
class Occupant:
    """A nickname in a room. `sessions` are the full JIDs that use it, each with its latest presence.

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
        """The presence that others see: the latest one of its sessions."""
        return next(reversed(self.sessions.values()), None)


class Occupants:
    """The occupants of one room by nickname and by full JID."""

    def __init__(self) -> None:
        self._by_nick: dict[str, Occupant] = {}
        self._by_key: dict[str, Occupant] = {}
        self._by_session: dict[JID, Occupant] = {}

    def named(self, nick: str) -> Occupant | None:
        """Return the occupant with exactly this nickname."""
        return self._by_nick.get(nick)

    def like(self, nick: str) -> Occupant | None:
        """Return the occupant whose nickname is the same as `nick` by RFC 8266."""
        return self._by_key.get(nickname_key(nick))

    def of(self, session: JID) -> Occupant | None:
        """Return the occupant that a full JID is."""
        return self._by_session.get(session)

    def of_account(self, account: JID) -> list[Occupant]:
        """Return the occupants that belong to a bare JID."""
        return [occupant for occupant in self._by_nick.values() if occupant.account == account]

    def add(self, occupant: Occupant) -> None:
        """Add an occupant, without sessions yet."""
        self._by_nick[occupant.nick] = occupant
        self._by_key[nickname_key(occupant.nick)] = occupant

    def join(self, occupant: Occupant, session: JID, presence: Stanza) -> None:
        """Add `session` to `occupant`, or note its new presence."""
        occupant.sessions.pop(session, None)
        occupant.sessions[session] = presence
        self._by_session[session] = occupant

    def leave(self, session: JID) -> None:
        """Remove a session, and its occupant with the last one."""
        occupant = self._by_session.pop(session, None)
        if occupant is not None:
            occupant.sessions.pop(session, None)
            if not occupant.sessions and not occupant.virtual:
                self.remove(occupant)

    def remove(self, occupant: Occupant) -> None:
        """Remove an occupant with all its sessions."""
        if self._by_nick.get(occupant.nick) is occupant:
            del self._by_nick[occupant.nick]
            del self._by_key[nickname_key(occupant.nick)]
        for session in occupant.sessions:
            self._by_session.pop(session, None)

    def rename(self, occupant: Occupant, nick: str, address: JID) -> None:
        """Give an occupant another nickname and address."""
        del self._by_nick[occupant.nick]
        del self._by_key[nickname_key(occupant.nick)]
        occupant.nick, occupant.address = nick, address
        self.add(occupant)

    def sessions(self) -> list[tuple[JID, Occupant]]:
        """Return every session in the room with its occupant."""
        return list(self._by_session.items())

    def __iter__(self) -> Iterator[Occupant]:
        return iter(list(self._by_nick.values()))

    def __len__(self) -> int:
        return len(self._by_nick)
