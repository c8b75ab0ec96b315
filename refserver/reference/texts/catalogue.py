"""Translations: gettext catalogues, compiled by Babel from the `.po` files that translators edit.

English is the source and needs no catalogue. A `.po` file is compiled in memory when its language
is first needed, so nothing has to be built and nothing can be out of date.
"""

from __future__ import annotations

from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib import resources
from io import BytesIO
from typing import Final

__all__ = ["catalogue", "languages", "nearest"]

SOURCE: Final = "en"
_FOLDER: Final = resources.files("refserver") / "locale"


@cache
def languages() -> tuple[str, ...]:
    """Return the languages that there are texts in."""
    return tuple(sorted((SOURCE, *(entry.name for entry in _FOLDER.iterdir() if entry.is_dir()))))


def nearest(tag: str) -> str:
    """Return the language of the texts for a language tag: `de` for `de-AT`; English if there are none."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    return primary if primary in languages() else SOURCE


@cache
def catalogue(language: str) -> NullTranslations:
    """Return the translations into one of `languages`."""
    if language == SOURCE:
        return NullTranslations()
    from babel.messages import mofile, pofile  # 50 ms that a server with English queues does not need

    compiled = BytesIO()
    with (_FOLDER / language / "LC_MESSAGES" / "refserver.po").open("rb") as po:
        mofile.write_mo(compiled, pofile.read_po(po, locale=language, abort_invalid=True))
    compiled.seek(0)
    return GNUTranslations(compiled)
