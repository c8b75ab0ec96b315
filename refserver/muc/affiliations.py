"""Roles and affiliations listed and changed by people (XEP-0045 8, 9, 10.3-10.8; muc#admin)."""

from __future__ import annotations

from functools import partial
from typing import Final

from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID, InvalidJID
from refserver.muc.occupants import Occupant, Role, initial_role, nickname_key
from refserver.muc.presence import AFFILIATION_CHANGED, BANNED, KICKED, Departure, dismiss, expel, renew
from refserver.muc.room import MOST_REASON, Change, Room
from refserver.storage import rooms
from refserver.storage.rooms import Affiliate, Affiliation
from refserver.xml.element import Element, child_text, clark, element

MOST_ITEMS: Final = 100
_AFFILIATIONS: Final = {affiliation.word: affiliation for affiliation in Affiliation}
_ROLES: Final = {role.word: role for role in Role}


# -- lists ---------------------------------------------------------------------


def listing(room: Room, sender: JID, query: Element) -> Element:
    """Return everybody with the affiliation or role that `query` names. Raises `StanzaError`."""
    items = query.findall(clark(ns.MUC_ADMIN, "item"))
    if len(items) != 1 or ("affiliation" in items[0].attrib) is ("role" in items[0].attrib):
        raise StanzaError(Condition.BAD_REQUEST)
    answer = element(ns.MUC_ADMIN, "query")
    if "affiliation" in items[0].attrib:
        answer.extend(_list_affiliation(room, sender, _affiliation(items[0])))
    else:
        answer.extend(_list_role(room, sender, _role(items[0])))
    return answer


def _list_affiliation(room: Room, sender: JID, wanted: Affiliation) -> list[Element]:
    """List an affiliation; owners and admins for owners only, where addresses are hidden (10.5, 10.8)."""
    needed = Affiliation.OWNER if wanted >= Affiliation.ADMIN else Affiliation.ADMIN
    if room.config.non_anonymous and wanted >= Affiliation.MEMBER:
        needed = Affiliation.MEMBER
    if room.affiliation(sender.bare) < needed:
        raise StanzaError(Condition.FORBIDDEN)
    found = []
    for jid in room.affiliated(wanted):
        affiliate = room.affiliates[jid]
        attributes = {"affiliation": wanted.word, "jid": jid.text}
        attributes |= {"nick": affiliate.nick} if affiliate.nick else {}
        item = element(ns.MUC_ADMIN, "item", attributes)
        if affiliate.reason:
            item.append(element(ns.MUC_ADMIN, "reason", text=affiliate.reason))
        found.append(item)
    return found


def _list_role(room: Room, sender: JID, role: Role) -> list[Element]:
    asking = room.occupants.of(sender)
    if asking is None or asking.role is not Role.MODERATOR:
        raise StanzaError(Condition.FORBIDDEN)
    found = []
    for occupant in room.occupants:
        if occupant.role is role and not occupant.virtual:
            attributes = {"nick": occupant.nick, "role": role.word, "affiliation": occupant.affiliation.word}
            attributes["jid"] = next(iter(occupant.sessions)).text
            found.append(element(ns.MUC_ADMIN, "item", attributes))
    return found


# -- changes -------------------------------------------------------------------


@frozen
class _RoleChange:
    occupant: Occupant
    role: Role
    reason: str


@frozen
class _AffiliationChange:
    jid: JID
    affiliate: Affiliate


def change(room: Room, sender: JID, query: Element) -> Deferred[None]:
    """Make all the changes of a muc#admin set, or none. Raises `StanzaError`.

    The Deferred fires when they are durable and the occupants are told.
    """
    items = query.findall(clark(ns.MUC_ADMIN, "item"))
    if not items or len(items) > MOST_ITEMS:
        raise StanzaError(Condition.BAD_REQUEST)
    checked = [found for item in items if (found := _checked(room, sender, item)) is not None]
    roles = [found for found in checked if isinstance(found, _RoleChange)]
    affiliates = {found.jid: found.affiliate for found in checked if isinstance(found, _AffiliationChange)}
    _check_result(room, sender, affiliates)
    actor = room.occupants.of(sender)
    nick = "" if actor is None else actor.nick

    def apply() -> None:
        for found in roles:
            _set_role(room, found, nick)
        apply_affiliations(room, affiliates, nick)

    is_stored = bool(affiliates) and room.is_stored
    return room.perform(Change(partial(store_affiliations, room, affiliates), apply), is_stored)


