"""The base class of SASL mechanisms, the server's side: messages in, steps out (RFC 4422).

A mechanism takes the peer's messages, already out of Base64, and answers each with a step:
a challenge, success, or a question to whoever holds the accounts. Failure is the exception
`SaslFailure`. It knows no XML, no clock and no store, so that SASL over RFC 6120 and over
XEP-0388 can share it.

A mechanism that asks no questions (EXTERNAL, ANONYMOUS) only defines `respond`.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeAlias

from attrs import field, frozen

from refserver.jid import JID, InvalidJID
from refserver.sasl.verifier import FakeVerifiers, Verifier


class SaslCondition(Enum):
    """A defined condition of a SASL failure; the value is its element's name (RFC 6120 6.5)."""

    ABORTED = "aborted"
    ACCOUNT_DISABLED = "account-disabled"
    ENCRYPTION_REQUIRED = "encryption-required"
    INCORRECT_ENCODING = "incorrect-encoding"
    INVALID_AUTHZID = "invalid-authzid"
    INVALID_MECHANISM = "invalid-mechanism"
    MALFORMED_REQUEST = "malformed-request"
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


@frozen
class Challenge:
    """The peer must answer `data`, which may be empty."""

    data: bytes


@frozen
class Success:
    """The peer is `account`; `data` goes along with the success (RFC 4422 3.6)."""

    account: JID
    data: bytes = b""


@frozen
class NeedCredentials:
    """Look up `account` and call `Mechanism.credentials`."""

    account: JID


@frozen
class NeedPasswordCheck:
    """Compute `check_password(verifier, password)`, away from the reactor's thread if there
    is one, and call `Mechanism.password_checked`. To be computed for unknown accounts too.
    """

    account: JID
    verifier: Verifier
    password: str = field(repr=False)


Step: TypeAlias = Challenge | Success | NeedCredentials | NeedPasswordCheck


@frozen
class Credentials:
    """The verifiers of an account by hash name. A disabled one is told so only
    after it has proved to know the password.
    """

    verifiers: Mapping[str, Verifier]
    disabled: bool = False


def new_nonce() -> str:
    """Fresh printable characters without a comma (RFC 5802 7)."""
    return secrets.token_urlsafe(18)


@frozen
class Surroundings:
    """The properties of a stream that mechanisms need.

    `domain` is where the accounts are; `bindings` the channel-binding data by type, of which
    there is none without TLS; `offered` the mechanisms that were announced to this peer; `proved` whom
    the peer has shown to be by other means (EXTERNAL), None if nobody.
    """

    domain: str
    fake: FakeVerifiers
    bindings: Mapping[str, bytes]
    offered: tuple[str, ...]
    nonce: Callable[[], str] = new_nonce
    proved: JID | None = None


class Mechanism(ABC):
    """One exchange. Every method may raise `SaslFailure`, after which it is over."""

    @abstractmethod
    def respond(self, data: bytes | None) -> Step:
        """Take the peer's message; None if it began without an initial response (RFC 4422 3.3)."""

    def credentials(self, found: Credentials | None) -> Step:
        """Answer `NeedCredentials`; None for an unknown account."""
        raise RuntimeError("this mechanism did not ask for credentials")

    def password_checked(self, right: bool) -> Step:
        """Answer `NeedPasswordCheck`."""
        raise RuntimeError("this mechanism did not ask for a password to be checked")


class AccountMechanism(Mechanism):
    """Base class of mechanisms with a username and stored verifiers."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._account: JID | None = None
        self._found: Credentials | None = None

    @property
    def account(self) -> JID:
        """The account that the peer claims to be. Only after `_claim`."""
        if self._account is None:
            raise RuntimeError("no username was taken yet")
        return self._account

    def _claim(self, username: str, authzid: str) -> NeedCredentials:
        """The peer says who it is (`authzid` "" if it did not give one).

        An authorization identity must be the account's own bare address (RFC 6120 6.3.8):
        nobody acts for another here. A username that no account can have fails at once,
        and reveals nothing: everyone can tell that it is none.
        """
        try:
            self._account = JID.of(username, self._surroundings.domain)
        except InvalidJID as error:
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED) from error
        if authzid and _parsed(authzid) != self._account:
            raise SaslFailure(SaslCondition.INVALID_AUTHZID)
        return NeedCredentials(self._account)

    def _verifier(self, hash_name: str) -> Verifier | None:
        return self._found.verifiers.get(hash_name) if self._found else None

    def _finish(self, proved: bool, data: bytes = b"") -> Success:
        """Succeed if the proof was right, the account exists and is not disabled."""
        if not proved or self._found is None:
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED)
        if self._found.disabled:
            raise SaslFailure(SaslCondition.ACCOUNT_DISABLED)
        return Success(self.account, data)


def _parsed(authzid: str) -> JID | None:
    try:
        return JID.parse(authzid)
    except InvalidJID:
        return None


# -- Base64 (RFC 6120 6.4.2, RFC 4648 3.3 and 3.5) ---------------------------------


def decode(text: str) -> bytes:
    """The bytes that `text` stands for; "=" is a message of no bytes (RFC 6120 6.4.2).

    Raises `SaslFailure` incorrect-encoding for all that our own encoder would not have
    written: whitespace, foreign characters, missing or superfluous padding, stray bits.
    """
    if text == "=":
        return b""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise SaslFailure(SaslCondition.INCORRECT_ENCODING) from error
    if encode(data) != text:
        raise SaslFailure(SaslCondition.INCORRECT_ENCODING)
    return data


def encode(data: bytes) -> str:
    """`data` in Base64, without line breaks."""
    return base64.b64encode(data).decode("ascii")
