"""What a room service and its rooms tell of themselves (XEP-0045 6)."""

from __future__ import annotations

from collections.abc import Iterable

from refserver import ns
from refserver.core.hosts import Host
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.occupants import Affiliation
from refserver.muc.room import Room
from refserver.payloads import disco
from refserver.payloads.forms import Field, result
from refserver.xml.element import Element

__all__ = ["room_info", "room_items", "service_info"]


def service_info(host: Host) -> Element:
    """The service as a whole."""
    name = f"Rooms of {host.name}" if host.name else "Rooms"
    return disco.info(("conference", "text", name), (ns.MUC, ns.PING))


def room_items(rooms: Iterable[Room]) -> Element:
    """The rooms that may be listed."""
    return disco.items((room.jid.text, room.config.name) for room in rooms if not room.locked)


def room_info(room: Room, sender: JID) -> Element:
    """A room's features and details; one that is not listed is there for those who belong to it only."""
    config = room.config
    belongs = room.affiliation(sender.bare) >= Affiliation.MEMBER or room.occupants.of(sender) is not None
    if not config.public and not belongs:
        raise StanzaError(Condition.ITEM_NOT_FOUND)
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
