"""Delayed delivery (XEP-0203)."""

from __future__ import annotations

from datetime import UTC, datetime

from refserver import ns
from refserver.stanza import Stanza
from refserver.xml.element import clark, element

__all__ = ["delayed"]

_DELAY = clark(ns.DELAY, "delay")


def delayed(stanza: Stanza, by: str, at: float) -> Stanza:
    """A copy of `stanza` that says since when (`at`, seconds since the epoch) it has waited at the domain
    `by`.

    If it says so already it keeps the time that it has.
    """
    copy = stanza.copy()
    if all(delay.get("from") != by for delay in copy.element.findall(_DELAY)):
        stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        copy.element.append(element(ns.DELAY, "delay", {"from": by, "stamp": stamp}))
    return copy
