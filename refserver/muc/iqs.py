"""Iq handlers of room services and rooms (XEP-0045 6, 9, 10), and iqs between occupants (17.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cachetools import TTLCache
from twisted.internet.defer import Deferred

from refserver import ns
from refserver.core.core import Core
from refserver.core.feature import Feature, Request, Target, disco_info, disco_items, iq, on
from refserver.core.hooks import AccountRemoved
from refserver.core.router import Router
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc import affiliations
from refserver.muc.config import configuration, configure
from refserver.muc.room import Room
from refserver.payloads.disco import Identity, Info, Item
from refserver.payloads.forms import Field, result
from refserver.stanza import IQ_REQUESTS, Stanza, new_id
from refserver.storage.rooms import Affiliation
from refserver.xml.element import Element, clark

ROOMS_PER_ACCOUNT: Final = 20
MOST_PASSED_ON: Final = 10_000
PASSED_ON_KEPT: Final = 300.0  # seconds
_PING: Final = clark(ns.PING, "ping")
_ANY: Final = (Target.ROOM_SERVICE, Target.ROOM)


class Rooms(Feature):
    """Answers for room services and rooms (the requests' `place`), and tells rooms that an account has ended.

    `rooms_per_account`: how many persistent rooms one account may have made at one service, and how many
    temporary ones at a time; 0 is no limit.
    """

    name = "rooms"
    xeps = ("0045", "0410")
    disco = {Target.ROOM_SERVICE: (ns.MUC,), Target.ROOM: (ns.MUC, ns.MUC_STABLE_ID, ns.MUC_SELF_PING)}

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.services: list[Iterable[Room]] = []
        self.rooms_per_account = ROOMS_PER_ACCOUNT

    @on(AccountRemoved)
    def account_removed(self, event: AccountRemoved) -> None:
        """Do in memory what `storage.rooms.remove_account` has done in the database."""
        for service in self.services:
            for room in service:
                affiliations.remove_account(room, event.account)

    # -- roles, affiliations, configuration --------------------------------------

    @iq("get", ns.MUC_ADMIN, "query", to=Target.ROOM, advertise=False)
    def list_affiliates(self, request: Request) -> Element:
        """Everybody with an affiliation or role."""
        return affiliations.listing(request.place, request.sender, request.payload)

    @iq("set", ns.MUC_ADMIN, "query", to=Target.ROOM, advertise=False)
    def change_affiliates(self, request: Request) -> Deferred[None]:
        """Changes of affiliations and roles."""
        return affiliations.change(request.place, request.sender, request.payload)

    @iq("get", ns.MUC_OWNER, "query", to=Target.ROOM, advertise=False)
    def configuration(self, request: Request) -> Element:
        """The configuration form."""
        return configuration(request.place, request.sender)

    @iq("set", ns.MUC_OWNER, "query", to=Target.ROOM, advertise=False)
    def configure(self, request: Request) -> Deferred[None]:
        """A configuration form, submitted or cancelled, or the order to destroy the room."""
        return configure(request.place, request.sender, request.payload)

    # -- discovery ---------------------------------------------------------------

    @disco_info(Target.ROOM_SERVICE)
    def service_info(self, request: Request) -> Info:
        """The service is a text conference."""
        name = f"Rooms of {request.host.name}" if request.host.name else "Rooms"
        return Info((Identity("conference", "text", name),))

    @disco_items(Target.ROOM_SERVICE)
    def listed_rooms(self, request: Request) -> Iterable[Item]:
        """The rooms that may be listed."""
        rooms: Iterable[Room] = request.place
        return [
            Item(room.jid.text, room.config.name) for room in rooms if room.config.public and not room.locked
        ]

    @disco_info(Target.ROOM)
    def room_info(self, request: Request) -> Info:
        """The room's settings and details."""
        room: Room = request.place
        _check_visible(room, request.sender)
        config = room.config
        features = (
            "muc_persistent" if config.persistent else "muc_temporary",
            "muc_public" if config.public else "muc_hidden",
            "muc_membersonly" if config.members_only else "muc_open",
            "muc_moderated" if config.moderated else "muc_unmoderated",
            "muc_nonanonymous" if config.non_anonymous else "muc_semianonymous",
            "muc_passwordprotected" if config.password else "muc_unsecured",
        )
        identity = Identity("conference", "text", config.name)
        return Info((identity,), features, (result(ns.MUC_ROOMINFO, _details(room)),))

    @disco_items(Target.ROOM)
    def occupants(self, request: Request) -> Iterable[Item]:
        """Nobody: who is in a room is not shown to those outside (6.5)."""
        _check_visible(request.place, request.sender)
        return ()

    @disco_info(_ANY, node="x-roomuser-item")
    @disco_info(_ANY, node=f"{ns.MUC}#traffic")
    @disco_info(_ANY, node=f"{ns.MUC}#rooms")
    def unsupported_node(self, request: Request) -> Info:
        """A node that XEP-0045 15.5 names and rooms here do not support."""
        raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED)


