"""What is stored in place of a password: SCRAM verifiers (RFC 5802 3, RFC 7677).

A verifier proves that a client knows the password; neither the password nor what a client
sends can be made from it. Deriving one is expensive on purpose (some 5 ms): `make_verifiers`
and `check_password` are for a thread, never for the reactor's.

Also the answer to "does this account exist": `FakeVerifiers`. Where verifiers are stored is
not known here.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from attrs import field, frozen

from refserver.sasl.password import InvalidPassword, prepared

ITERATIONS: Final = 10_000  # RFC 5802 5.1 and RFC 7677 4 ask for 4096 at least
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
    """The verifier of `password` (RFC 5802 3). Raises `InvalidPassword`. Takes milliseconds."""
    algorithm = HASHES[hash_name]
    salted = hashlib.pbkdf2_hmac(algorithm, prepared(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    stored_key = hashlib.new(algorithm, client_key).digest()
    return Verifier(hash_name, salt, iterations, stored_key, hmac.digest(salted, b"Server Key", algorithm))


def make_verifiers(password: str) -> dict[str, Verifier]:
    """New verifiers for every hash, each with its own random salt, keyed by the hash's name.

    Raises `InvalidPassword`. Takes milliseconds.
    """
    return {name: make_verifier(password, name, secrets.token_bytes(SALT_BYTES)) for name in HASHES}


def check_password(verifier: Verifier, password: str) -> bool:
    """Whether `password` is the one that `verifier` was made of. Takes milliseconds."""
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
