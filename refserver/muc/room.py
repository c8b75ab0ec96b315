"""One room (XEP-0045): its settings, affiliations, subject, history and occupants; storing its changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

from attrs import asdict, fields, frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.core import Core
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.history import History
from refserver.muc.occupants import Occupant, Occupants, Role, nickname_key
from refserver.stanza import Stanza
from refserver.storage import rooms
from refserver.storage.errors import NoSuchRoom
from refserver.storage.rooms import Affiliate, Affiliation
from refserver.xml.element import Element

T = TypeVar("T")

log = Logger()

MOST_AFFILIATES: Final = 5000
MOST_REASON: Final = 1000  # characters
MOST_WAITING: Final = 1000
_NOBODY: Final = Affiliate(Affiliation.NONE)


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
        """Return what is stored in the database; it may hold the password."""
        return asdict(self)

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> RoomConfig:
        """Return the settings that `stored` returned; keys that are unknown are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})


class RoomDirectory(Protocol):
    """The service of a room, as the room sees it."""

    core: Core

    def deliver(self, stanza: Stanza) -> None:
        """Take a stanza that has waited in a room."""

    def forget(self, room: Room) -> None:
        """Remove a room that has ended."""

    def may_persist(self, room: Room) -> bool:
        """Return True if the room's creator may have another persistent room."""


class Watcher(Protocol):
    """A part of the server that reacts to what happens in a room (a queue and its desk room)."""

    def occupant_present(self, room: Room, occupant: Occupant, session: JID) -> None:
        """Called when a session has entered or sent a new presence (`occupant.sessions[session]`)."""

    def occupant_left(self, room: Room, occupant: Occupant, session: JID) -> None:
        """Called when a session has left; `occupant.sessions` are those that stay."""

    def message_sent(self, room: Room, occupant: Occupant, session: JID, stanza: Stanza) -> None:
        """Called when a session's message has been sent to everybody in the room."""


@frozen
class Change:
    """A change of a room: `write` stores it, then `apply` makes it in memory and tells the occupants."""

    write: Callable[[Connection], None]
    apply: Callable[[], None]


