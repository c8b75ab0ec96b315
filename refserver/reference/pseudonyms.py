"""The name by which staff know a patron, like "lomi-taru".

It comes from a keyed hash of the bare JID. The key belongs to the library and the month, and is
destroyed with the month; the name is deleted with the link to the patron. So the same patron has
unlinkable names in two libraries, and no old name can be matched to an address.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Final

from sqlalchemy import Connection

from refserver.jid import JID
from refserver.storage import questions, secrets

_SYLLABLES: Final = [consonant + vowel for consonant in "bdhklmnrstvz" for vowel in "aeiou"]


def pseudonym(connection: Connection, library: str, patron: JID, now: float) -> str:
    """Return the patron's name in a library; no other patron whom the library still knows has it."""
    key = secrets.pseudonym_key(connection, library, period(now))
    names = (_name(key, patron, attempt) for attempt in count())
    return next(name for name in names if not questions.is_named(connection, library, name, patron))


def period(now: float) -> str:
    """Return the month that a key is for: YYYY-MM, in UTC."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def _name(key: bytes, patron: JID, attempt: int) -> str:
    digest = hmac.digest(key, f"{patron.bare.text} {attempt}".encode(), sha256)
    number = int.from_bytes(digest[:8], "big")
    syllables = []
    for _ in range(4):
        number, syllable = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[syllable])
    return "{}{}-{}{}".format(*syllables)