def store_affiliations(room: Room, affiliates: dict[JID, Affiliate], connection: Connection) -> None:
    """Write affiliations to the database, in the caller's transaction."""
    for jid, affiliate in affiliates.items():
        rooms.set_affiliation(connection, room.jid, jid, affiliate)


def _checked(room: Room, sender: JID, item: Element) -> _RoleChange | _AffiliationChange | None:
    """Return the change that `item` asks for, None if nothing changes. Raises `StanzaError`."""
    if ("affiliation" in item.attrib) is ("role" in item.attrib):
        raise StanzaError(Condition.BAD_REQUEST, "an item changes either a role or an affiliation")
    reason = child_text(item, ns.MUC_ADMIN, "reason")[:MOST_REASON]
    if "affiliation" in item.attrib:
        return _checked_affiliation(room, sender, item, reason)
    if "nick" not in item.attrib:
        raise StanzaError(Condition.BAD_REQUEST)
    actor = room.occupants.of(sender)
    target = room.occupants.named(item.attrib["nick"])
    if actor is None:
        raise StanzaError(Condition.FORBIDDEN)
    if target is None:
        raise StanzaError(Condition.ITEM_NOT_FOUND)
    role = _role(item)
    is_moderator = actor.role is Role.MODERATOR
    if role is target.role and is_moderator:
        return None
    if target.virtual or not may_change_role(
        actor.affiliation, actor.role, target.affiliation, target.role, role
    ):
        raise StanzaError(Condition.NOT_ALLOWED if is_moderator else Condition.FORBIDDEN)
    return _RoleChange(target, role, reason)


def _checked_affiliation(room: Room, sender: JID, item: Element, reason: str) -> _AffiliationChange | None:
    jid = _target(room, item)
    new, old = _affiliation(item), room.affiliates.get(jid) or Affiliate(Affiliation.NONE)
    actor = room.affiliation(sender.bare)
    if room.managed or actor < Affiliation.ADMIN:
        raise StanzaError(Condition.FORBIDDEN)
    if jid == sender.bare and new is Affiliation.OUTCAST:
        raise StanzaError(Condition.CONFLICT)  # 9.1: nobody bans herself
    nick = old.nick
    if new <= Affiliation.NONE:
        nick = ""
    elif "jid" in item.attrib and "nick" in item.attrib:  # 9.5: else it names the occupant, or stays
        nick = item.attrib["nick"]
    if new is old.affiliation and nick == old.nick:
        return None
    if not may_change_affiliation(actor, old.affiliation, new):
        raise StanzaError(Condition.NOT_ALLOWED if new is Affiliation.OUTCAST else Condition.FORBIDDEN)
    if nick and nick != old.nick:
        _check_reservation(room, jid, nick)
    return _AffiliationChange(jid, Affiliate(new, nick, reason))


def _check_reservation(room: Room, jid: JID, nick: str) -> None:
    try:
        room.address_of(nick)
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED) from error
    if not nickname_key(nick):
        raise StanzaError(Condition.NOT_ACCEPTABLE, "a nickname needs more than spaces")
    if room.reserved_for(nick) - {jid}:
        raise StanzaError(Condition.CONFLICT, "the nickname is reserved for somebody else")


def _target(room: Room, item: Element) -> JID:
    if "jid" not in item.attrib:
        occupant = room.occupants.named(item.get("nick", ""))
        if occupant is None:
            raise StanzaError(Condition.BAD_REQUEST)
        return occupant.account
    try:
        return JID.parse(item.attrib["jid"]).bare
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED) from error


