"""Translations: gettext catalogues, read straight from the `.po` files that translators edit.

English is the source and needs no catalogue. A `.po` file is turned into the compiled form
in memory, so nothing has to be built and nothing can be out of date. Format: the GNU
gettext manual, chapters 10.1 and 11.3 (PO and MO files).
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Iterator
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib import resources
from io import BytesIO
from typing import Final

SOURCE: Final = "en"
_MAGIC: Final = 0x950412DE
_FOLDER: Final = resources.files("refserver.reference") / "locale"
_FIELDS: Final = ("msgctxt", "msgid_plural", "msgid", "msgstr")


class CatalogueError(ValueError):
    """A `.po` file is not one; names the line."""


def languages() -> list[str]:
    """The languages there are texts in."""
    translated = (entry.name.removesuffix(".po") for entry in _FOLDER.iterdir() if entry.name.endswith(".po"))
    return sorted((SOURCE, *translated))


def catalogue(language: str) -> NullTranslations:
    """The translations for a language tag (`de-AT` finds `de`); English for all that is not there."""
    return _load(language.replace("_", "-").partition("-")[0].lower())


@cache
def _load(primary: str) -> NullTranslations:
    if primary == SOURCE or primary not in languages():
        return NullTranslations()
    entries = parse((_FOLDER / f"{primary}.po").read_text("utf-8"))
    return GNUTranslations(BytesIO(_compiled(entries)))


def parse(text: str) -> dict[str, str]:
    """The entries of a `.po` file, keyed as in a compiled catalogue. Raises `CatalogueError`."""
    entries: dict[str, str] = {}
    for entry in _entries(text):
        key, value = _key(entry), _value(entry)
        if value:
            entries[key] = value
    return entries


def _key(entry: dict[str, str]) -> str:
    context = entry["msgctxt"] + "\x04" if "msgctxt" in entry else ""
    plural = "\x00" + entry["msgid_plural"] if "msgid_plural" in entry else ""
    return context + entry["msgid"] + plural


def _value(entry: dict[str, str]) -> str:
    forms = [entry[name] for name in sorted(entry) if name.startswith("msgstr")]
    return "\x00".join(forms) if all(forms) else ""


def _entries(text: str) -> Iterator[dict[str, str]]:
    """Each entry's fields; a field is a keyword and string literals on one or more lines."""
    entry: dict[str, str] = {}
    name = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if not line.startswith('"'):
            keyword, _, line = line.partition(" ")
            if keyword.partition("[")[0] not in _FIELDS:
                raise CatalogueError(f"line {number}: no such field")
            if "msgstr" in "".join(entry) and not keyword.startswith("msgstr"):
                yield entry
                entry = {}
            name = keyword
            entry[name] = ""
        entry[name] += _literal(line, number)
    if entry:
        yield entry


def _literal(line: str, number: int) -> str:
    try:
        value = ast.literal_eval(line)
    except (SyntaxError, ValueError) as error:
        raise CatalogueError(f"line {number}: not a string") from error
    if not isinstance(value, str):
        raise CatalogueError(f"line {number}: not a string")
    return value


def _compiled(entries: dict[str, str]) -> bytes:
    """The entries as an MO file: a header, two tables of lengths and offsets, the strings."""
    pairs = [(key.encode(), value.encode()) for key, value in sorted(entries.items())]
    tables, strings = b"", b""
    start = 28 + 16 * len(pairs)
    for column in (0, 1):
        for pair in pairs:
            tables += struct.pack("<II", len(pair[column]), start + len(strings))
            strings += pair[column] + b"\x00"
    header = struct.pack("<7I", _MAGIC, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return header + tables + strings
