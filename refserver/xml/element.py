"""Making and looking into elements: ElementTree's own, with names in Clark notation.

Owns the few functions that make `xml.etree.ElementTree.Element` pleasant where names are
pairs of namespace and local name. Reading them from bytes is framer.py, writing write.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from xml.etree.ElementTree import Element as Element


def clark(namespace: str, name: str) -> str:
    """The tag of `name` in `namespace`: `{namespace}name`, or only `name` in no namespace."""
    return f"{{{namespace}}}{name}" if namespace else name


def split(tag: str) -> tuple[str, str]:
    """Namespace ("" if none) and local name of a tag in Clark notation."""
    if tag[:1] != "{":
        return "", tag
    namespace, _, name = tag[1:].rpartition("}")
    return namespace, name


def element(
    namespace: str,
    name: str,
    attrs: Mapping[str, str] | None = None,
    *children: Element,
    text: str | None = None,
) -> Element:
    """A new element; `attrs` is copied, names in it are local or in Clark notation."""
    made = Element(clark(namespace, name), dict(attrs) if attrs else {})
    made.text = text
    made.extend(children)
    return made


def child(parent: Element, namespace: str, name: str) -> Element | None:
    """The first child with that name, or None."""
    return parent.find(clark(namespace, name))


def child_text(parent: Element, namespace: str, name: str) -> str:
    """The text of the first child with that name; "" if there is none, or no text."""
    found = parent.find(clark(namespace, name))
    return "" if found is None else found.text or ""


def copy(original: Element) -> Element:
    """A copy that shares nothing with the original and has no tail."""
    made = deepcopy(original)
    made.tail = None
    return made
