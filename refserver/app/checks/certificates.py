"""Checks of certificates: there is one for each library and its rooms, and it will be believed.

Specifications: RFC 6120 13.7 (certificates), RFC 9525 6 (names), RFC 5280 6 (chains).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from refserver.app.checks.authorities import Authorities
from refserver.app.checks.finding import Finding
from refserver.net.certificates import Certificate, ascii_name, explain, load
from refserver.net.identity import PeerIdentity

__all__ = ["check_certificates"]

ENDS_SOON: Final = timedelta(days=30)

_ABOUT = "certificate"
_RELOAD = "then SIGHUP the server (systemctl reload)"


def check_certificates(
    folder: Path, domains: Iterable[str], trusted_ca: Path | None = None, *, now: datetime | None = None
) -> Iterator[Finding]:
    """Findings on the files in `folder`, and on what each of the libraries' `domains` would be shown with.

    `trusted_ca` is a file of authorities that are known besides the system's.
    """
    if not folder.is_dir():
        yield Finding.wrong(
            _ABOUT,
            f"there is no folder {folder}",
            "make it, with a file <domain>.pem in it (key and chain) for each library",
        )
        return
    known: dict[str, Certificate] = {}
    for file in sorted(folder.glob("*.pem")):
        try:
            certificate = load(file)
        except (OSError, ValueError) as error:
            yield Finding.wrong(
                _ABOUT, f"{file}: {explain(error)}", f"put the key and its chain into it, {_RELOAD}"
            )
            continue
        if certificate is not None:
            known[certificate.domain] = certificate
    authorities = Authorities(trusted_ca)
    for certificate in known.values():
        yield from _file(certificate, now or datetime.now(UTC), authorities)
    for domain in domains:
        yield _served(domain, known, folder)
        yield _served(f"rooms.{domain}", known, folder)


def _served(domain: str, known: Mapping[str, Certificate], folder: Path) -> Finding:
    name = ascii_name(domain)
    certificate = known.get(name) or known.get(name.partition(".")[2])
    if certificate is None:
        return Finding.wrong(
            _ABOUT,
            f"none for {domain}",
            f"put its key and chain into {folder / name}.pem, {_RELOAD}",
        )
    # Clients come to the library only, and other servers ask for what net/identity.py takes.
    for_clients = certificate.covers(name) or domain.startswith("rooms.")
    if not for_clients or not PeerIdentity.shown(certificate.chain[0], None).names_domain(domain):
        names = ", ".join(certificate.names) or "no name at all"
        return Finding.wrong(
            _ABOUT,
            f"{certificate.file} is shown for {domain}, and is for {names}",
            f"get one for {domain}, or for it and *.{name.partition('.')[2]}, {_RELOAD}",
        )
    return Finding.good(
        _ABOUT, f"{domain}: {certificate.file.name}, valid until {certificate.expires:%Y-%m-%d}"
    )


def _file(certificate: Certificate, now: datetime, authorities: Authorities) -> Iterator[Finding]:
    file, leaf = certificate.file, certificate.chain[0]
    if file.stat().st_mode & 0o007:
        yield Finding.wrong(_ABOUT, f"everybody may read the private key in {file}", f"chmod 600 {file}")
    if leaf.not_valid_before_utc > now:
        yield Finding.wrong(
            _ABOUT,
            f"{file} is valid only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on",
            "set this machine's clock right, or wait",
        )
    if certificate.expires <= now:
        yield Finding.wrong(
            _ABOUT, f"{file} is over since {certificate.expires:%Y-%m-%d}", f"renew it, {_RELOAD}"
        )
    elif certificate.expires <= now + ENDS_SOON:
        yield Finding.note(
            _ABOUT, f"{file} is valid until {certificate.expires:%Y-%m-%d} only", f"renew it, {_RELOAD}"
        )
    yield from _chain(certificate, authorities)


def _chain(certificate: Certificate, authorities: Authorities) -> Iterator[Finding]:
    file, chain = certificate.file, certificate.chain
    for under, above in pairwise(chain):
        if not _is_signed_by(under, above):
            yield Finding.wrong(
                _ABOUT,
                f"the chain in {file} is broken: a certificate is not followed by the one that signed it",
                f"put the certificate first and then each one's signer, {_RELOAD}",
            )
            return
    last = chain[-1]
    if not _is_signed_by(last, last) and not authorities.have_signed(last):
        holds = "no chain, only the certificate" if len(chain) == 1 else "a chain that is not complete"
        yield Finding.note(
            _ABOUT,
            f"{file} holds {holds}: {last.issuer.rfc4514_string()}, who has signed the last one, is no "
            "authority that is known here, so others may not believe it either",
            f"add the intermediate certificates that the authority gives out with it, {_RELOAD}",
        )


def _is_signed_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
