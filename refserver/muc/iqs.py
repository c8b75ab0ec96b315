"""Iqs for a room service and its rooms (XEP-0045 6, 9, 10), and iqs between occupants (17.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cachetools import TTLCache
from twisted.internet.defer import Deferred

from refserver import ns
from refserver.core.core import Core
from refserver.core.hosts import Host
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc import affiliations
from refserver.muc.config import configuration, configure
from refserver.muc.room import Room
from refserver.payloads import disco
from refserver.payloads.forms import Field, result
from refserver.stanza import IQ_REQUESTS, Stanza, new_id
from refserver.storage.rooms import Affiliation
from refserver.xml.element import Element, clark

__all__ = ["RoomIqs"]

MOST_PASSED_ON: Final = 10_000
PASSED_ON_KEPT: Final = 300.0  # seconds
_ADMIN: Final = clark(ns.MUC_ADMIN, "query")
_OWNER: Final = clark(ns.MUC_OWNER, "query")
_INFO: Final = clark(ns.DISCO_INFO, "query")
_ITEMS: Final = clark(ns.DISCO_ITEMS, "query")
_PING: Final = clark(ns.PING, "ping")
_KNOWN_NODES: Final = frozenset({"x-roomuser-item", f"{ns.MUC}#traffic", f"{ns.MUC}#rooms"})


class RoomIqs:
    """Answers the iqs of one room service.

    An iq to an occupant is passed on to that occupant's newest session. Who asked is remembered, so that the
    answer goes to the session that asked, and an answer that nobody asked for goes nowhere.
    """

    def __init__(self, core: Core, host: Host, rooms: Mapping[JID, Room]) -> None:
        self._core = core
        self._host = host
        self._rooms = rooms
        # by room, answering session and id: the asking session and the id it gave
        self._passed_on: TTLCache[tuple[JID, JID, str], tuple[JID, str]] = TTLCache(
            MOST_PASSED_ON, PASSED_ON_KEPT, core.clock.seconds
        )

    def ask_service(self, stanza: Stanza) -> Element | None:
        """Answer a request to the service itself. Raises `StanzaError`."""
        payload = stanza.payload
        assert payload is not None
        if stanza.type == "get" and payload.tag in (_INFO, _ITEMS):
            _check_node(payload)
            return self._service_info() if payload.tag == _INFO else self._service_items()
        if stanza.type == "get" and payload.tag == _PING:
            return None
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    def ask_room(self, stanza: Stanza, room: Room) -> Element | Deferred[None]:
        """Answer a request to a room. Raises `StanzaError`."""
        payload, sender, getting = stanza.payload, stanza.from_, stanza.type == "get"
        assert payload is not None
        assert sender is not None
        if payload.tag == _ADMIN:
            if getting:
                return affiliations.listing(room, sender, payload)
            return affiliations.change(room, sender, payload)
        if payload.tag == _OWNER:
            return configuration(room, sender) if getting else configure(room, sender, payload)
        if getting and payload.tag in (_INFO, _ITEMS):
            _check_visible(room, sender)
            _check_node(payload)
            return _room_info(room) if payload.tag == _INFO else disco.items(())
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    # -- discovery -------------------------------------------------------------

    def _service_info(self) -> Element:
        name = f"Rooms of {self._host.name}" if self._host.name else "Rooms"
        return disco.info(("conference", "text", name), (ns.MUC, ns.PING))

    def _service_items(self) -> Element:
        listed = (room for room in self._rooms.values() if room.config.public and not room.locked)
        return disco.items((room.jid.text, room.config.name) for room in listed)

    # -- between occupants -----------------------------------------------------

    def pass_on(self, stanza: Stanza, room: Room) -> bool:
        """Pass a request or an answer on to an occupant. Raises `StanzaError`.

        True: it is a ping of one's own occupant JID (XEP-0410), which the room answers.
        """
        assert stanza.from_ is not None
        assert stanza.to is not None
        if stanza.type not in IQ_REQUESTS:
            self._pass_answer_on(stanza, room, stanza.from_)
            return False
        asking, payload = room.occupants.of(stanza.from_), stanza.payload
        is_ping = payload is not None and payload.tag == _PING
        if asking is None:
            raise StanzaError(Condition.NOT_ACCEPTABLE if is_ping else Condition.BAD_REQUEST)
        asked = room.occupants.named(stanza.to.resourcepart)
        if asked is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        if asked is asking and is_ping:
            return True
        if asked.virtual:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        session = next(reversed(asked.sessions))
        key = room.jid, session, stanza.id
        if key in self._passed_on:  # somebody else's request has the same id
            key = room.jid, session, new_id()
        self._passed_on[key] = stanza.from_, stanza.id
        self._send(stanza, asking.address, session, key[2])
        return False

    def _pass_answer_on(self, stanza: Stanza, room: Room, answering: JID) -> None:
        asking, id = self._passed_on.pop((room.jid, answering, stanza.id), (None, ""))
        sender = room.occupants.of(answering)
        if asking is not None and sender is not None and room.occupants.of(asking) is not None:
            self._send(stanza, sender.address, asking, id)

    def _send(self, stanza: Stanza, from_: JID, to: JID, id: str) -> None:
        stanza.from_, stanza.to = from_, to
        stanza.element.set("id", id)
        stanza.changed()
        self._core.router.route(stanza)


def _check_visible(room: Room, sender: JID) -> None:
    """Hide a room that is not listed from those who do not belong to it."""
    belongs = room.affiliation(sender.bare) >= Affiliation.MEMBER or room.occupants.of(sender) is not None
    if not room.config.public and not belongs:
        raise StanzaError(Condition.ITEM_NOT_FOUND)


def _check_node(payload: Element) -> None:
    """Refuse nodes: those of XEP-0045 15.5 as not implemented, as it says, others as unknown (XEP-0030 7)."""
    node = payload.get("node")
    if node in _KNOWN_NODES:
        raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED)
    if node:
        raise StanzaError(Condition.ITEM_NOT_FOUND)


def _room_info(room: Room) -> Element:
    config = room.config
    features = (
        ns.MUC,
        "muc_persistent" if config.persistent else "muc_temporary",
        "muc_public" if config.public else "muc_hidden",
        "muc_membersonly" if config.members_only else "muc_open",
        "muc_moderated" if config.moderated else "muc_unmoderated",
        "muc_nonanonymous" if config.non_anonymous else "muc_semianonymous",
        "muc_passwordprotected" if config.password else "muc_unsecured",
        ns.MUC_STABLE_ID,
        ns.MUC_SELF_PING,
    )
    info = disco.info(("conference", "text", config.name), features)
    info.append(result(ns.MUC_ROOMINFO, _details(room)))
    return info


def _details(room: Room) -> Iterable[Field]:
    yield Field("muc#roominfo_description", label="Description", values=(room.config.description,))
    yield Field("muc#roominfo_occupants", label="Occupants", values=(str(len(room.occupants)),))
    if room.subject is not None:
        yield Field("muc#roominfo_subject", label="Subject", values=(room.subject.text,))
