"""Data forms (XEP-0004): making one, and reading what was filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from refserver import ns
from refserver.xml.element import Element, child, clark, element

__all__ = ["Field", "FormError", "boolean", "form", "result", "submitted"]

_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"0", "false"})


class FormError(ValueError):
    """The submitted form cannot be what was asked for. Its text may be shown to the sender."""


@frozen
class Field:
    """A field of a form; `options` are pairs of value and label."""

    var: str
    type: str = "text-single"
    label: str = ""
    values: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    def element(self) -> Element:
        """The `<field/>`."""
        attributes = {"var": self.var, "type": self.type} | ({"label": self.label} if self.label else {})
        made = element(ns.DATA, "field", attributes)
        made.extend(element(ns.DATA, "value", text=value) for value in self.values)
        for value, label in self.options:
            made.append(element(ns.DATA, "option", {"label": label}, element(ns.DATA, "value", text=value)))
        return made


def form(kind: str, fields: Iterable[Field], title: str = "", instructions: str = "") -> Element:
    """A form to be filled in; `kind` is its FORM_TYPE (XEP-0068)."""
    made = element(ns.DATA, "x", {"type": "form"})
    if title:
        made.append(element(ns.DATA, "title", text=title))
    if instructions:
        made.append(element(ns.DATA, "instructions", text=instructions))
    return _filled(made, kind, fields)


def result(kind: str, fields: Iterable[Field]) -> Element:
    """A form of type result: it reports, and asks nothing."""
    return _filled(element(ns.DATA, "x", {"type": "result"}), kind, fields)


def _filled(made: Element, kind: str, fields: Iterable[Field]) -> Element:
    made.append(Field("FORM_TYPE", "hidden", values=(kind,)).element())
    made.extend(field.element() for field in fields)
    return made


def submitted(parent: Element, kind: str) -> Mapping[str, tuple[str, ...]] | None:
    """The submitted values by field; None if the form was cancelled.

    A form without fields is valid: the sender takes all as it is. Raises `FormError`.
    """
    x = child(parent, ns.DATA, "x")
    if x is None or x.get("type") not in ("submit", "cancel"):
        raise FormError("a submitted or cancelled form is needed")
    if x.get("type") == "cancel":
        return None
    values = {
        field.get("var", ""): tuple(value.text or "" for value in field.findall(clark(ns.DATA, "value")))
        for field in x.findall(clark(ns.DATA, "field"))
    }
    found = values.pop("FORM_TYPE", (kind,))
    if found != (kind,):
        raise FormError(f"the form must be of type {kind}")
    return values


def boolean(values: tuple[str, ...]) -> bool:
    """The value of a boolean field. Raises `FormError`."""
    value = values[0].strip() if values else "0"
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise FormError("a boolean is 0, 1, true or false")
