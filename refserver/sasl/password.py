"""Preparing a password before it is hashed: SASLprep (RFC 4013).

RFC 5802 2.2 and RFC 7677 have both sides of SCRAM prepare the password with SASLprep, and
client libraries do. Its successor, OpaqueString (RFC 8265), composes differently (NFC in
place of NFKC: "ª" stays, "Ⅸ" stays), so a verifier made with it would refuse those clients.

One deviation: code points which Unicode 3.2 did not know yet, emoji among them, are let
through unchanged, in stored passwords too. RFC 4013 2.5 forbids them in stored strings only
because a later Unicode might normalise them differently; clients send them as they are.
"""

from __future__ import annotations

import stringprep
from typing import Final
from unicodedata import ucd_3_2_0

_PROHIBITED: Final = (  # RFC 4013 2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class InvalidPassword(ValueError):
    """The password is empty, or holds what SASLprep prohibits. Carries no part of it."""


def prepared(password: str) -> bytes:
    """The octets of `password` that are hashed. Raises `InvalidPassword`."""
    text = ucd_3_2_0.normalize("NFKC", _mapped(password))
    if not text:
        raise InvalidPassword("the password is empty")
    if any(prohibits(character) for character in text for prohibits in _PROHIBITED):
        raise InvalidPassword("the password holds a prohibited character")
    _check_direction(text)
    return text.encode("utf-8")


def _mapped(text: str) -> str:
    """RFC 4013 2.1: every kind of space becomes U+0020, what is commonly ignored goes."""
    return "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )


def _check_direction(text: str) -> None:
    """RFC 3454 6: a right-to-left text has no left-to-right letters, and both its ends are right-to-left."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not ends or any(map(stringprep.in_table_d2, text)):
        raise InvalidPassword("the password mixes writing directions")
