"""The TLS of server streams: which certificate is shown, and what the peer's proves.

Implements `reaching.Contexts` with our domains' certificates (net/certificates.py); whom we trust is theirs
to know, and how names in certificates are read is net/identity.py's.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from OpenSSL import SSL

from refserver.net.certificates import XMPP_SERVER, Certificates
from refserver.net.identity import PeerIdentity
from refserver.net.tls import TLSState
from refserver.stream.policy import ShownCertificate, TLSInfo

__all__ = ["CertificateContexts"]


@frozen
class CertificateContexts:
    """Contexts made of the certificates that `certificates()` returns now."""

    certificates: Callable[[], Certificates]

    def outgoing(self, domain: str, *, direct: bool) -> SSL.Context:
        """See `reaching.Contexts`."""
        return self.certificates().client_context(domain, direct=direct)

    def incoming(self, domain: str) -> SSL.Context:
        """See `reaching.Contexts`."""
        return self.certificates().context_for(domain, XMPP_SERVER)

    def info(self, tls: TLSState) -> TLSInfo:
        """See `reaching.Contexts`."""
        identity = PeerIdentity.of(tls)
        shown = None
        if identity.expires is not None:
            shown = ShownCertificate(identity.names, identity.issuer, identity.expires.timestamp())
        return TLSInfo(tls.version, proves=identity.proves, why_not=identity.why_not, certificate=shown)

    def __bool__(self) -> bool:
        """See `reaching.Contexts`."""
        return any(True for _ in self.certificates())
