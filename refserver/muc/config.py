"""What can be set about a room (XEP-0045 10.1-10.2, muc#roomconfig)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import asdict, evolve, fields, frozen

from refserver import ns
from refserver.payloads.forms import Field, FormError, boolean, form
from refserver.xml.element import Element

__all__ = ["RoomConfig"]

MOST_HISTORY: Final = 100
LONGEST_TEXT: Final = 1000

_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("muc#roomconfig_roomname", "Name"),
    "description": ("muc#roomconfig_roomdesc", "Description"),
    "persistent": ("muc#roomconfig_persistentroom", "Keep the room when everyone has left"),
    "public": ("muc#roomconfig_publicroom", "List the room"),
    "members_only": ("muc#roomconfig_membersonly", "Only members may enter"),
    "moderated": ("muc#roomconfig_moderatedroom", "Only those with voice may write"),
    "non_anonymous": ("muc#roomconfig_whois", "Who sees real addresses"),
    "change_subject": ("muc#roomconfig_changesubject", "Participants may change the subject"),
    "password": ("muc#roomconfig_roomsecret", "Password"),
    "history": ("muc#maxhistoryfetch", "Messages of history"),
}


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

    def form(self) -> Element:
        """The configuration form with what is set now."""
        shown = [self._field(field.name) for field in fields(RoomConfig)]
        return form(ns.MUC_ROOMCONFIG, shown, title="Room settings")

    def _field(self, name: str) -> Field:
        var, label = _LABELS[name]
        value = getattr(self, name)
        if name == "non_anonymous":
            options = (("moderators", "Moderators"), ("anyone", "Everyone"))
            return Field(var, "list-single", label, ("anyone" if value else "moderators",), options)
        if isinstance(value, bool):
            return Field(var, "boolean", label, ("1" if value else "0",))
        kind = "text-private" if name == "password" else "text-single"
        return Field(var, kind, label, (str(value),))

    def changed_by(self, values: Mapping[str, tuple[str, ...]]) -> RoomConfig:
        """These settings with the submitted ones in their place. Raises `FormError`."""
        changes: dict[str, Any] = {}
        for name, (var, _) in _LABELS.items():
            if var in values:
                changes[name] = _value(getattr(self, name), name, values[var])
        if values.get("muc#roomconfig_passwordprotectedroom") in (("0",), ("false",)):
            changes["password"] = ""
        return evolve(self, **changes)


def _value(old: object, name: str, values: tuple[str, ...]) -> object:
    text = values[0] if values else ""
    if name == "non_anonymous":
        if text not in ("anyone", "moderators"):
            raise FormError("real addresses are shown to anyone or to moderators")
        return text == "anyone"
    if isinstance(old, bool):
        return boolean(values)
    if isinstance(old, int):
        if not text.isascii() or not text.isdigit():
            raise FormError("the length of the history is a number")
        return min(int(text), MOST_HISTORY)
    if len(text) > LONGEST_TEXT:
        raise FormError(f"a text may have {LONGEST_TEXT} characters at most")
    return text
