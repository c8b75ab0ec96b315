"""EXTERNAL (RFC 4422 A): the peer has already shown who it is, by its certificate.

Whom the certificate proves is decided before, by the stream; here only whom the peer wants to act as.
"""

from __future__ import annotations

from refserver.jid import JID, InvalidJID
from refserver.sasl.failure import SaslCondition, SaslFailure
from refserver.sasl.mechanism import Challenge, Mechanism, Step, Success, Surroundings


class External(Mechanism):
    """The server's side of one EXTERNAL exchange."""

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
