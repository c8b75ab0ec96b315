"""Certificates for demonstrations and tests: an authority of one's own, and what it signs.

Owns the making of `<domain>.pem` files (private key, certificate, authority; ECDSA P-256) and of `ca.pem`,
which a client is told to trust. Good certificates for a demo, and on request bad ones, of which a test shows
that they are refused. No server in service should use it: a public authority's certificates belong there.

Specifications: RFC 6120, 13.7.1 (names in certificates), RFC 4985 (SRVName), RFC 5280.

`python -m refserver.app.certificates FOLDER DOMAIN...` is the command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import idna
from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# What a library's domain serves besides itself. Listed beside the wildcard, because OpenSSL lets no wildcard
# stand directly below a top-level name such as localhost.
SERVICES = ("rooms", "guest", "upload", "pubsub")

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
RENEWED_BEFORE = timedelta(days=30)

_SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # RFC 4985, 2
_XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")  # RFC 6120, 13.7.1.4
_IA5_STRING, _UTF8_STRING = 0x16, 0x0C


@frozen
class Certificate:
    """The content of a certificate; by default a good one for the domain.

    `names` are the DNS names, None for the domain, `*.domain` and its services; `common_name_only` leaves
    out every alternative name; `xmpp_names` adds SRVName and XmppAddr; `start` None is an hour ago, and an
    expired certificate is one whose `days` after `start` are over.
    """

    domain: str
    names: tuple[str, ...] | None = None
    common_name_only: bool = False
    xmpp_names: bool = False
    start: datetime | None = None
    days: int = CERTIFICATE_DAYS

    def alternative_names(self) -> list[x509.GeneralName]:
        """The subjectAltName entries."""
        if self.common_name_only:
            return []
        domain = _ascii(self.domain)
        names = self.names
        if names is None:
            names = (domain, f"*.{domain}", *(f"{service}.{domain}" for service in SERVICES))
        entries: list[x509.GeneralName] = [x509.DNSName(_ascii(name)) for name in names]
        if self.xmpp_names:
            entries += [
                x509.OtherName(_SRV_NAME, _der(_IA5_STRING, f"_xmpp-client.{domain}")),
                x509.OtherName(_SRV_NAME, _der(_IA5_STRING, f"_xmpp-server.{domain}")),
                x509.OtherName(_XMPP_ADDR, _der(_UTF8_STRING, self.domain)),
            ]
        return entries


@frozen
class Authority:
    """A certificate authority that signs for this machine only."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def new(cls, name: str = "refserver demonstration CA") -> Authority:
        """Make a key and a certificate that it signs itself, good for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key, _hour_ago(), AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def kept_in(cls, folder: Path) -> Authority:
        """The authority of `folder` (ca.pem, ca.key), made there if it is not there or nearly over."""
        key_file, certificate_file = folder / "ca.key", folder / "ca.pem"
        if key_file.exists() and certificate_file.exists():
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            if isinstance(key, ec.EllipticCurvePrivateKey) and _is_lasting(certificate):
                return cls(key, certificate)
        authority = cls.new()
        write(key_file, _key_pem(authority.key), mode=0o600)
        write(certificate_file, authority.pem, mode=0o644)
        return authority

    @property
    def pem(self) -> bytes:
        """The certificate a client is told to trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, wanted: Certificate) -> bytes:
        """A new private key, its certificate and this authority's, as PEM: what a `<domain>.pem` holds."""
        key = ec.generate_private_key(ec.SECP256R1())
        start = wanted.start or _hour_ago()
        subject = _name(_ascii(wanted.domain))
        builder = _builder(subject, self.certificate.subject, key, start, wanted.days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(authority=False), critical=True)
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usages, critical=False)
        names = wanted.alternative_names()
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(authority_key, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return _key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM) + self.pem

    def has_issued(self, certificate: x509.Certificate) -> bool:
        """Return True if this authority, with its present key, signed `certificate`."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def ensure(folder: Path, wanted: Iterable[Certificate]) -> Path:
    """Put an authority and the wanted `<domain>.pem` files into `folder`; return the path of ca.pem.

    What is there and will still serve is left as it is, so a second call changes nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority.kept_in(folder)
    for certificate in wanted:
        file = folder / f"{certificate.domain}.pem"
        if not _will_serve(file, certificate, authority):
            write(file, authority.issue(certificate), mode=0o600)
    return folder / "ca.pem"


def _will_serve(file: Path, wanted: Certificate, authority: Authority) -> bool:
    if not file.exists():
        return False
    found = x509.load_pem_x509_certificate(file.read_bytes())
    try:
        names = list(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    is_as_lasting = _is_lasting(found) if wanted.start is None else found.not_valid_before_utc == wanted.start
    return is_as_lasting and names == wanted.alternative_names() and authority.has_issued(found)


def _is_lasting(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc > datetime.now(UTC) + RENEWED_BEFORE


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, days: int
) -> x509.CertificateBuilder:
    public_key = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _hour_ago() -> datetime:
    """The usual start of validity: an hour back, for clocks that are behind."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def _ascii(domain: str) -> str:
    """The A-label form of a domain, a leading wildcard kept."""
    if domain.isascii():
        return domain
    rest = domain.removeprefix("*.")
    return domain[: len(domain) - len(rest)] + idna.encode(rest, uts46=True).decode("ascii")


def _der(tag: int, text: str) -> bytes:
    """One DER string of at most 127 bytes, which is all that a short-form length can say."""
    value = text.encode()
    if len(value) > 127:
        raise ValueError(f"a name of {len(value)} bytes is too long for a certificate's XMPP names")
    return bytes([tag, len(value)]) + value


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(file: Path, content: bytes, mode: int) -> None:
    """Write at once or not at all; at no moment is a key readable by others."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    draft.replace(file)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("domains", metavar="DOMAIN...", nargs=-1, required=True)
@click.option("--name", "names", multiple=True, help="A DNS name to certify, in place of the domain's own.")
@click.option("--days", default=CERTIFICATE_DAYS, show_default=True, help="How long it is valid.")
@click.option("--expired", is_flag=True, help="Its days are over since yesterday.")
@click.option(
    "--common-name-only",
    is_flag=True,
    help="No alternative names, only a common name (RFC 9525 forbids to match it).",
)
@click.option("--xmpp-names", is_flag=True, help="Add SRVName and XmppAddr.")
def main(
    folder: Path,
    domains: tuple[str, ...],
    names: tuple[str, ...],
    days: int,
    expired: bool,
    common_name_only: bool,
    xmpp_names: bool,
) -> None:
    """Make FOLDER/ca.pem and FOLDER/<domain>.pem for each DOMAIN, for demonstrations and tests."""
    start = _hour_ago() - timedelta(days=days + 1) if expired else None
    wanted = [
        Certificate(domain, names or None, common_name_only, xmpp_names, start, days) for domain in domains
    ]
    authority = ensure(folder, wanted)
    click.echo(f"{folder}: {', '.join(f'{domain}.pem' for domain in domains)}, signed by {authority.name}")


if __name__ == "__main__":
    main()
