"""Service discovery results (XEP-0030)."""

from __future__ import annotations

from collections.abc import Iterable

from refserver import ns
from refserver.xml.element import Element, element

__all__ = ["info", "items"]


def info(identity: tuple[str, str, str], features: Iterable[str]) -> Element:
    """A disco#info result: identity as (category, type, name), features in the order of their names."""
    category, type_, name = identity
    attributes = {"category": category, "type": type_} | ({"name": name} if name else {})
    query = element(ns.DISCO_INFO, "query", None, element(ns.DISCO_INFO, "identity", attributes))
    names = sorted({ns.DISCO_INFO, ns.DISCO_ITEMS, *features})
    query.extend(element(ns.DISCO_INFO, "feature", {"var": name}) for name in names)
    return query


def items(found: Iterable[tuple[str, str]]) -> Element:
    """A disco#items result of (JID, name) pairs."""
    query = element(ns.DISCO_ITEMS, "query")
    for jid, name in found:
        query.append(element(ns.DISCO_ITEMS, "item", {"jid": jid} | ({"name": name} if name else {})))
    return query
