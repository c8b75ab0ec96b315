"""SCRAM (RFC 5802, RFC 7677), the server's side, with channel binding (-PLUS, RFC 9266, RFC 5929).

The exchange, C the client:

    C: gs2-header n=user,r=cnonce            gs2-header: n,, | y,, | p=type,, with a=authzid
    S: r=cnonce+snonce,s=salt,i=iterations
    C: c=base64(gs2-header + binding data),r=…,p=proof
    S: v=server signature

An account that is not there gets a fake verifier and takes the same steps to the same
failure. The username is prepared as a localpart (RFC 7622), which is what it becomes, in
place of SASLprep (RFC 5802 5.1); the proof is computed over what the client sent.

Verifiers are made in `verifier.py`; which mechanisms are offered is decided in `offer.py`.
"""

from __future__ import annotations

import hmac
import re
from enum import Enum, auto
from typing import Final

from refserver.sasl.mechanism import (
    AccountMechanism,
    Challenge,
    Credentials,
    SaslCondition,
    SaslFailure,
    Step,
    Success,
    Surroundings,
    decode,
    encode,
)
from refserver.sasl.verifier import Verifier

# RFC 5802 7. An attribute m= "MUST cause authentication failure" (5.1), so nothing matches it.
_CLIENT_FIRST: Final = re.compile(
    r"(?P<gs2>(?:(?P<flag>[ny])|p=(?P<type>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,\0]+))?,)"
    r"(?P<bare>n=(?P<username>[^,\0]+),r=(?P<nonce>[!-+\--~]+)(?:,[a-ln-zA-Z]=[^,\0]+)*)"
).fullmatch
_CLIENT_FINAL: Final = re.compile(
    r"(?P<signed>c=(?P<binding>[^,\0]+),r=(?P<nonce>[!-+\--~]+)(?:,[a-lnoq-zA-Z]=[^,\0]+)*)"
    r",p=(?P<proof>[^,\0]+)"
).fullmatch
_BAD_ESCAPE: Final = re.compile(r"=(?!2C|3D)").search


class _Awaited(Enum):
    FIRST = auto()
    CREDENTIALS = auto()
    FINAL = auto()
    NOTHING = auto()


class ScramServer(AccountMechanism):
    """The server's side of one SCRAM exchange with `hash_name`; `plus` for the -PLUS variant."""

    def __init__(self, surroundings: Surroundings, hash_name: str, plus: bool) -> None:
        super().__init__(surroundings)
        self._hash_name = hash_name
        self._plus = plus
        self._awaited = _Awaited.FIRST
        self._client_first_bare = ""
        self._server_first = ""
        self._nonce = ""
        self._binding = b""  # gs2-header and channel-binding data, as c= must repeat them
        self._known: Verifier | None = None

    def respond(self, data: bytes | None) -> Step:
        """Take client-first or client-final."""
        if self._awaited is _Awaited.FIRST:
            return Challenge(b"") if data is None else self._first(_text(data))
        if self._awaited is not _Awaited.FINAL:
            raise RuntimeError("SCRAM awaits no message now")
        self._awaited = _Awaited.NOTHING
        return self._final(_text(data or b""))

    def _first(self, message: str) -> Step:
        match = _CLIENT_FIRST(message)
        if match is None:
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
        self._binding = match["gs2"].encode("utf-8") + self._binding_data(match["flag"], match["type"])
        self._client_first_bare = match["bare"]
        self._nonce = match["nonce"] + self._surroundings.nonce()
        self._awaited = _Awaited.CREDENTIALS
        return self._claim(_saslname(match["username"]), _saslname(match["authzid"] or ""))

    def _binding_data(self, flag: str | None, type_: str | None) -> bytes:
        """Return the channel-binding data that the client must use (RFC 5802 6). Refuses downgrades."""
        if (flag is None) != self._plus:  # p= is for -PLUS, n and y for the others
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
        if flag == "y" and any(name.endswith("-PLUS") for name in self._surroundings.offered):
            # "y": the client would bind, but believes that we cannot. Somebody took -PLUS off
            # the list that we sent, so the exchange MUST fail (RFC 5802 6).
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED, "server-does-support-channel-binding")
        if type_ is None:
            return b""
        data = self._surroundings.bindings.get(type_)
        if data is None:
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED, "unsupported-channel-binding-type")
        return data

    def credentials(self, found: Credentials | None) -> Step:
        """Send salt and iterations, made-up ones if there is no such account."""
        if self._awaited is not _Awaited.CREDENTIALS:
            raise RuntimeError("SCRAM did not ask for credentials now")
        self._awaited = _Awaited.FINAL
        self._found = found
        fake = self._surroundings.fake.of(self.account.text, self._hash_name)
        stored = self._verifier(self._hash_name)
        if stored is None:
            self._found = None
        self._known = stored or fake
        salt = encode(self._known.salt)
        self._server_first = f"r={self._nonce},s={salt},i={self._known.iterations}"
        return Challenge(self._server_first.encode("ascii"))

    def _final(self, message: str) -> Success:
        match = _CLIENT_FINAL(message)
        if match is None:
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
        bound = hmac.compare_digest(_octets(match["binding"]), self._binding)
        fresh = hmac.compare_digest(match["nonce"], self._nonce)
        signed = f"{self._client_first_bare},{self._server_first},{match['signed']}".encode()
        proved, signature = self._proof(_octets(match["proof"]), signed)
        return self._finish(bound and fresh and proved, b"v=" + encode(signature).encode("ascii"))

    def _proof(self, proof: bytes, message: bytes) -> tuple[bool, bytes]:
        """True if `proof` is right, and the server's signature; the same work in any case (RFC 5802 3)."""
        verifier = self._known
        if verifier is None:
            raise RuntimeError("SCRAM has no verifier yet")
        signature = verifier.signature(verifier.stored_key, message)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=False))
        proved = hmac.compare_digest(verifier.digest(client_key), verifier.stored_key)
        return proved and len(proof) == len(signature), verifier.signature(verifier.server_key, message)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SaslFailure(SaslCondition.MALFORMED_REQUEST) from error


def _octets(text: str) -> bytes:
    """Base64 inside a message: what is wrong with it is wrong with the message."""
    try:
        return decode(text)
    except SaslFailure as error:
        raise SaslFailure(SaslCondition.MALFORMED_REQUEST) from error


def _saslname(text: str) -> str:
    """`=2C` and `=3D` stand for comma and equals sign; any other `=` is refused (RFC 5802 5.1)."""
    if _BAD_ESCAPE(text):
        raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
    return text.replace("=2C", ",").replace("=3D", "=")
