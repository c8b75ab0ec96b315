"""What staff see of a patron: a name like "Guest JDBB", from a keyed hash of the address.

The key belongs to one library, so the same patron has unlinkable names in two libraries;
without the key no name leads back to an address.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from refserver.jid import JID

__all__ = ["KEY_BYTES", "pseudonym"]

KEY_BYTES: Final = 32
LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words, no rude ones either
LENGTH: Final = 4


def pseudonym(key: bytes, patron: JID) -> str:
    """The letters that stand for `patron`'s bare JID in the library that owns `key`."""
    number = int.from_bytes(hmac.digest(key, patron.bare.text.encode(), sha256)[:8], "big")
    letters = []
    for _ in range(LENGTH):
        number, letter = divmod(number, len(LETTERS))
        letters.append(LETTERS[letter])
    return "".join(letters)
