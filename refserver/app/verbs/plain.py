"""Values of verbs and answers as JSON has them. Bytes are in base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Final, TypeVar

from cattrs import Converter

__all__ = ["CONVERTER", "made_of", "plain"]

T = TypeVar("T")


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return CONVERTER.unstructure(value)


def made_of(data: Any, kind: type[T]) -> T:
    """A value of class `kind` from what `plain` made of it."""
    return CONVERTER.structure(data, kind)


CONVERTER: Final = Converter(forbid_extra_keys=True)
CONVERTER.register_unstructure_hook(bytes, lambda value: b64encode(value).decode("ascii"))
CONVERTER.register_structure_hook(bytes, lambda text, _: b64decode(text, validate=True))
