"""Certificates of other servers, with names and usages that a good authority would not certify."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from refserver.app.certificates import Authority

USAGES = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "mail": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
NOW = datetime.now(UTC).replace(microsecond=0)


def dns(name: str) -> x509.GeneralName:
    return x509.DNSName._init_without_validation(name)  # any text at all


def srv(name: str) -> x509.GeneralName:
    return x509.OtherName(SRV_NAME, bytes([0x16, len(name)]) + name.encode())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(days=5))
    )


def _usages(builder: x509.CertificateBuilder, usages: Sequence[str]) -> x509.CertificateBuilder:
    if not usages:
        return builder
    return builder.add_extension(x509.ExtendedKeyUsage([USAGES[name] for name in usages]), critical=False)


def root(name: str) -> Authority:
    """An authority that may have others below it."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, _named(name), key)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(key, builder.sign(key, hashes.SHA256()))


def self_signed(key: ec.EllipticCurvePrivateKey, names: Sequence[x509.GeneralName] = ()) -> x509.Certificate:
    builder = _builder("peer.example", _named("peer.example"), key)
    names = names or [dns("peer.example")]
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(
        key, hashes.SHA256()
    )


def issued(
    authority: Authority,
    names: Sequence[x509.GeneralName],
    usages: Sequence[str] = ("server",),
    ca_usages: Sequence[str] | None = None,
    ca: bool = True,
) -> bytes:
    """Key and chain in PEM; with `ca_usages` there is an authority between, which is none without `ca`."""
    key, chain = ec.generate_private_key(ec.SECP256R1()), []
    issuer, signer = authority.certificate.subject, authority.key
    if ca_usages is not None:
        signer = ec.generate_private_key(ec.SECP256R1())
        between = _usages(_builder("between", issuer, signer), ca_usages)
        between = between.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        chain.append(between.sign(authority.key, hashes.SHA256()))
        issuer = chain[0].subject
    builder = _usages(_builder("peer.example", issuer, key), usages)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    chain.insert(0, builder.sign(signer, hashes.SHA256()))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
