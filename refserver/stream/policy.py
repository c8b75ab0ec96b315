"""The settings of streams and the result of their TLS handshake: values that the shell hands in."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from refserver.errors import Cause, StreamFault
from refserver.sasl import TLS_EXPORTER, TLS_SERVER_END_POINT
from refserver.xml import Limits


@frozen
class StreamPolicy:
    """The operator's settings for streams of one kind.

    `limits_before` bind until authentication, `limits_after` from then on. `registration` lets
    strangers send jabber:iq:register (XEP-0077). `offer_tls` is false where there is no
    certificate. After `max_auth_attempts` failures, or as many refused resources, the stream
    is closed (RFC 6120 6.4.5, 7.7.2.2).
    """

    limits_before: Limits
    limits_after: Limits
    require_tls: bool = True
    plain_without_tls: bool = False
    scram_sha_1: bool = True
    registration: bool = False
    offer_tls: bool = True
    max_auth_attempts: int = 5


@frozen
class ServerPolicy(StreamPolicy):
    """The operator's settings for streams between servers.

    Without `dialback` only a certificate proves a domain, the peer's and ours alike. `bidi` offers and
    accepts XEP-0288, `management` XEP-0198. `max_pairs` bounds the domain pairs of one stream, and
    `max_auth_attempts` the keys that were not right.
    """

    dialback: bool = False
    bidi: bool = True
    management: bool = True
    max_pairs: int = 64


@frozen
class ShownCertificate:
    """The words of a peer's certificate, for people, be it valid or not.

    `expires` in seconds since the epoch.
    """

    names: tuple[str, ...]
    issuer: str
    expires: float


@frozen
class TLSInfo:
    """The TLS session under a stream: "TLSv1.3", and its channel-binding data where it can be had.

    `exporter` is that of RFC 9266 (None if this session must not use it: TLS 1.2 without the
    extended master secret), `server_end_point` the certificate's hash (RFC 5929 4).
    `proves` says whether the peer's certificate proves that it is a (prepared) domain, `why_not` why
    it does not; both only matter between servers, as does `certificate`, the peer's.
    """

    version: str
    exporter: bytes | None = None
    server_end_point: bytes | None = None
    proves: Callable[[str], bool] = lambda domain: False
    why_not: Callable[[str], StreamFault] = lambda domain: StreamFault(Cause.NO_CERTIFICATE)
    certificate: ShownCertificate | None = None

    @property
    def bindings(self) -> dict[str, bytes]:
        """Channel-binding data by type."""
        found = {TLS_EXPORTER: self.exporter, TLS_SERVER_END_POINT: self.server_end_point}
        return {kind: data for kind, data in found.items() if data is not None}