def _check_visible(room: Room, sender: JID) -> None:
    """Hide a room that is not listed from those who do not belong to it."""
    belongs = room.affiliation(sender.bare) >= Affiliation.MEMBER or room.occupants.of(sender) is not None
    if not room.config.public and not belongs:
        raise StanzaError(Condition.ITEM_NOT_FOUND)


def _details(room: Room) -> Iterable[Field]:
    yield Field("muc#roominfo_description", label="Description", values=(room.config.description,))
    yield Field("muc#roominfo_occupants", label="Occupants", values=(str(len(room.occupants)),))
    if room.subject is not None:
        yield Field("muc#roominfo_subject", label="Subject", values=(room.subject.text,))


class OccupantIqs:
    """Passes iqs on between occupants, for all rooms of a service; a request goes to the newest session.

    Who asked is remembered, so that the answer goes to the session that asked, and an answer that nobody
    asked for goes nowhere.
    """

    def __init__(self, core: Core) -> None:
        self._router: Router = core.router
        # by room, answering session and id: the asking session and the id it gave
        self._asked: TTLCache[tuple[JID, JID, str], tuple[JID, str]] = TTLCache(
            MOST_PASSED_ON, PASSED_ON_KEPT, core.clock.seconds
        )

    def pass_on(self, stanza: Stanza, room: Room) -> None:
        """Pass an iq for an occupant JID on. Raises `StanzaError`."""
        assert stanza.from_ is not None
        assert stanza.to is not None
        if stanza.type in IQ_REQUESTS:
            self._pass_request_on(stanza, room, stanza.from_, stanza.to.resourcepart)
        else:
            self._pass_answer_on(stanza, room, stanza.from_)

    def _pass_request_on(self, stanza: Stanza, room: Room, asking: JID, nick: str) -> None:
        occupant, asked = room.occupants.of(asking), room.occupants.named(nick)
        is_ping = stanza.payload is not None and stanza.payload.tag == _PING
        if occupant is None:
            raise StanzaError(Condition.NOT_ACCEPTABLE if is_ping else Condition.BAD_REQUEST)
        if asked is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        if asked is occupant and is_ping:  # XEP-0410
            self._router.route(stanza.result())
            return
        if asked.virtual:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        session = next(reversed(asked.sessions))
        key = room.jid, session, stanza.id
        if key in self._asked:  # another session uses the same id
            key = room.jid, session, new_id()
        self._asked[key] = asking, stanza.id
        self._send(stanza, occupant.address, session, key[2])

    def _pass_answer_on(self, stanza: Stanza, room: Room, answering: JID) -> None:
        asking, id = self._asked.pop((room.jid, answering, stanza.id), (None, ""))
        occupant = room.occupants.of(answering)
        if asking is not None and occupant is not None and room.occupants.of(asking) is not None:
            self._send(stanza, occupant.address, asking, id)

    def _send(self, stanza: Stanza, from_: JID, to: JID, id: str) -> None:
        stanza.from_, stanza.to = from_, to
        stanza.element.set("id", id)
        stanza.changed()
        self._router.route(stanza)
