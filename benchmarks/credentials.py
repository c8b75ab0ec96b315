"""The credentials of a run: one password and salt, hence one SCRAM-SHA-1 verifier (RFC 5802).

Real accounts each have a salt of their own. Here a shared one spares the generator, and the seeding, a key
derivation an account; for the server, which never derives keys in a SCRAM log-in, nothing changes.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PASSWORD = "secret"
ACCOUNT_PREFIX = "u"
DOMAIN = "localhost"
ITERATIONS = 4096
SALT = b"refserver-benchmark"


@frozen
class Verifier:
    """StoredKey and ServerKey of RFC 5802, section 3, for the shared password."""

    stored_key: bytes
    server_key: bytes


def verifier(digest: str = "sha1") -> Verifier:
    """The verifier of every account; `digest` as hashlib calls it."""
    salted = hashlib.pbkdf2_hmac(digest, PASSWORD.encode(), SALT, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", digest)
    return Verifier(
        stored_key=hashlib.new(digest, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", digest),
    )


def write_certificate(folder: Path) -> None:
    """Write localhost.crt, localhost.key and both in localhost.pem: self-signed, ECDSA P-256, for a week."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName(host) for host in (DOMAIN, f"conference.{DOMAIN}", f"rooms.{DOMAIN}")
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(
            x509.SubjectAlternativeName([*names, x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, content in ((".crt", certificate), (".key", private), (".pem", certificate + private)):
        path = folder / f"{DOMAIN}{suffix}"
        path.write_bytes(content)
        path.chmod(0o600)
