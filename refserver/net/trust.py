"""The authorities that may sign other servers' certificates, and the verification of a chain (RFC 5280).

OpenSSL verifies. A bad chain does not break the handshake: there may be another way to prove a domain
(XEP-0220), and the peer is told what is wrong. So the error is recorded here, and judged in identity.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import define
from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from refserver.errors import Cause, StreamFault

_lib = Binding.lib
_ffi = Binding.ffi

INVALID_PURPOSE: Final[int] = _lib.X509_V_ERR_INVALID_PURPOSE
_SERVER_USAGES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)

_CAUSES: Final = {
    9: Cause.CERTIFICATE_NOT_YET_VALID,
    10: Cause.CERTIFICATE_EXPIRED,
    18: Cause.SELF_SIGNED,
    19: Cause.UNKNOWN_AUTHORITY,
    20: Cause.INCOMPLETE_CHAIN,
    21: Cause.INCOMPLETE_CHAIN,
}
_DETAILS: Final = {
    23: "it was revoked",
    79: "it was signed by somebody who is no authority",
    INVALID_PURPOSE: "it is not one for servers",
}


@define
class Verification:
    """The result of OpenSSL's verification: the number of the first error, 0 for none.

    `finished` is True once the peer's own certificate was verified.
    """

    error: int = 0
    finished: bool = False


class Trust:
    """The trusted authorities: the system's, and those in the PEM file `trusted_ca`.

    They are read once, into one store that all contexts share: reading the system's takes 6 ms and 0.9 MB.
    Raises OSError or ValueError, worded for people, if `trusted_ca` cannot be read.
    """

    def __init__(self, trusted_ca: Path | None = None) -> None:
        more: list[x509.Certificate] = []
        if trusted_ca is not None:
            try:
                more = x509.load_pem_x509_certificates(trusted_ca.read_bytes())
            except ValueError:
                raise ValueError("there is no certificate in it that can be read") from None
        self._owner = SSL.Context(SSL.TLS_CLIENT_METHOD)  # only its store is used
        self._owner.set_default_verify_paths()
        store = self._owner.get_cert_store()
        assert store is not None
        for certificate in more:
            store.add_cert(crypto.X509.from_cryptography(certificate))

    def verify_peers(self, context: SSL.Context) -> None:
        """Have the connections of `context` ask the peer for a certificate and verify it."""
        # pyOpenSSL has no method for it. The context takes over the reference that it is given.
        store = _lib.SSL_CTX_get_cert_store(self._owner._context)
        _lib.X509_STORE_up_ref(store)
        _lib.SSL_CTX_set_cert_store(context._context, store)
        context.set_verify(SSL.VERIFY_PEER, _record)


def _record(ssl: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    """OpenSSL's call for every certificate of a chain, and for every error. The answer lets it go on."""
    found = ssl.get_app_data()
    if found is None:
        found = Verification()
        ssl.set_app_data(found)
    if not ok and not (error == INVALID_PURPOSE and _is_for_servers(certificate)):
        found.error = found.error or error
    found.finished = found.finished or depth == 0
    return True


def _is_for_servers(certificate: crypto.X509) -> bool:
    """True if the certificate may be a server's. Between servers either may be the client, but public
    authorities do not certify clients any more.
    """
    try:
        usages = certificate.to_cryptography().extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
    return any(usage in usages.value for usage in _SERVER_USAGES)


def fault_of(error: int) -> StreamFault:
    """The meaning of OpenSSL's error number `error`."""
    known = _CAUSES.get(error)
    if known is not None:
        return StreamFault(known)
    detail = _DETAILS.get(error)
    if detail is None:
        text: bytes = _ffi.string(_lib.X509_verify_cert_error_string(error))
        detail = text.decode("ascii", "replace")
    return StreamFault(Cause.INVALID_CERTIFICATE, detail)
