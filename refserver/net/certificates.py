"""The certificates of our domains, and the TLS contexts made of them.

A folder holds a file `<domain>.pem` for each domain: its private key and chain, in any order. Files are
named by the domain's A-labels (RFC 5890) or as people write it. A file with authorities' certificates
alone, such as the one clients are told to trust, is passed over. A file is read again only if it has
changed.

The client's SNI (RFC 6066 3) chooses the certificate. `rooms.example.org` without a file of its own is
served with that of `example.org`; so is any other name with one label more. For an unknown name the
certificate of the context that the connection started with is shown, and the log says so, once a minute for
each name.

TLS follows RFC 7590 and RFC 9325. Left off: TLS 1.0 and 1.1, compression, renegotiation; also session
tickets and the session cache. A stream lives for hours, so a resumed handshake saves little, while a ticket
key that is never changed would undo forward secrecy, and a session resumed after a reload would go on with
a certificate that was replaced. (In TLS 1.3 OpenSSL still sends two tickets, which open nothing; the
binding cannot stop that.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import idna
from attrs import define, field, frozen
from cachetools import TTLCache
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL
from twisted.logger import Logger

from .tls import describe, server_name
from .trust import Trust

XMPP_CLIENT = b"xmpp-client"
XMPP_SERVER = b"xmpp-server"
_CLIENT, _CLIENT_DIRECT = b"client", b"client direct"

# RFC 9325 4.2; TLS 1.3's own suites are all good.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:!SHA1"

MISSING_NAMES = 200
MISSING_SECONDS = 60.0

_log = Logger(namespace="refserver.net")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@frozen
class CertificateProblem:
    """A file that cannot be used, or the folder itself, for which `domain` is ""."""

    domain: str
    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


class UnknownDomain(LookupError):
    """There is no certificate for this domain, nor a default one."""


class WrongProtocol(SSL.Error):
    """The client offers only application protocols that are not spoken here (RFC 7301 3.2)."""


@frozen(eq=False)
class Certificate:
    """The key and the chain of one file."""

    domain: str
    file: Path
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]  # ours first

    @property
    def expires(self) -> datetime:
        """The end of its validity, in UTC."""
        return self.chain[0].not_valid_after_utc

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names it is valid for, in lower case, wildcards as they stand."""
        try:
            alternatives = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return ()
        return tuple(name.lower() for name in alternatives.value.get_values_for_type(x509.DNSName))

    def covers(self, domain: str) -> bool:
        """True if it is valid for `domain` (RFC 9525 6.3)."""
        names = self.names
        return domain in names or "*." + domain.partition(".")[2] in names


@frozen(eq=False)
class _File:
    """A file of the folder as it was read: its certificate, None if it holds authorities only."""

    signature: tuple[int, ...]
    certificate: Certificate | None


