"""What can go wrong in an authentication, as the peer is told it (RFC 6120 6.5)."""

from __future__ import annotations

from enum import Enum


class SaslCondition(Enum):
    """A defined condition of a SASL failure; the value is its element's name (RFC 6120 6.5)."""

    ABORTED = "aborted"
    ACCOUNT_DISABLED = "account-disabled"
    CREDENTIALS_EXPIRED = "credentials-expired"
    ENCRYPTION_REQUIRED = "encryption-required"
    INCORRECT_ENCODING = "incorrect-encoding"
    INVALID_AUTHZID = "invalid-authzid"
    INVALID_MECHANISM = "invalid-mechanism"
    MALFORMED_REQUEST = "malformed-request"
    MECHANISM_TOO_WEAK = "mechanism-too-weak"
    NOT_AUTHORIZED = "not-authorized"
    TEMPORARY_AUTH_FAILURE = "temporary-auth-failure"


class SaslFailure(Exception):
    """The exchange has ended without success; the stream lives on and the peer may begin another.

    `text` is for people. It never says whether an account exists, and repeats nothing the
    peer sent.
    """

    def __init__(self, condition: SaslCondition, text: str = "") -> None:
        super().__init__(condition.value)
        self.condition = condition
        self.text = text
