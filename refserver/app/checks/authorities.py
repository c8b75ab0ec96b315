"""Which authorities are known here: the system's, and those of s2s.trusted_ca, as the server knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography import x509
from OpenSSL import SSL, crypto

__all__ = ["Authorities"]

_NOT_SIGNED: Final = frozenset({2, 18, 19, 20, 21})  # X509_V_ERR_…: the issuer was not found


class Authorities:
    """The system's authorities, and those in the PEM file `trusted_ca`, if that can be read."""

    def __init__(self, trusted_ca: Path | None = None) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_default_verify_paths()
        store = context.get_cert_store()
        assert store is not None
        self._context, self._store = context, store  # the store lives as long as its context
        for certificate in _read(trusted_ca):
            store.add_cert(crypto.X509.from_cryptography(certificate))

    def have_signed(self, certificate: x509.Certificate) -> bool:
        """Whether one of them has signed it itself, without others between; however long it is valid."""
        looked_at = crypto.X509.from_cryptography(certificate)
        try:
            crypto.X509StoreContext(self._store, looked_at).verify_certificate()
        except crypto.X509StoreContextError as error:
            return error.errors[0] not in _NOT_SIGNED
        return True


def _read(file: Path | None) -> list[x509.Certificate]:
    try:
        return [] if file is None else x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):  # the server does not start with it, and says so
        return []
