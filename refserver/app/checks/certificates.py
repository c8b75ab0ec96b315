"""Checks of certificates: each library and its rooms have one that others will accept.

Specifications: RFC 6120 13.7 (certificates), RFC 9525 6 (names), RFC 5280 6 (chains).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from OpenSSL import SSL, crypto

from refserver.app.checks import READ, Finding, ServerUser
from refserver.net.certificates import Certificate, ascii_name, explain, load
from refserver.net.identity import PeerIdentity

ENDS_SOON: Final = timedelta(days=30)

_good = partial(Finding.good, "certificate")
_note = partial(Finding.note, "certificate")
_wrong = partial(Finding.wrong, "certificate")
_RELOAD = "then SIGHUP the server (systemctl reload)"


def check_certificates(
    folder: Path,
    domains: Iterable[str],
    user: ServerUser,
    trusted_ca: Path | None = None,
    *,
    now: datetime | None = None,
) -> Iterator[Finding]:
    """Findings on the files in `folder`, and on the certificate that each of the libraries' `domains` shows.

    `trusted_ca` is a file of authorities that are known besides the system's.
    """
    if not folder.is_dir():
        yield _wrong(
            f"there is no folder {folder}",
            "make it, with a file <domain>.pem in it (key and chain) for each library",
        )
        return
    known: dict[str, Certificate] = {}
    for file in sorted(folder.glob("*.pem")):
        try:
            certificate = load(file)
        except (OSError, ValueError, SSL.Error) as error:
            yield _wrong(f"{file}: {explain(error)}", f"put the key and its chain into it, {_RELOAD}")
            continue
        if certificate is not None and (yield from _is_readable(file, user)):
            known[certificate.domain] = certificate
    authorities = Authorities(trusted_ca)
    for certificate in known.values():
        yield from _file(certificate, now or datetime.now(UTC), authorities, user)
    for domain in domains:
        yield _served(domain, known, folder)
        yield _served(f"rooms.{domain}", known, folder)


def _served(domain: str, known: Mapping[str, Certificate], folder: Path) -> Finding:
    name = ascii_name(domain)
    certificate = known.get(name) or known.get(name.partition(".")[2])
    if certificate is None:
        return _wrong(f"none for {domain}", f"put its key and chain into {folder / name}.pem, {_RELOAD}")
    # Clients come to the library only, and other servers ask for what net/identity.py takes.
    for_clients = certificate.covers(name) or domain.startswith("rooms.")
    if not for_clients or not PeerIdentity.shown(certificate.chain[0], None).names_domain(domain):
        names = ", ".join(certificate.names) or "no name at all"
        return _wrong(
            f"{certificate.file} is shown for {domain}, and is for {names}",
            f"get one for {domain}, or for it and *.{name.partition('.')[2]}, {_RELOAD}",
        )
    return _good(f"{domain}: {certificate.file.name}, valid until {certificate.expires:%Y-%m-%d}")


def _is_readable(file: Path, user: ServerUser) -> Generator[Finding, None, bool]:
    """Return True if the server's user may read a file; else yield what keeps it from that."""
    obstacle = user.obstacle(file, READ)
    if obstacle is None:
        return True
    mend = f"chown {user.name} {file}" if obstacle == file else f"chmod o+x {obstacle}"
    found = f"{user.name}, as whom the server runs, cannot read {file}: {obstacle} does not allow it"
    yield _wrong(found, f"{mend}, {_RELOAD}")
    return False


def _file(
    certificate: Certificate, now: datetime, authorities: Authorities, user: ServerUser
) -> Iterator[Finding]:
    file, leaf = certificate.file, certificate.chain[0]
    if file.stat().st_mode & 0o007:
        own = "" if file.stat().st_uid == user.uid else f"chown {user.name} {file}, then "
        mend = f"{own}chmod 600 {file}"  # root's file at 600 would lock the server out
        yield _wrong(f"everybody may read the private key in {file}", mend)
    if leaf.not_valid_before_utc > now:
        yield _wrong(
            f"{file} is valid only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on",
            "set this machine's clock right, or wait",
        )
    if certificate.expires <= now:
        yield _wrong(f"{file} is over since {certificate.expires:%Y-%m-%d}", f"renew it, {_RELOAD}")
    elif certificate.expires <= now + ENDS_SOON:
        yield _note(f"{file} is valid until {certificate.expires:%Y-%m-%d} only", f"renew it, {_RELOAD}")
    yield from _chain(certificate, authorities)


def _chain(certificate: Certificate, authorities: Authorities) -> Iterator[Finding]:
    file, chain = certificate.file, certificate.chain
    for under, above in pairwise(chain):
        if not _is_signed_by(under, above):
            yield _wrong(
                f"the chain in {file} is broken: a certificate is not followed by the one that signed it",
                f"put the certificate first and then each one's signer, {_RELOAD}",
            )
            return
    last = chain[-1]
    if not _is_signed_by(last, last) and not authorities.have_signed(last):
        holds = "no chain, only the certificate" if len(chain) == 1 else "a chain that is not complete"
        yield _note(
            f"{file} holds {holds}: {last.issuer.rfc4514_string()}, who has signed the last one, is no "
            "authority that is known here, so others may not believe it either",
            f"add the intermediate certificates that the authority gives out with it, {_RELOAD}",
        )


def _is_signed_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


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
        """Return True if one of them has signed `certificate` directly; its dates do not matter."""
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
