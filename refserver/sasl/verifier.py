"""SCRAM verifiers, which are stored in place of passwords (RFC 5802 3, RFC 7677).

A verifier proves that a client knows the password; neither the password nor what a client
sends can be made from it. Deriving one is expensive on purpose (some 100 ms): `make_verifiers`
and `check_password` are for a thread, never for the reactor's.

Also the answer to "does this account exist": `FakeVerifiers`. Where verifiers are stored is
not known here.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stringprep
from collections.abc import Mapping
from typing import Final
from unicodedata import ucd_3_2_0

from attrs import field, frozen

ITERATIONS: Final = 100_000  # docs/decisions/0015-scram-iterations.md
LEAST_ITERATIONS: Final = 4096  # RFC 7677 4
SALT_BYTES: Final = 16
HASHES: Final = {"SHA-1": "sha1", "SHA-256": "sha256"}  # SCRAM's name: hashlib's


@frozen
class Verifier:
    """One account's verifier for one hash ("SHA-1" or "SHA-256"). Its keys are not shown in logs."""

    hash_name: str
    salt: bytes = field(repr=False)
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def digest(self, data: bytes) -> bytes:
        """H(data) (RFC 5802 2.2)."""
        return hashlib.new(HASHES[self.hash_name], data).digest()

    def signature(self, key: bytes, message: bytes) -> bytes:
        """HMAC(key, message)."""
        return hmac.digest(key, message, HASHES[self.hash_name])


def make_verifier(password: str, hash_name: str, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
    """The verifier of `password` (RFC 5802 3). Raises `InvalidPassword`. Takes 100 ms."""
    algorithm = HASHES[hash_name]
    salted = hashlib.pbkdf2_hmac(algorithm, prepared(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    stored_key = hashlib.new(algorithm, client_key).digest()
    return Verifier(hash_name, salt, iterations, stored_key, hmac.digest(salted, b"Server Key", algorithm))


@frozen
class Hashing:
    """The settings for new verifiers: the iterations of PBKDF2, and whether there is one for SHA-1."""

    iterations: int = ITERATIONS
    sha_1: bool = True

    @property
    def hashes(self) -> frozenset[str]:
        """The SCRAM names of the hashes that an account has verifiers for."""
        return frozenset(HASHES) if self.sha_1 else frozenset(HASHES) - {"SHA-1"}

    def made(self, verifiers: Mapping[str, Verifier]) -> bool:
        """True if `verifiers` are such as would be made now."""
        rounds = {verifier.iterations for verifier in verifiers.values()}
        return verifiers.keys() == self.hashes and rounds == {self.iterations}


def make_verifiers(password: str, hashing: Hashing | None = None) -> dict[str, Verifier]:
    """New verifiers for every hash, each with its own random salt, keyed by the hash's name.

    Raises `InvalidPassword`. Takes 100 ms.
    """
    hashing = hashing or Hashing()
    return {
        name: make_verifier(password, name, secrets.token_bytes(SALT_BYTES), hashing.iterations)
        for name in hashing.hashes
    }


def check_password(verifier: Verifier, password: str) -> bool:
    """True if `password` is the one that `verifier` was made of. Takes 100 ms."""
    try:
        made = make_verifier(password, verifier.hash_name, verifier.salt, verifier.iterations)
    except InvalidPassword:
        return False
    return hmac.compare_digest(made.stored_key, verifier.stored_key)


@frozen
class FakeVerifiers:
    """Verifiers for accounts that do not exist, as stable and as costly as real ones.

    A stranger who asks twice must see the same salt twice, or he would learn that the
    account is not there; so the salt is made of `key` (kept with the server's data, at
    least 32 random bytes) and the account's address. Nothing fits such a verifier.
    """

    key: bytes = field(repr=False)
    iterations: int = ITERATIONS

    def of(self, account: str, hash_name: str) -> Verifier:
        """The fake verifier of `account`: a bare address, its domain included."""
        salt, stored, server = (
            hmac.digest(self.key, f"{purpose}\0{hash_name}\0{account}".encode(), HASHES[hash_name])
            for purpose in ("salt", "stored", "server")
        )
        return Verifier(hash_name, salt[:SALT_BYTES], self.iterations, stored, server)


# -- SASLprep (RFC 4013) -----------------------------------------------------------
#
# RFC 5802 2.2 and RFC 7677 have both sides of SCRAM prepare the password with SASLprep, and client libraries
# do. Its successor, OpaqueString (RFC 8265), composes differently (NFC in place of NFKC), so a verifier made
# with it would refuse those clients. One deviation: code points that Unicode 3.2 did not know, emoji among
# them, are let through unchanged, in stored passwords too, as clients send them. RFC 4013 2.5 forbids them in
# stored strings only because a later Unicode might normalise them differently.

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
