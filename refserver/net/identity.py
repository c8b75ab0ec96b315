"""The matching of a domain to a verified certificate (RFC 6120 13.7, RFC 9525).

The library service-identity compares. A domain is proved by a DNS-ID, with a wildcard for exactly the
left-most label, or by an SRV-ID `_xmpp-server`. A common name is no identity, and XmppAddr (RFC 6120
13.7.1.4) is for clients. trust.py verifies the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat import asn1
from service_identity.exceptions import CertificateError
from service_identity.hazmat import DNS_ID, SRV_ID, CertificatePattern, DNSPattern, SRVPattern

from refserver.errors import Cause, StreamFault

from .certificates import ascii_name
from .tls import TLSState
from .trust import Verification, fault_of

_SRV_NAME: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # RFC 4985 2
_SERVICE: Final = "_xmpp-server."
_UNREADABLE: Final = (
    ValueError,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_NAMES_SHOWN: Final = 8
_MOST_OF_A_LIAR: Final = 100  # names that are read of a certificate that proves nothing


@frozen(eq=False)
class PeerIdentity:
    """The identity of the other end of a TLS connection.

    `verified`: the chain leads to an authority that we trust, and is valid now; `error`: why it is not.
    `names`: the DNS names and services certified (SRV-IDs with their service), verified or not; `subject` and
    `issuer` for people, as RFC 4514 writes them; `expires` in UTC. All that comes from the certificate is the
    peer's choice of words.
    """

    verified: bool
    error: StreamFault | None
    names: tuple[str, ...] = ()
    subject: str = ""
    issuer: str = ""
    expires: datetime | None = None
    _patterns: tuple[CertificatePattern, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, tls: TLSState) -> PeerIdentity:
        """The identity of the peer. Verification must have been asked for (`Trust.ask`)."""
        try:
            certificate = tls.peer_certificate
        except ValueError:
            return cls(False, StreamFault(Cause.UNREADABLE_CERTIFICATE))
        return (
            cls(False, StreamFault(Cause.NO_CERTIFICATE))
            if certificate is None
            else cls.shown(certificate, tls.verification)
        )

    @classmethod
    def shown(cls, certificate: x509.Certificate, found: Verification | None) -> PeerIdentity:
        """The identity in `certificate`, of which OpenSSL has `found` what it says."""
        if found is None or not found.finished:
            error: StreamFault | None = StreamFault(Cause.UNVERIFIED_CERTIFICATE)
        else:
            error = fault_of(found.error) if found.error else None
        # Anybody can make a certificate with thousands of names; reading them costs 50 µs each.
        most = _MOST_OF_A_LIAR if found is not None and error else None
        patterns = tuple(_patterns(certificate, most))
        try:
            subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
            expires = certificate.not_valid_after_utc
        except ValueError:
            return cls(False, StreamFault(Cause.UNREADABLE_CERTIFICATE))
        return cls(not error, error, tuple(map(_name, patterns)), subject, issuer, expires, patterns)

    def proves(self, domain: str) -> bool:
        """True if the peer has proved to be the (prepared) XMPP domain."""
        return self.verified and self.names_domain(domain)

    def why_not(self, domain: str) -> StreamFault:
        """Return why the peer has not proved to be `domain`, which it has not."""
        if self.error is not None:
            return self.error
        names = ", ".join(self.names[:_NAMES_SHOWN])
        return StreamFault(Cause.WRONG_NAME, f"it is for {names}" if names else "it names no server")

    def names_domain(self, domain: str) -> bool:
        """True if the certificate names the domain, be it valid or not."""
        name = ascii_name(domain)
        try:
            wanted = DNS_ID(name), SRV_ID(_SERVICE + name)
        except ValueError:  # an address literal, or nothing that DNS can hold
            return False
        return any(each.verify(pattern) for each in wanted for pattern in self._patterns)


def _patterns(certificate: x509.Certificate, most: int | None = None) -> Iterator[CertificatePattern]:
    """The usable ones of the first `most` names; one that is not usable (`*.localhost`) is skipped."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _UNREADABLE:
        return
    for name in islice(names, most):
        try:
            if isinstance(name, x509.DNSName):
                yield DNSPattern.from_bytes(name.value.encode())
            elif isinstance(name, x509.OtherName) and name.type_id == _SRV_NAME:
                yield SRVPattern.from_bytes(_ia5(name.value))
        except (CertificateError, ValueError, IndexError):
            continue


def _ia5(der: bytes) -> bytes:
    return asn1.decode_der(asn1.IA5String, der).as_str().encode("ascii")


def _name(pattern: CertificatePattern) -> str:
    if isinstance(pattern, SRVPattern):
        return f"_{pattern.name_pattern.decode()}.{pattern.dns_pattern.pattern.decode()}"
    return str(pattern.pattern.decode()) if isinstance(pattern, DNSPattern) else ""