@define(eq=False)
class Certificates:
    """The certificates in `folder`, read at once; `problems` are those of the last reading.

    The certificate of the domain `default` is shown where no other fits; without one, the first in the
    alphabet. With `trust`, other servers are asked for their certificates.
    """

    _folder: Path
    _default: str = ""
    trust: Trust | None = None
    _clock: Callable[[], float] = time.monotonic
    problems: tuple[CertificateProblem, ...] = field(default=(), init=False)
    _files: dict[Path, _File] = field(factory=dict, init=False)
    _known: dict[str, Certificate] = field(factory=dict, init=False)
    _contexts: dict[tuple[str, bytes], _Made] = field(factory=dict, init=False)
    _missing: TTLCache[str, bool] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._missing = TTLCache(MISSING_NAMES, MISSING_SECONDS, self._clock)
        self.reload()

    def __iter__(self) -> Iterator[Certificate]:
        return iter(self._known.values())

    def reload(self, domain: str = "") -> tuple[CertificateProblem, ...]:
        """Read the files that have changed, or only those that `domain` may use. Returns what cannot be used.

        Connections keep the certificate they have; new ones get what is there now. A domain whose file cannot
        be used keeps the certificate it had, and so do all domains if the folder cannot be read or is empty.
        """
        name = ascii_name(domain)
        wanted = {name, name.partition(".")[2]} if domain else None
        problems: list[CertificateProblem] = []
        try:
            with os.scandir(self._folder) as entries:
                found = sorted(
                    Path(entry.path)
                    for entry in entries
                    if entry.name.endswith(".pem")
                    and (wanted is None or ascii_name(entry.name[:-4]) in wanted)
                )
        except OSError as error:
            self.problems = (CertificateProblem("", self._folder, explain(error)),)
            return self.problems
        if wanted is None and self._known and not found:  # a file system that is not mounted, rather
            self.problems = (CertificateProblem("", self._folder, "there is no certificate in it"),)
            return self.problems
        files = {
            file: old
            for file, old in self._files.items()
            if wanted is not None and ascii_name(file.stem) not in wanted
        }
        for file in found:
            old = self._files.get(file)
            try:
                files[file] = _read(file, old)
            except (OSError, ValueError, SSL.Error) as error:
                problems.append(CertificateProblem(ascii_name(file.stem), file, explain(error)))
                if old is not None:
                    files[file] = old
        self._files = files
        certificates = [files[file].certificate for file in sorted(files)]
        self._known = {each.domain: each for each in certificates if each is not None}
        self._contexts = {
            key: made for key, made in self._contexts.items() if made.certificate is self._known.get(key[0])
        }
        self.problems = tuple(problems)
        return self.problems

    def certificate(self, domain: str) -> Certificate | None:
        """The certificate shown for `domain`: its own or its parent's."""
        name = ascii_name(domain)
        return self._known.get(name) or self._known.get(name.partition(".")[2])

    def context_for(self, domain: str, protocol: bytes = XMPP_CLIENT) -> SSL.Context:
        """The server context for connections to `domain`, "" where that is not known yet.

        A name that the client asks for (SNI) and that we know comes before `domain`. If the client offers
        application protocols (ALPN), `protocol` must be one of them. Raises UnknownDomain if there is no
        certificate at all.
        """
        chosen = self._wanted(domain) or self.certificate(self._default)
        if chosen is None:
            chosen = next(iter(self._known.values()), None)
        if chosen is None:
            raise UnknownDomain(domain)
        return self._context(chosen, protocol)

    def client_context(self, domain: str, *, direct: bool) -> SSL.Context:
        """The context for connections from our `domain` to other servers, which shows its certificate.

        `direct`: TLS comes first, so the protocol is told (ALPN, XEP-0368 3); after STARTTLS it is clear.
        """
        return self._context(self._wanted(domain), _CLIENT_DIRECT if direct else _CLIENT)

    def _context(self, certificate: Certificate | None, kind: bytes) -> SSL.Context:
        """The context of one kind, a server's being its protocol, that shows `certificate`; made once."""
        key = certificate.domain if certificate else "", kind
        trust = None if kind == XMPP_CLIENT else self.trust
        made = self._contexts.get(key)
        if made is None or made.trust is not trust:
            is_client = kind in (_CLIENT, _CLIENT_DIRECT)
            context = make_context(SSL.TLS_CLIENT_METHOD if is_client else SSL.TLS_SERVER_METHOD, certificate)
            if kind == _CLIENT_DIRECT:
                context.set_alpn_protos([XMPP_SERVER])
            if not is_client:
                context.set_tlsext_servername_callback(lambda ssl: self._choose(ssl, kind))
                context.set_alpn_select_callback(lambda ssl, offered: select_protocol(kind, offered))
            if trust is not None:
                trust.verify_peers(context)
            made = self._contexts[key] = _Made(certificate, trust, context)
        return made.context

    def _choose(self, ssl: SSL.Connection, protocol: bytes) -> None:
        """Show the certificate for the name the client asked for."""
        certificate = self._wanted(server_name(ssl))
        if certificate is not None:
            context = self._context(certificate, protocol)
            if context is not ssl.get_context():
                ssl.set_context(context)

    def _wanted(self, name: str) -> Certificate | None:
        """The certificate for a name that a peer asked for; the log tells if there is none."""
        certificate = self.certificate(name)
        if certificate is None and _is_loggable(name) and name not in self._missing:
            self._missing.expire()
            if len(self._missing) < MISSING_NAMES:
                self._missing[name] = True
                _log.warn("no certificate for {domain} in {folder}", domain=name, folder=str(self._folder))
        return certificate


