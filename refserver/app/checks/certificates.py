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

from refserver.app.checks.finding import Finding
from refserver.net.certificates import Certificate, ascii_name, explain, load

__all__ = ["check_certificates"]

ENDS_SOON: Final = timedelta(days=14)

_ABOUT = "certificate"
_RELOAD = "then SIGHUP the server (systemctl reload)"


def check_certificates(
    folder: Path, domains: Iterable[str], *, now: datetime | None = None
) -> Iterator[Finding]:
    """Findings on the files in `folder`, and on what each of the libraries' `domains` would be shown with."""
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
    for certificate in known.values():
        yield from _file(certificate, now or datetime.now(UTC))
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
    if not certificate.covers(name):
        names = ", ".join(certificate.names) or "no name at all"
        return Finding.wrong(
            _ABOUT,
            f"{certificate.file} is shown for {domain}, and is for {names}",
            f"get one for {domain}, or for it and *.{name.partition('.')[2]}, {_RELOAD}",
        )
    return Finding.good(
        _ABOUT, f"{domain}: {certificate.file.name}, valid until {certificate.expires:%Y-%m-%d}"
    )


def _file(certificate: Certificate, now: datetime) -> Iterator[Finding]:
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
    yield from _chain(certificate)


def _chain(certificate: Certificate) -> Iterator[Finding]:
    file, chain = certificate.file, certificate.chain
    for under, above in pairwise(chain):
        if not _is_signed_by(under, above):
            yield Finding.wrong(
                _ABOUT,
                f"the chain in {file} is broken: a certificate is not followed by the one that signed it",
                f"put the certificate first and then each one's signer, {_RELOAD}",
            )
            return
    if len(chain) == 1 and not _is_signed_by(chain[0], chain[0]):
        yield Finding.note(
            _ABOUT,
            f"{file} holds no chain, only the certificate",
            "add the intermediate certificates of the authority, unless it has none",
        )


def _is_signed_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
