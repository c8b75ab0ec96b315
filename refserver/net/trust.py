"""Whom we believe about other servers' certificates, and how OpenSSL is told to look at them.

Owns the store of authorities (the system's, and the operator's `trusted_ca`) and the verification of a chain
(RFC 5280, by OpenSSL). A bad chain does not break the handshake: there may be another way to prove a domain
(XEP-0220), and the peer is to be told what is wrong. So it is written down here, and judged in identity.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import define
from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

_lib = Binding.lib
_ffi = Binding.ffi

INVALID_PURPOSE: Final[int] = _lib.X509_V_ERR_INVALID_PURPOSE
_SERVER_USAGES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)

_WORDS: Final = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "was signed by an authority that is not trusted here",
    20: "was signed by an authority that is not trusted here, or certificates between the two are missing",
    21: "was signed by an authority that is not trusted here, or certificates between the two are missing",
    23: "was revoked",
    79: "was signed by somebody who is no authority",
    INVALID_PURPOSE: "is not one for servers",
}


@define
class Verification:
    """What OpenSSL found of a chain: the first error, 0 for none. `finished`: it came as far as the peer's
    own certificate.
    """

    error: int = 0
    finished: bool = False


class Trust:
    """The authorities that we believe: the system's, and those in the PEM file `trusted_ca`.

    Raises OSError or ValueError, worded for people, if that cannot be read.
    """

    def __init__(self, trusted_ca: Path | None = None) -> None:
        self._more: list[x509.Certificate] = []
        if trusted_ca is not None:
            try:
                self._more = x509.load_pem_x509_certificates(trusted_ca.read_bytes())
            except ValueError:
                raise ValueError("there is no certificate in it that can be read") from None

    def ask(self, context: SSL.Context) -> None:
        """Let connections of `context` ask the peer for a certificate and look at it."""
        context.set_default_verify_paths()
        store = context.get_cert_store()
        assert store is not None
        for certificate in self._more:
            store.add_cert(crypto.X509.from_cryptography(certificate))
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
    """Whether the certificate may be a server's. Between servers either may be the client, but public
    authorities do not certify clients any more.
    """
    try:
        usages = certificate.to_cryptography().extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
    return any(usage in usages.value for usage in _SERVER_USAGES)


def in_words(error: int) -> str:
    """What error number `error` of OpenSSL's says of a certificate, to stand behind "the certificate"."""
    known = _WORDS.get(error)
    if known is not None:
        return known
    text: bytes = _ffi.string(_lib.X509_verify_cert_error_string(error))
    return f"is not valid: {text.decode('ascii', 'replace')}"
