"""The rooms of one domain: finding, making and ending them, and discovery (XEP-0045 6, 10.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.core.hosts import Host
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc import affiliations
from refserver.muc.config import configuration, configure
from refserver.muc.discovery import room_info, room_items, service_info
from refserver.muc.messages import groupchat, invitation, private
from refserver.muc.occupants import Affiliation, Occupant, Role
from refserver.muc.presence import present
from refserver.muc.room import Belonging, Room, RoomConfig
from refserver.stanza import IQ_REQUESTS, Stanza
from refserver.storage import rooms
from refserver.xml.element import Element, clark, element
from refserver.xml.write import parse

__all__ = ["RoomService", "StoredRooms", "load_rooms"]

StoredRooms: TypeAlias = list[tuple[rooms.StoredRoom, Iterable[tuple[float, bytes]]]]
"""Rooms, each with its history: when, and the stanza."""

log = Logger()

MOST_ROOMS: Final = 10_000
_AFFILIATIONS: Final = {affiliation.word: affiliation for affiliation in Affiliation}
_ADMIN: Final = clark(ns.MUC_ADMIN, "query")
_OWNER: Final = clark(ns.MUC_OWNER, "query")
_INFO: Final = clark(ns.DISCO_INFO, "query")
_ITEMS: Final = clark(ns.DISCO_ITEMS, "query")
_PING: Final = clark(ns.PING, "ping")


def load_rooms(connection: Connection, service: str) -> StoredRooms:
    """The persistent rooms of the service at that domain, each with its history."""
    found: StoredRooms = []
    for stored in rooms.load_rooms(connection, service):
        kept = RoomConfig.restored(stored.config).history
        found.append((stored, rooms.history(connection, stored.jid, kept) if kept else ()))
    return found


class RoomService:
    """Implements `Destination` for `rooms.DOMAIN`. Only the library's own accounts make rooms."""

    def __init__(self, core: Core, host: Host) -> None:
        self.core = core
        self.host = host
        self.jid = JID.parse(f"rooms.{host.domain}")
        self._rooms: dict[JID, Room] = {}

    # -- for the server's other parts ------------------------------------------

    def start(self, found: StoredRooms | None = None) -> None:
        """Bring back the persistent rooms and begin to answer. Reads on the calling thread, unless `found`
        is what `load_rooms` has returned.
        """
        if found is None:
            found = self.core.database.read_now(load_rooms, self.jid.text)
        for stored, history in found:
            belongings = {
                jid: Belonging(_AFFILIATIONS[row.affiliation], row.nick, row.reason)
                for jid, row in stored.affiliations.items()
            }
            config = RoomConfig.restored(stored.config)
            room = Room(self.core, stored.jid, config, self._forget, belongings, stored.subject)
            room.history.extend((at, Stanza.received(parse(data))) for at, data in history)
            self._rooms.setdefault(room.jid, room)
        self.core.hosts.add_service(self.jid.text, self)

    def stop(self) -> None:
        """Answer no more."""
        self.core.hosts.remove_service(self.jid.text)

    def room(self, jid: JID) -> Room | None:
        """The room of that bare JID, if there is one."""
        return self._rooms.get(jid)

    def manage(self, localpart: str, config: RoomConfig, nick: str) -> Room:
        """The server's own room: made if it is not there, configured so, with a virtual occupant `nick`."""
        jid = JID.of(localpart, self.jid.domainpart)
        room = self._rooms.get(jid)
        if room is None:
            room = self._rooms[jid] = Room(self.core, jid, config, self._forget)
        room.config, room.managed, room.locked = config, True, False
        room.history = type(room.history)(room.history, config.history)
        if room.occupants.named(nick) is None:
            address = JID.of(localpart, self.jid.domainpart, nick)
            desk = Occupant(nick, jid, Affiliation.OWNER, Role.MODERATOR, address, virtual=True)
            room.occupants.add(desk)
        return room

    def _forget(self, room: Room) -> None:
        if self._rooms.get(room.jid) is room:
            del self._rooms[room.jid]

    def __iter__(self) -> Iterable[Room]:
        return iter(self._rooms.values())

    def __len__(self) -> int:
        return len(self._rooms)

    # -- Destination -------------------------------------------------------------

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`."""
        try:
            if stanza.kind == "presence":
                self._presence(stanza)
            elif stanza.kind == "message":
                self._message(stanza)
            elif stanza.type in IQ_REQUESTS:
                self._iq(stanza)
            else:
                self._response(stanza)
        except StanzaError as error:
            self.core.router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} for a room could not be processed", kind=stanza.kind)
            self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _presence(self, stanza: Stanza) -> None:
        assert stanza.to is not None
        assert stanza.from_ is not None
        if not stanza.to.localpart:
            return
        room = self._rooms.get(stanza.to.bare)
        if room is None:
            if stanza.type:
                return
            room = self._make(stanza)
        present(room, stanza)

    def _make(self, stanza: Stanza) -> Room:
        """10.1.1: who enters a room that is not there makes it, and owns it."""
        assert stanza.to is not None
        assert stanza.from_ is not None
        if not stanza.to.resourcepart:
            raise StanzaError(Condition.JID_MALFORMED, "a nickname is needed to enter a room")
        if stanza.child(ns.MUC, "x") is None:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "enter the room first")
        if stanza.from_.domainpart != self.host.domain or len(self._rooms) >= MOST_ROOMS:
            raise StanzaError(Condition.NOT_ALLOWED)
        owner = {stanza.from_.bare: Belonging(Affiliation.OWNER)}
        room = Room(self.core, stanza.to.bare, RoomConfig(), self._forget, owner)
        room.locked = True
        self._rooms[room.jid] = room
        return room

    def _message(self, stanza: Stanza) -> None:
        room = self._found(stanza)
        assert stanza.to is not None
        if stanza.to.resourcepart or stanza.type == "error":
            private(room, stanza)
        elif stanza.type == "groupchat":
            groupchat(room, stanza)
        else:
            invitation(room, stanza)

    def _found(self, stanza: Stanza) -> Room:
        assert stanza.to is not None
        room = self._rooms.get(stanza.to.bare)
        if room is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        return room

    # -- iq ----------------------------------------------------------------------

    def _iq(self, stanza: Stanza) -> None:
        assert stanza.to is not None
        if not stanza.to.localpart:
            self._answer(stanza, self._ask_service(stanza))
        elif stanza.to.resourcepart:
            self._ask_occupant(stanza, self._found(stanza))
        else:
            self._ask_room(stanza, self._found(stanza))

    def _answer(self, stanza: Stanza, payload: Element | None) -> None:
        self.core.router.route(stanza.result(payload))

    def _ask_service(self, stanza: Stanza) -> Element | None:
        payload = stanza.payload
        assert payload is not None
        if stanza.type == "get":
            if payload.tag == _INFO:
                return service_info(self.host)
            if payload.tag == _ITEMS:
                return room_items(room for room in self._rooms.values() if room.config.public)
            if payload.tag == _PING:
                return None
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    def _ask_room(self, stanza: Stanza, room: Room) -> None:
        payload, sender = stanza.payload, stanza.from_
        assert payload is not None
        assert sender is not None
        getting = stanza.type == "get"
        if payload.tag == _ADMIN:
            if getting:
                self._answer(stanza, affiliations.listing(room, sender, payload))
            else:
                self._when_durable(stanza, affiliations.change(room, sender, payload))
        elif payload.tag == _OWNER:
            if getting:
                self._answer(stanza, configuration(room, sender))
            else:
                waiting = configure(room, sender, payload)
                self._when_durable(stanza, [] if waiting is None else [waiting])
        elif getting and payload.tag == _INFO:
            self._answer(stanza, room_info(room, sender))
        elif getting and payload.tag == _ITEMS:
            self._answer(stanza, element(ns.DISCO_ITEMS, "query"))
        else:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    def _when_durable(self, stanza: Stanza, waiting: list[Deferred[Any]]) -> None:
        def failed(failure: Any) -> None:
            log.failure("a change of a room could not be stored", failure=failure)
            self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

        stored = gatherResults(waiting, consumeErrors=True)
        stored.addCallbacks(lambda _: self._answer(stanza, None), failed)

    def _ask_occupant(self, stanza: Stanza, room: Room) -> None:
        """An iq through the room to an occupant (17.4), or a ping of oneself (XEP-0410)."""
        assert stanza.from_ is not None
        assert stanza.to is not None
        sender = room.occupants.of(stanza.from_)
        target = room.occupants.named(stanza.to.resourcepart)
        if sender is None:
            payload = stanza.payload
            ping = payload is not None and payload.tag == _PING
            raise StanzaError(Condition.NOT_ACCEPTABLE if ping else Condition.BAD_REQUEST)
        if target is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        payload = stanza.payload
        assert payload is not None
        if target is sender and payload.tag == _PING:
            self._answer(stanza, None)
            return
        if target.virtual:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        self._forward(stanza, sender, next(reversed(target.sessions)))

    def _response(self, stanza: Stanza) -> None:
        assert stanza.to is not None
        assert stanza.from_ is not None
        room = self._rooms.get(stanza.to.bare)
        if room is None or not stanza.to.resourcepart:
            return
        sender = room.occupants.of(stanza.from_)
        target = room.occupants.named(stanza.to.resourcepart)
        if sender is not None and target is not None and target.sessions:
            self._forward(stanza, sender, next(reversed(target.sessions)))

    def _forward(self, stanza: Stanza, sender: Occupant, to: JID) -> None:
        stanza.from_, stanza.to = sender.address, to
        stanza.changed()
        self.core.router.route(stanza)
