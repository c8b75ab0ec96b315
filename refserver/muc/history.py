"""What was said before: sent to those who enter (XEP-0045 7.2.13-14)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from refserver import ns
from refserver.jid import JID
from refserver.muc.room import Room
from refserver.stanza import Stanza
from refserver.xml.element import Element, child, element

__all__ = ["send_history", "stamp"]

_LIMITS: Final = ("maxstanzas", "maxchars", "seconds")


def stamp(at: float) -> str:
    """A time in the format of XEP-0082."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def send_history(room: Room, session: JID, x: Element | None) -> None:
    """Send what the newcomer wants of the history (the `<history/>` in its `<x/>`), oldest first."""
    wanted = None if x is None else child(x, ns.MUC, "history")
    for at, stanza in _managed(room, wanted):
        delayed = stanza.copy()
        delayed.element.append(element(ns.DELAY, "delay", {"from": room.jid.text, "stamp": stamp(at)}))
        room.send(delayed, session)


def _managed(room: Room, wanted: Element | None) -> list[tuple[float, Stanza]]:
    """The newest messages within all the limits that were asked for; a limit that is no number is none."""
    found = list(room.history)
    if wanted is None:
        return found
    since = _since(wanted)
    found = [entry for entry in found if since is None or entry[0] >= since]
    limits = {name: int(text) for name in _LIMITS if (text := wanted.get(name, "")).isdecimal()}
    if "seconds" in limits:
        oldest = room.core.now() - limits["seconds"]
        found = [entry for entry in found if entry[0] >= oldest]
    if "maxstanzas" in limits:
        found = found[-limits["maxstanzas"] :] if limits["maxstanzas"] else []
    if "maxchars" in limits:
        found = _within(found, limits["maxchars"])
    return found


def _within(found: list[tuple[float, Stanza]], characters: int) -> list[tuple[float, Stanza]]:
    kept = 0
    for _, stanza in reversed(found):
        characters -= len(stanza.wire().decode())  # 7.2.14: characters of complete stanzas
        if characters < 0:
            break
        kept += 1
    return found[len(found) - kept :]


def _since(wanted: Element) -> float | None:
    try:
        since = datetime.fromisoformat(wanted.get("since", ""))
    except ValueError:
        return None
    return (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
