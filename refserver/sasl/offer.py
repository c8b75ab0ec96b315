"""PLAIN, EXTERNAL, and the list of all mechanisms: in order of preference, and which a stream may use.

A mechanism is added by one line in `_MECHANISMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from attrs import frozen

from refserver.jid import JID, InvalidJID
from refserver.sasl.mechanism import (
    AccountMechanism,
    Challenge,
    Credentials,
    Mechanism,
    NeedPasswordCheck,
    SaslCondition,
    SaslFailure,
    Step,
    Success,
    Surroundings,
)
from refserver.sasl.scram import ScramServer

# XEP-0440: the order is that of preference; both types are always offered under TLS when there is data.
TLS_EXPORTER: Final = "tls-exporter"  # RFC 9266
TLS_SERVER_END_POINT: Final = "tls-server-end-point"  # RFC 5929 4

EXTERNAL: Final = "EXTERNAL"


_HASHES = ("SHA-256", "SHA-1")  # the first that the account has


class Plain(AccountMechanism):
    """PLAIN (RFC 4616): the password itself, for streams under TLS.

    The server keeps no password to compare with, so the verifier is derived anew: this is the one mechanism
    whose check is expensive, and it is asked for as `NeedPasswordCheck`.
    """

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


class External(Mechanism):
    """EXTERNAL (RFC 4422 A): the peer has already shown who it is, by its certificate.

    The stream decides whom the certificate proves; here only whom the peer wants to act as.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._proved = surroundings.proved

    def respond(self, data: bytes | None) -> Step:
        """Take the authorization identity: none, or the very one that is proved (RFC 6120 6.3.8)."""
        if data is None:
            return Challenge(b"")
        if self._proved is None:
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED)
        if data and _parsed(data) != self._proved:
            raise SaslFailure(SaslCondition.INVALID_AUTHZID)
        return Success(self._proved)


def _parsed(authzid: bytes) -> JID:
    try:
        return JID.parse(authzid.decode("utf-8"))
    except InvalidJID as error:
        raise SaslFailure(SaslCondition.INVALID_AUTHZID) from error
    except UnicodeDecodeError as error:
        raise SaslFailure(SaslCondition.MALFORMED_REQUEST) from error


@frozen
class _Entry:
    make: Callable[[Surroundings], Mechanism]
    binds: bool = False  # needs channel-binding data
    reveals: bool = False  # sends the password: needs TLS
    outside: bool = False  # only where the stream knows of a proof outside SASL


_MECHANISMS: Final = {
    "SCRAM-SHA-256-PLUS": _Entry(partial(ScramServer, hash_name="SHA-256", plus=True), binds=True),
    "SCRAM-SHA-1-PLUS": _Entry(partial(ScramServer, hash_name="SHA-1", plus=True), binds=True),
    "SCRAM-SHA-256": _Entry(partial(ScramServer, hash_name="SHA-256", plus=False)),
    "SCRAM-SHA-1": _Entry(partial(ScramServer, hash_name="SHA-1", plus=False)),
    "PLAIN": _Entry(Plain, reveals=True),
    EXTERNAL: _Entry(External, outside=True),
}


def offered(
    tls: bool, bindings: Collection[str], plain_without_tls: bool = False, sha_1: bool = True
) -> tuple[str, ...]:
    """The mechanisms with passwords for a stream, best first, given the channel-binding types it has
    data for.
    """
    return tuple(
        name
        for name, entry in _MECHANISMS.items()
        if (bindings or not entry.binds)
        and (tls or plain_without_tls or not entry.reveals)
        and not entry.outside
        and (sha_1 or "SHA-1" not in name)
    )


def begin(name: str, surroundings: Surroundings) -> Mechanism:
    """A new exchange. Raises `SaslFailure`: invalid-mechanism, or encryption-required for one
    that this stream could use under TLS (RFC 6120 6.5.4).
    """
    entry = _MECHANISMS.get(name)
    if entry is not None and name in surroundings.offered:
        return entry.make(surroundings)
    if entry is not None and entry.reveals:
        raise SaslFailure(SaslCondition.ENCRYPTION_REQUIRED)
    raise SaslFailure(SaslCondition.INVALID_MECHANISM)