def _is_loggable(name: str) -> bool:
    """True if `name` can be a host's: a peer may ask for anything."""
    return 0 < len(name) < 254 and name.isprintable() and " " not in name


@frozen(eq=False)
class _Made:
    """A context, and what it was made of."""

    certificate: Certificate | None
    trust: Trust | None
    context: SSL.Context


def _read(file: Path, old: _File | None) -> _File:
    """Read `file`, unless it is still what it was when `old` was read."""
    now = file.stat()
    signature = now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino, now.st_dev
    if old is not None and old.signature == signature:
        return old
    return _File(signature, load(file))


def select_protocol(ours: bytes, offered: Iterable[bytes]) -> bytes:
    """`ours`, if it is among the `offered`; raises WrongProtocol.

    A client that was led here from another protocol's port must not get a handshake (RFC 7301 3.2: the server
    "SHALL send a fatal 'no_application_protocol' alert").
    """
    if ours not in offered:
        raise WrongProtocol("no application protocol in common")
    return ours


def load(file: Path) -> Certificate | None:
    """Read a key and its chain; None if the file holds authorities only.

    Raises OSError, ValueError or SSL.Error; `explain` words them for people.
    """
    text = file.read_bytes()
    if b"PRIVATE KEY-----" not in text and holds_authorities(text):
        return None
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except TypeError:
        raise ValueError("the private key is encrypted") from None
    except UnsupportedAlgorithm:
        raise ValueError("the private key is of a kind that TLS does not use") from None
    except ValueError:
        raise ValueError("there is no private key in it that can be read") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("the private key is of a kind that TLS does not use")
    try:
        certificates = x509.load_pem_x509_certificates(text)
    except ValueError:
        raise ValueError("there is no certificate in it that can be read") from None
    own = [certificate for certificate in certificates if _is_of(certificate, key)]
    if not own:
        raise ValueError("no certificate in it belongs to the private key")
    chain = (own[0], *(certificate for certificate in certificates if certificate not in own))
    certificate = Certificate(ascii_name(file.stem), file, key, chain)
    make_context(SSL.TLS_SERVER_METHOD, certificate)  # OpenSSL says now if it does not take it
    return certificate


def _is_of(certificate: x509.Certificate, key: PrivateKey) -> bool:
    """True if `certificate` belongs to `key`. Others of the chain may have keys of unknown kinds."""
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def holds_authorities(text: bytes) -> bool:
    """True if the PEM text holds certificates, and all are authorities'."""
    try:
        certificates = x509.load_pem_x509_certificates(text)
        constraints = [
            each.extensions.get_extension_for_class(x509.BasicConstraints) for each in certificates
        ]
    except (ValueError, x509.ExtensionNotFound):
        return False
    return all(each.value.ca for each in constraints)


def ascii_name(domain: str) -> str:
    """The domain in A-labels and lower case; as it is if it has no such form."""
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain


def explain(error: Exception) -> str:
    """The reason, for people."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return describe(error) if isinstance(error, SSL.Error) else str(error)


def make_context(method: int, certificate: Certificate | None) -> SSL.Context:
    """A context, of a server or of a client, that shows `certificate` with its chain, if there is one.

    Raises SSL.Error if OpenSSL does not take it.
    """
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Between records an idle connection holds no buffers of 16 KiB.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if certificate is not None:
        context.use_privatekey(certificate.key)
        context.use_certificate(certificate.chain[0])
        for intermediate in certificate.chain[1:]:
            context.add_extra_chain_cert(intermediate)
        context.check_privatekey()
    return context
