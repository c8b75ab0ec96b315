"""One room: what it is made of, and which facet takes what comes for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from attrs import asdict, fields, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.occupants import Affiliation, Occupant, Occupants, Role
from refserver.stanza import Stanza
from refserver.storage import rooms
from refserver.xml.element import Element

__all__ = ["Belonging", "Room", "RoomConfig", "Watcher"]

log = Logger()

MOST_AFFILIATIONS: Final = 5000


@frozen
class RoomConfig:
    """A room's settings. The defaults are those of an instant room (10.1.2)."""

    name: str = ""
    description: str = ""
    persistent: bool = False
    public: bool = True
    members_only: bool = False
    moderated: bool = False
    non_anonymous: bool = False
    change_subject: bool = False
    password: str = ""
    history: int = 20

    def stored(self) -> dict[str, Any]:
        """What is kept in the database; may hold the password."""
        return asdict(self)

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> RoomConfig:
        """The settings that `stored` made; what is unknown there is passed over."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})


@frozen
class Belonging:
    """Somebody's lasting affiliation with a room, with the nickname reserved for them, if any."""

    affiliation: Affiliation
    nick: str = ""
    reason: str = ""


class Watcher(Protocol):
    """A part of the server that reacts to what happens in a room (a queue and its desk room)."""

    def occupant_present(self, room: Room, occupant: Occupant, session: JID) -> None:
        """Called when a session has entered or sent a new presence (`occupant.sessions[session]`)."""

    def occupant_left(self, room: Room, occupant: Occupant, session: JID) -> None:
        """Called when a session has left; `occupant.sessions` are those that stay."""

    def message_sent(self, room: Room, occupant: Occupant, session: JID, stanza: Stanza) -> None:
        """Called when a session's message has been sent to everybody in the room."""


class Room:
    """A room's state. `locked`: made but not configured yet (XEP-0045 10.1.1).

    A *managed* room belongs to the server: people can neither configure nor destroy it, nor
    change affiliations in it.
    """

    def __init__(
        self,
        core: Core,
        jid: JID,
        config: RoomConfig,
        forget: Callable[[Room], None],
        belongings: Mapping[JID, Belonging] | None = None,
        subject: rooms.Subject | None = None,
    ) -> None:
        self.core = core
        self._forget = forget
        self.jid = jid
        self.config = config
        self.belongings = dict(belongings or {})
        self.subject = subject
        self.occupants = Occupants()
        self.history: deque[tuple[float, Stanza]] = deque(maxlen=config.history)
        self.locked = False
        self.managed = False
        self.watcher: Watcher | None = None

    # -- who is who ------------------------------------------------------------

    def affiliation(self, account: JID) -> Affiliation:
        """The affiliation of a bare JID: its own, or its domain's."""
        found = self.belongings.get(account)
        if found is None:
            found = self.belongings.get(JID.parse(account.domainpart))
        return Affiliation.NONE if found is None else found.affiliation

    def those(self, affiliation: Affiliation) -> list[JID]:
        """Everybody with that affiliation."""
        return sorted(
            (jid for jid, belonging in self.belongings.items() if belonging.affiliation is affiliation),
            key=str,
        )

    def belong(self, jid: JID, belonging: Belonging) -> Deferred[Any] | None:
        """Set somebody's affiliation; the Deferred fires when it is durable, None: nothing to wait for."""
        if belonging.affiliation is Affiliation.NONE:
            self.belongings.pop(jid, None)
        elif jid not in self.belongings and len(self.belongings) >= MOST_AFFILIATIONS:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "this room has too many affiliations")
        else:
            self.belongings[jid] = belonging
        if not self.config.persistent or self.locked:
            return None
        row = rooms.Affiliation(belonging.affiliation.word, belonging.nick, belonging.reason)
        kept = None if belonging.affiliation is Affiliation.NONE else row
        return self.core.database.write(rooms.set_affiliation, self.jid, jid, kept)

    def shows_addresses_to(self, viewer: Occupant) -> bool:
        """Whether somebody sees the occupants' real addresses (5.1, muc_nonanonymous)."""
        return self.config.non_anonymous or viewer.role is Role.MODERATOR

    # -- keeping ---------------------------------------------------------------

    def close_if_empty(self) -> None:
        """Remove a temporary room from its service once nobody is in it."""
        if not self.occupants and not self.config.persistent and not self.managed:
            self._forget(self)

    def delete(self) -> Deferred[None]:
        """Remove the room from its service and from the database."""
        self._forget(self)
        return self.core.database.write(rooms.delete_room, self.jid)

    def save(self) -> Deferred[None] | None:
        """Store a persistent room with its affiliations and subject; forget one that is not."""
        return self.core.database.write(self._save)

    def _save(self, connection: Any) -> None:
        if not self.config.persistent:
            rooms.delete_room(connection, self.jid)
            return
        rooms.save_room(connection, self.jid, self.config.stored())
        for jid, belonging in self.belongings.items():
            row = rooms.Affiliation(belonging.affiliation.word, belonging.nick, belonging.reason)
            rooms.set_affiliation(connection, self.jid, jid, row)
        if self.subject is not None:
            rooms.set_subject(connection, self.jid, self.subject)

    def later(self, write: Callable[..., Any], *args: Any) -> None:
        """Store something that nobody waits for, if the room is kept at all."""
        if self.config.persistent and not self.locked:
            written = self.core.database.write(write, self.jid, *args)
            written.addErrback(lambda f: log.failure("a room could not be stored", failure=f))

    # -- sending ---------------------------------------------------------------

    def send(self, stanza: Stanza, to: JID) -> None:
        """Send a stanza (whose tree may be shared) to one session."""
        session = self.core.sessions.get(to)
        if session is not None:
            session.deliver(stanza, to)
        else:
            self.core.router.route(stanza.copy_to(to))

    def broadcast(self, stanza: Stanza) -> None:
        """Send a stanza to every session in the room."""
        for session, _ in self.occupants.sessions():
            self.send(stanza, session)

    def say(self, body: str, nick: str, children: Iterable[Element] = ()) -> None:
        """A message from a virtual occupant to everybody, kept in the history."""
        speaker = self.occupants.named(nick)
        sender = self.jid if speaker is None else speaker.address
        self.utter(Stanza.message(self.jid, sender, "groupchat", body=body, children=children))

    def tell(self, session: JID, body: str, nick: str) -> None:
        """A room message that only one session sees."""
        speaker = self.occupants.named(nick)
        sender = self.jid if speaker is None else speaker.address
        self.send(Stanza.message(session, sender, "groupchat", body=body), session)

    def utter(self, stanza: Stanza) -> None:
        """Let everybody hear a groupchat message whose `from_` is its speaker's room address."""
        stanza.to = None
        self.broadcast(stanza)
        if self.config.history and stanza.child(ns.CLIENT, "body") is not None:
            now = self.core.now()
            self.history.append((now, stanza))
            self.later(rooms.append_history, now, stanza.wire())