def _check_result(room: Room, sender: JID, affiliates: dict[JID, Affiliate]) -> None:
    """Refuse too many changes, and those that leave no owner (10.6) or ban their sender (9.1)."""
    room.check_new_affiliates(affiliates)
    result = dict(room.affiliates) | affiliates
    owners = [jid for jid, found in result.items() if found.affiliation is Affiliation.OWNER]
    if not owners and room.affiliated(Affiliation.OWNER):
        raise StanzaError(Condition.CONFLICT, "a room needs an owner")
    own = result.get(sender.bare) or result.get(JID.parse(sender.domainpart))
    if own is not None and own.affiliation is Affiliation.OUTCAST:
        raise StanzaError(Condition.CONFLICT, "nobody bans herself")


def _set_role(room: Room, change: _RoleChange, actor: str) -> None:
    occupant = change.occupant
    if room.occupants.named(occupant.nick) is not occupant or occupant.role is change.role:
        return
    if change.role is Role.NONE:
        expel(room, occupant, Departure((KICKED,), actor, change.reason))
    else:
        renew(room, occupant, occupant.affiliation, change.role)


def apply_affiliations(room: Room, affiliates: dict[JID, Affiliate], actor: str) -> None:
    """Set affiliations in memory, by bare JID or domain, and tell the occupants whom they concern."""
    for jid, affiliate in affiliates.items():
        room.set_affiliate(jid, affiliate)
    for occupant in room.occupants:
        new = room.affiliation(occupant.account)
        if occupant.virtual or new is occupant.affiliation:
            continue
        cause = affiliates.get(occupant.account) or affiliates.get(JID.parse(occupant.account.domainpart))
        reason = "" if cause is None else cause.reason
        if new is Affiliation.OUTCAST:
            occupant.affiliation = new
            expel(room, occupant, Departure((BANNED,), actor, reason))
        elif new is Affiliation.NONE and room.config.members_only:
            occupant.affiliation = new
            expel(room, occupant, Departure((AFFILIATION_CHANGED,), actor, reason))
        else:
            renew(room, occupant, new, initial_role(new, room.config.moderated))


def remove_account(room: Room, account: JID) -> None:
    """Remove a removed account's affiliation, and the room if nobody else owns it. Bans stay."""
    if room.creator == account:
        room.creator = None
    affiliation = room.affiliates.get(account, Affiliate(Affiliation.NONE)).affiliation
    if room.managed or affiliation <= Affiliation.NONE:
        return
    if room.affiliated(Affiliation.OWNER) == [account]:
        dismiss(room, Departure(destroyed=element(ns.MUC_USER, "destroy")))
        room.directory.forget(room)
    else:
        apply_affiliations(room, {account: Affiliate(Affiliation.NONE)}, "")


def _affiliation(item: Element) -> Affiliation:
    found = _AFFILIATIONS.get(item.get("affiliation", ""))
    if found is None:
        raise StanzaError(Condition.BAD_REQUEST)
    return found


def _role(item: Element) -> Role:
    found = _ROLES.get(item.get("role", ""))
    if found is None:
        raise StanzaError(Condition.BAD_REQUEST)
    return found


# -- who may -------------------------------------------------------------------


def may_change_affiliation(actor: Affiliation, old: Affiliation, new: Affiliation) -> bool:
    """Return True if `actor` may turn `old` into `new` (5.2.2): owners any, admins those below them."""
    if actor is Affiliation.OWNER:
        return True
    return actor is Affiliation.ADMIN and max(old, new) <= Affiliation.MEMBER


def may_change_role(actor: Affiliation, actor_role: Role, target: Affiliation, old: Role, new: Role) -> bool:
    """Return True if an occupant may turn another's role `old` into `new` (5.1.1, 8.2, 9.6)."""
    if actor_role is not Role.MODERATOR or target > actor:
        return False
    if Role.MODERATOR in (old, new):  # 9.6: only admins and owners make and unmake moderators
        return actor >= Affiliation.ADMIN and (target < Affiliation.ADMIN or new is Role.MODERATOR)
    return True
