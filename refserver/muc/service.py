"""The rooms of one domain (XEP-0045 10.1, 11.2): loading, making and ending them; what arrives for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.core import Core
from refserver.core.hosts import Host
from refserver.core.iqs import Target
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.history import History
from refserver.muc.iqs import OccupantIqs, Rooms
from refserver.muc.messages import Invitations, groupchat, private
from refserver.muc.occupants import Occupant, Role, nickname_key
from refserver.muc.presence import SHUTDOWN, Departure, dismiss, present
from refserver.muc.room import Room, RoomConfig
from refserver.stanza import IQ_REQUESTS, Stanza
from refserver.storage import rooms
from refserver.storage.rooms import Affiliate, Affiliation
from refserver.xml.write import parse

StoredRooms: TypeAlias = list[tuple[rooms.StoredRoom, Iterable[tuple[float, bytes]]]]
"""Rooms, each with its history: when, and the stanza."""

log = Logger()

MOST_ROOMS: Final = 10_000


def load_rooms(connection: Connection, service: str) -> StoredRooms:
    """Return the persistent rooms of the service at that domain, each with its history."""
    found: StoredRooms = []
    for stored in rooms.load_rooms(connection, service):
        limit = RoomConfig.restored(stored.config).history
        found.append((stored, rooms.history(connection, stored.jid, limit) if limit else ()))
    return found


class RoomService:
    """Implements `Destination` for `rooms.DOMAIN`. Only the library's own accounts make rooms."""

    def __init__(self, core: Core, host: Host) -> None:
        self.core = core
        self.host = host
        self.jid = JID.parse(f"rooms.{host.domain}")
        self._feature = core.feature(Rooms)
        self._rooms: dict[JID, Room] = {}
        self._occupant_iqs = OccupantIqs(core)
        self._invitations = Invitations(core.clock)
        self._stopped = False

    # -- for the server's other parts ------------------------------------------

    def start(self, found: StoredRooms | None = None) -> None:
        """Restore the persistent rooms and begin to answer.

        `found` is what `load_rooms` has returned; without it, it is called on this thread.
        """
        if found is None:
            found = self.core.database.read_now(load_rooms, self.jid.text)
        for stored, history in found:
            config = RoomConfig.restored(stored.config)
            room = Room(self, stored.jid, config, stored.creator, stored.affiliates, stored.subject)
            messages = ((at, Stanza.received(parse(data))) for at, data in history)
            room.history = History(config.history, messages)
            self._rooms.setdefault(room.jid, room)
        self._feature.services.append(self)
        self.core.hosts.add_service(self.jid.text, self)

    def stop(self) -> None:
        """Tell all occupants that the service ends (11.2: status 332); answer nothing more but errors."""
        self._stopped = True
        for room in self:
            room.watcher = None
            dismiss(room, Departure((SHUTDOWN,)))

    def remove(self) -> None:
        """Stop, and give the domain back: its library is removed."""
        self.stop()
        self._feature.services.remove(self)
        self.core.hosts.remove_service(self.jid.text)

    def room(self, jid: JID) -> Room | None:
        """Return the room of that bare JID, if there is one."""
        return self._rooms.get(jid)

    def manage(self, localpart: str, config: RoomConfig, nick: str) -> Room:
        """Return the server's own room at `localpart`, with `config` and a virtual occupant `nick`."""
        jid = JID.of(localpart, self.jid.domainpart)
        room = self._rooms.get(jid)
        if room is None:
            room = self._rooms[jid] = Room(self, jid, config)
        room.config, room.managed, room.locked = config, True, False
        room.history.set_limit(config.history)
        if room.occupants.named(nick) is None:
            address = room.address_of(nick)
            room.occupants.add(Occupant(nick, jid, Affiliation.OWNER, Role.MODERATOR, address, virtual=True))
        return room

    def end_managed(self, room: Room) -> Deferred[None]:
        """End one of the server's own rooms; a room that people had stored there before goes, too."""
        self.forget(room)
        return self.core.database.write(rooms.delete_room, room.jid)

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    def __len__(self) -> int:
        return len(self._rooms)

    # -- RoomDirectory ---------------------------------------------------------

    def forget(self, room: Room) -> None:
        room.ended = True
        if self._rooms.get(room.jid) is room:
            del self._rooms[room.jid]

    def may_persist(self, room: Room) -> bool:
        return room.creator is None or self._may_have_another(room.creator, persistent=True)

    def _may_have_another(self, account: JID, persistent: bool) -> bool:
        made = sum(
            room.creator == account and (room.config.persistent or room.becomes_persistent) is persistent
            for room in self._rooms.values()
        )
        return not self._feature.rooms_per_account or made < self._feature.rooms_per_account

    # -- Destination -----------------------------------------------------------

    def deliver(self, stanza: Stanza) -> None:
        try:
            assert stanza.to is not None
            room = self._rooms.get(stanza.to.bare)
            if room is not None and room.holds(stanza):
                return
            if self._stopped and not (stanza.kind == "presence" and stanza.type):
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)
            if stanza.kind == "presence":
                self._presence(stanza, room)
            elif stanza.kind == "message":
                self._message(stanza, room)
            else:
                self._iq(stanza, room)
        except StanzaError as error:
            self.core.router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} for a room could not be processed", kind=stanza.kind)
            self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _presence(self, stanza: Stanza, room: Room | None) -> None:
        assert stanza.to is not None
        if not stanza.to.localpart:
            return
        if room is None:
            if stanza.type:
                return
            room = self._make(stanza)
        present(room, stanza)

    def _make(self, stanza: Stanza) -> Room:
        """Make the room that somebody enters who then owns it (10.1.1). Raises `StanzaError`."""
        assert stanza.to is not None
        assert stanza.from_ is not None
        creator = stanza.from_.bare
        if not stanza.to.resourcepart:
            raise StanzaError(Condition.JID_MALFORMED, "a nickname is needed to enter a room")
        if stanza.child(ns.MUC, "x") is None:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "enter the room first")
        if not nickname_key(stanza.to.resourcepart):
            raise StanzaError(Condition.NOT_ACCEPTABLE, "a nickname needs more than spaces")
        if creator.domainpart != self.host.domain or len(self._rooms) >= MOST_ROOMS:
            raise StanzaError(Condition.NOT_ALLOWED)
        if not self._may_have_another(creator, persistent=False):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "you have as many rooms as you may")
        room = Room(self, stanza.to.bare, RoomConfig(), creator, {creator: Affiliate(Affiliation.OWNER)})
        room.locked = True
        self._rooms[room.jid] = room
        return room

    def _message(self, stanza: Stanza, room: Room | None) -> None:
        assert stanza.to is not None
        if room is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        if stanza.to.resourcepart or stanza.type == "error":
            private(room, stanza)
        elif stanza.type == "groupchat":
            groupchat(room, stanza)
        else:
            self._invitations.take(room, stanza).addErrback(self._refuse, stanza)

    def _iq(self, stanza: Stanza, room: Room | None) -> None:
        assert stanza.to is not None
        is_request = stanza.type in IQ_REQUESTS
        if not stanza.to.localpart:
            if is_request:
                self.core.iqs.answer(stanza, self.host, Target.ROOM_SERVICE, self)
        elif room is None:
            if is_request:
                raise StanzaError(Condition.ITEM_NOT_FOUND)
        elif stanza.to.resourcepart:
            self._occupant_iqs.pass_on(stanza, room)
        elif is_request:
            self.core.iqs.answer(stanza, self.host, Target.ROOM, room)

    def _refuse(self, failure: Failure, stanza: Stanza) -> None:
        error = failure.value
        if not isinstance(error, StanzaError):
            log.failure("a change of a room could not be stored", failure=failure)
            error = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        self.core.router.bounce(stanza, error)
