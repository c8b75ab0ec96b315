"""Service discovery results (XEP-0030, XEP-0128)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from attrs import frozen

from refserver import ns
from refserver.xml.element import Element, element

__all__ = ["Identity", "Info", "Item", "format_info", "format_items"]


class Identity(NamedTuple):
    """An identity in service discovery: the XMPP registrar's category and type, a name for people or ""."""

    category: str
    type: str
    name: str = ""


class Item(NamedTuple):
    """An address, or a node of one, that belongs to the address asked."""

    jid: str
    name: str = ""
    node: str = ""


@frozen
class Info:
    """A part of a disco#info result: identities, features, and forms of type result (XEP-0128)."""

    identities: tuple[Identity, ...] = ()
    features: Iterable[str] = ()
    forms: tuple[Element, ...] = ()


def format_info(parts: Iterable[Info], node: str = "") -> Element:
    """The disco#info result that joins `parts`; features in the order of their names, each once."""
    parts = list(parts)
    query = element(ns.DISCO_INFO, "query", {"node": node} if node else None)
    for category, type_, name in dict.fromkeys(identity for part in parts for identity in part.identities):
        attributes = {"category": category, "type": type_} | ({"name": name} if name else {})
        query.append(element(ns.DISCO_INFO, "identity", attributes))
    names = {ns.DISCO_INFO, ns.DISCO_ITEMS}.union(*(part.features for part in parts))
    query.extend(element(ns.DISCO_INFO, "feature", {"var": name}) for name in sorted(names))
    query.extend(form for part in parts for form in part.forms)
    return query


def format_items(found: Iterable[Item], node: str = "") -> Element:
    """A disco#items result."""
    query = element(ns.DISCO_ITEMS, "query", {"node": node} if node else None)
    for item in found:
        attributes = {"jid": item.jid, "node": item.node, "name": item.name}
        query.append(
            element(ns.DISCO_ITEMS, "item", {name: text for name, text in attributes.items() if text})
        )
    return query
