"""Roles and affiliations changed and listed by people (XEP-0045 8, 9, 10.3-10.8; muc#admin)."""

from __future__ import annotations

from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID, InvalidJID
from refserver.muc.occupants import Affiliation, Occupant, Role, initial_role
from refserver.muc.presence import AFFILIATION_CHANGED, BANNED, KICKED, Departure, expel, renew
from refserver.muc.room import Belonging, Room
from refserver.xml.element import Element, child_text, clark, element

__all__ = ["change", "listing", "may_change_affiliation", "may_change_role"]

MOST_ITEMS: Final = 100
_AFFILIATIONS: Final = {affiliation.word: affiliation for affiliation in Affiliation}
_ROLES: Final = {role.word: role for role in Role}


def listing(room: Room, sender: JID, query: Element) -> Element:
    """Those with an affiliation or a role (9.5, 10.5 …). Raises `StanzaError`."""
    items = query.findall(clark(ns.MUC_ADMIN, "item"))
    if len(items) != 1:
        raise StanzaError(Condition.BAD_REQUEST)
    actor = room.affiliation(sender.bare)
    answer = element(ns.MUC_ADMIN, "query")
    if "affiliation" in items[0].attrib:
        wanted = _affiliation(items[0])
        if actor < Affiliation.ADMIN and not (room.config.non_anonymous and actor >= Affiliation.MEMBER):
            raise StanzaError(Condition.FORBIDDEN)
        for jid in room.those(wanted):
            attributes = {"affiliation": wanted.word, "jid": jid.text}
            nick = room.belongings[jid].nick
            answer.append(element(ns.MUC_ADMIN, "item", attributes | ({"nick": nick} if nick else {})))
        return answer
    role = _role(items[0])
    occupant = room.occupants.of(sender)
    if occupant is None or occupant.role is not Role.MODERATOR:
        raise StanzaError(Condition.FORBIDDEN)
    for found in room.occupants:
        if found.role is role and not found.virtual:
            attributes = {"nick": found.nick, "role": role.word, "affiliation": found.affiliation.word}
            answer.append(
                element(ns.MUC_ADMIN, "item", attributes | {"jid": next(iter(found.sessions)).text})
            )
    return answer


@frozen
class _RoleChange:
    occupant: Occupant
    role: Role
    reason: str


@frozen
class _AffiliationChange:
    jid: JID
    affiliation: Affiliation
    nick: str
    reason: str


def change(room: Room, sender: JID, query: Element) -> list[Deferred[None]]:
    """Make all the changes of a muc#admin set, or none. Returns what must be durable before the answer.

    Raises `StanzaError`.
    """
    items = query.findall(clark(ns.MUC_ADMIN, "item"))
    if not items or len(items) > MOST_ITEMS:
        raise StanzaError(Condition.BAD_REQUEST)
    checked = [_checked(room, sender, item) for item in items]
    _keep_an_owner(room, checked)
    actor = room.occupants.of(sender)
    name = "" if actor is None else actor.nick
    waiting = []
    for done in checked:
        if isinstance(done, _RoleChange):
            _set_role(room, done, name)
        else:
            waiting.append(_set_affiliation(room, done, name))
    return [written for written in waiting if written is not None]


def _checked(room: Room, sender: JID, item: Element) -> _RoleChange | _AffiliationChange:
    reason = child_text(item, ns.MUC_ADMIN, "reason")[:1000]
    if "affiliation" in item.attrib:
        return _checked_affiliation(room, sender, item, reason)
    if "role" not in item.attrib or "nick" not in item.attrib:
        raise StanzaError(Condition.BAD_REQUEST)
    actor = room.occupants.of(sender)
    target = room.occupants.named(item.attrib["nick"])
    if actor is None:
        raise StanzaError(Condition.FORBIDDEN)
    if target is None:
        raise StanzaError(Condition.ITEM_NOT_FOUND)
    role = _role(item)
    if target.virtual or not may_change_role(
        actor.affiliation, actor.role, target.affiliation, target.role, role
    ):
        raise StanzaError(Condition.FORBIDDEN if actor.role is not Role.MODERATOR else Condition.NOT_ALLOWED)
    return _RoleChange(target, role, reason)


def _checked_affiliation(room: Room, sender: JID, item: Element, reason: str) -> _AffiliationChange:
    jid = _target(room, item)
    new, old = _affiliation(item), room.affiliation(jid)
    actor = room.affiliation(sender.bare)
    if room.managed or actor < Affiliation.ADMIN:
        raise StanzaError(Condition.FORBIDDEN)
    if jid == sender.bare and new is Affiliation.OUTCAST:
        raise StanzaError(Condition.CONFLICT)  # 9.1: nobody bans herself
    if not may_change_affiliation(actor, old, new):
        raise StanzaError(Condition.NOT_ALLOWED if new is Affiliation.OUTCAST else Condition.FORBIDDEN)
    return _AffiliationChange(jid, new, item.get("nick", ""), reason)


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


def _keep_an_owner(room: Room, changes: list[_RoleChange | _AffiliationChange]) -> None:
    """10.6: the last owner stays."""
    owners = set(room.those(Affiliation.OWNER))
    for done in changes:
        if isinstance(done, _AffiliationChange):
            (owners.add if done.affiliation is Affiliation.OWNER else owners.discard)(done.jid)
    if not owners and room.those(Affiliation.OWNER):
        raise StanzaError(Condition.CONFLICT, "a room needs an owner")


def _set_role(room: Room, done: _RoleChange, actor: str) -> None:
    if done.role is Role.NONE:
        expel(room, done.occupant, Departure((KICKED,), actor, done.reason))
    else:
        renew(room, done.occupant, done.occupant.affiliation, done.role)


def _set_affiliation(room: Room, done: _AffiliationChange, actor: str) -> Deferred[None] | None:
    written = room.belong(done.jid, Belonging(done.affiliation, done.nick, done.reason))
    for occupant in room.occupants.of_account(done.jid):
        if done.affiliation is Affiliation.OUTCAST:
            occupant.affiliation = done.affiliation
            expel(room, occupant, Departure((BANNED,), actor, done.reason))
        elif done.affiliation is Affiliation.NONE and room.config.members_only:
            occupant.affiliation = done.affiliation
            expel(room, occupant, Departure((AFFILIATION_CHANGED,), actor, done.reason))
        else:
            renew(room, occupant, done.affiliation, initial_role(done.affiliation, room.config.moderated))
    return written


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


def may_change_affiliation(actor: Affiliation, old: Affiliation, new: Affiliation) -> bool:
    """Whether `actor` may turn `old` into `new` (5.2.1): admins among those below them, owners all."""
    if actor is Affiliation.OWNER:
        return True
    return actor is Affiliation.ADMIN and max(old, new) <= Affiliation.MEMBER


def may_change_role(actor: Affiliation, actor_role: Role, target: Affiliation, old: Role, new: Role) -> bool:
    """Whether an occupant may turn another's role `old` into `new` (5.1.1, 8.2, 9.6)."""
    if actor_role is not Role.MODERATOR or target > actor:
        return False
    if Role.MODERATOR in (old, new):  # 9.6: only admins and owners make and unmake moderators
        return actor >= Affiliation.ADMIN and (target < Affiliation.ADMIN or new is Role.MODERATOR)
    return True
