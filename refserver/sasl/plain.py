"""PLAIN (RFC 4616): the password itself, for streams under TLS.

The server keeps no password to compare with, so the verifier is derived anew: this is the
one mechanism whose check is expensive, and it is asked for as `NeedPasswordCheck`.
"""

from __future__ import annotations

from refserver.sasl.failure import SaslCondition, SaslFailure
from refserver.sasl.mechanism import (
    AccountMechanism,
    Challenge,
    Credentials,
    NeedPasswordCheck,
    Step,
    Success,
    Surroundings,
)

_HASHES = ("SHA-256", "SHA-1")  # the first that the account has


class Plain(AccountMechanism):
    """The server's side of one PLAIN exchange."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._password = ""

    def respond(self, data: bytes | None) -> Step:
        """Take `[authzid] NUL authcid NUL passwd` (RFC 4616 2)."""
        if data is None:
            return Challenge(b"")
        try:
            authzid, authcid, self._password = data.decode("utf-8").split("\0")
        except ValueError as error:  # not UTF-8, or not three parts
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST) from error
        if not authcid or not self._password:
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
        return self._claim(authcid, authzid)

    def credentials(self, found: Credentials | None) -> Step:
        """Ask for the derivation, from a fake verifier if there is no such account."""
        self._found = found
        fake = self._surroundings.fake.of(self.account.text, _HASHES[0])
        stored = next(filter(None, map(self._verifier, _HASHES)), fake)
        password, self._password = self._password, ""
        return NeedPasswordCheck(self.account, stored, password)

    def password_checked(self, right: bool) -> Success:
        """Succeed if the account exists and its password was right."""
        return self._finish(right)