class Room:
    """A room. `locked`: created but not configured yet (XEP-0045 10.1.1); `ended`: removed from its service.

    A *managed* room belongs to the server: people can neither configure nor destroy it, nor
    change affiliations in it.
    """

    def __init__(
        self,
        directory: RoomDirectory,
        jid: JID,
        config: RoomConfig,
        creator: JID | None = None,
        affiliates: Mapping[JID, Affiliate] | None = None,
        subject: rooms.Subject | None = None,
    ) -> None:
        self.directory = directory
        self.core = directory.core
        self.jid = jid
        self.config = config
        self.creator = creator
        self.subject = subject
        self.occupants = Occupants()
        self.history = History(config.history)
        self.locked = False
        self.managed = False
        self.ended = False
        self.becomes_persistent = False  # that is being stored: it counts among its creator's rooms
        self.watcher: Watcher | None = None
        self.set_affiliates(affiliates or {})
        self._waiting: list[Stanza] | None = None  # a list while a change is being stored

    @property
    def is_stored(self) -> bool:
        """True if the room is in the database."""
        return self.config.persistent and not self.locked

    def address_of(self, nick: str) -> JID:
        """Return the occupant JID for `nick`."""
        return JID.of(self.jid.localpart, self.jid.domainpart, nick)

    # -- affiliations ----------------------------------------------------------

    @property
    def affiliates(self) -> Mapping[JID, Affiliate]:
        """Everybody with an affiliation, by bare JID or domain."""
        return self._affiliates

    def affiliate(self, account: JID) -> Affiliate:
        """Return the affiliation of a bare JID with nickname and reason: its own, or its domain's."""
        found = self._affiliates.get(account) or self._affiliates.get(JID.parse(account.domainpart))
        return found or _NOBODY

    def affiliation(self, account: JID) -> Affiliation:
        """Return the affiliation of a bare JID: its own, or its domain's."""
        return self.affiliate(account).affiliation

    def affiliated(self, affiliation: Affiliation) -> list[JID]:
        """Return all addresses with that affiliation, sorted."""
        return sorted(
            (jid for jid, found in self._affiliates.items() if found.affiliation is affiliation), key=str
        )

    def reserved_for(self, nick: str) -> set[JID]:
        """Return the accounts that the nickname is reserved for (RFC 8266 comparison)."""
        return self._reserved.get(nickname_key(nick), set())

    def set_affiliates(self, affiliates: Mapping[JID, Affiliate]) -> None:
        """Replace all affiliations, in memory only."""
        self._affiliates: dict[JID, Affiliate] = {}
        self._reserved: dict[str, set[JID]] = {}
        for jid, affiliate in affiliates.items():
            self.set_affiliate(jid, affiliate)

    def set_affiliate(self, jid: JID, affiliate: Affiliate) -> None:
        """Set the affiliation of a bare JID or domain, in memory only."""
        old = self._affiliates.pop(jid, _NOBODY)
        if old.nick:
            key = nickname_key(old.nick)
            self._reserved[key].discard(jid)
            if not self._reserved[key]:
                del self._reserved[key]
        if affiliate.affiliation is not Affiliation.NONE:
            self._affiliates[jid] = affiliate
            if affiliate.nick:
                self._reserved.setdefault(nickname_key(affiliate.nick), set()).add(jid)

    def check_new_affiliates(self, jids: Iterable[JID]) -> None:
        """Refuse affiliations that would be too many for one room. Raises `StanzaError`."""
        if len(self._affiliates.keys() | set(jids)) > MOST_AFFILIATES:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "this room has too many affiliations")

    def shows_addresses_to(self, viewer: Occupant) -> bool:
        """Return True if `viewer` sees the occupants' real addresses (5.1, muc_nonanonymous)."""
        return self.config.non_anonymous or viewer.role is Role.MODERATOR

    # -- storing ---------------------------------------------------------------

    def perform(self, change: Change, stored: bool) -> Deferred[None]:
        """Make a change. If it is to be `stored`, apply it after the commit; until then what arrives waits.

        So nobody acts on an affiliation or setting that a crash could undo, and changes never interleave.
        """
        if not stored:
            change.apply()
            return succeed(None)
        self._waiting = []
        done: Deferred[None] = Deferred()
        writing = self.core.database.write(change.write)
        writing.addCallbacks(lambda _: self._stored(change), _room_is_gone)
        writing.addCallbacks(done.callback, done.errback)
        writing.addBoth(self._resume)
        return done

    def _stored(self, change: Change) -> None:
        if self.ended:  # its owner's account was removed meanwhile
            self.core.database.write(rooms.delete_room, self.jid).addErrback(_not_stored)
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        change.apply()

    def configured(self, result: T) -> T:
        """A change of the settings is over, stored or not; pass `result` on."""
        self.becomes_persistent = False
        return result

    def holds(self, stanza: Stanza) -> bool:
        """Keep a stanza until a change is stored; False if none is being stored. Raises `StanzaError`."""
        if self._waiting is None:
            return False
        if len(self._waiting) >= MOST_WAITING:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT)
        self._waiting.append(stanza)
        return True

    def _resume(self, _: object) -> None:
        waiting, self._waiting = self._waiting or [], None
        for stanza in waiting:
            self.directory.deliver(stanza)

    def store_later(self, write: Callable[..., Any], *args: Any) -> None:
        """Store something that nobody waits for, if the room is stored at all."""
        if self.is_stored:
            self.core.database.write(write, self.jid, *args).addErrback(_not_stored)

    def close_if_empty(self) -> None:
        """Remove a temporary room from its service once nobody is in it."""
        if not self.occupants and not self.config.persistent and not self.managed:
            self.directory.forget(self)

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

    def publish(self, stanza: Stanza) -> None:
        """Send a groupchat message, from an occupant JID, to everybody and keep it in the history."""
        stanza.to = None
        self.broadcast(stanza)
        if self.history.limit and stanza.child(ns.CLIENT, "body") is not None:
            now = self.core.now()
            self.history.append(now, stanza)
            self.store_later(rooms.append_history, now, stanza.wire(), len(self.history))

    def say(self, body: str, nick: str, children: Iterable[Element] = ()) -> None:
        """Publish a message from the virtual occupant `nick`."""
        sender = self.address_of(nick)
        self.publish(Stanza.message(self.jid, sender, "groupchat", body=body, children=children))

    def tell(self, session: JID, body: str, nick: str) -> None:
        """Send a message from the virtual occupant `nick` to one session only."""
        self.send(Stanza.message(session, self.address_of(nick), "groupchat", body=body), session)


def _room_is_gone(failure: Failure) -> None:
    failure.trap(NoSuchRoom)
    raise StanzaError(Condition.ITEM_NOT_FOUND)


def _not_stored(failure: Failure) -> None:
    if not failure.check(NoSuchRoom):  # it was destroyed meanwhile
        log.failure("a room could not be stored", failure=failure)
