"""The certificates of our domains, and the TLS contexts made of them.

Owns the folder of `<domain>.pem` files (private key and chain, in any order), which certificate a client is
shown (SNI, RFC 6066 3) and what TLS we speak (RFC 7590, RFC 9325). Does not own the handshake (tls.py).

A file with authorities' certificates alone, such as the one clients are told to trust, is passed over.
Domains are known by their A-labels (RFC 5890), which is how clients ask for them; files may be named either
way.

A name `rooms.example.org` without a file of its own is served with that of `example.org`; so is any other
name with one label more. A name we do not know gets the certificate of the context the connection started
with.

Left off: TLS 1.0 and 1.1, compression, renegotiation; also session tickets and the session cache. A stream
lives for hours, so a resumed handshake saves little, while a ticket key that is never changed would undo
forward secrecy, and a session resumed after a reload would go on with a certificate that was replaced. (In
TLS 1.3 OpenSSL still sends two tickets, which open nothing; the binding has no way to stop that.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import idna
from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL

from .tls import describe, server_name
from .trust import Trust

XMPP_CLIENT = b"xmpp-client"
XMPP_SERVER = b"xmpp-server"

# RFC 9325 4.2; TLS 1.3's own suites are all good.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:!SHA1"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@frozen
class Problem:
    """A file that cannot be used."""

    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


class BrokenCertificates(Exception):
    """Some certificate files cannot be used."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class UnknownDomain(LookupError):
    """There is no certificate for this domain, nor a default one."""


class WrongProtocol(SSL.Error):
    """The client offers only application protocols that are not spoken here (RFC 7301 3.2)."""


@frozen(eq=False)
class Certificate:
    """What one file holds."""

    domain: str
    file: Path
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]  # ours first

    @property
    def expires(self) -> datetime:
        """When it ends, in UTC."""
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
        """Whether it is valid for `domain` (RFC 9525 6.3)."""
        names = self.names
        return domain in names or "*." + domain.partition(".")[2] in names


@define(eq=False)
class Certificates:
    """The certificates in `folder`; raises BrokenCertificates if a file in it cannot be used.

    `default` is the domain whose certificate is shown where no other fits; else it is the first in the
    alphabet. With `trust`, other servers are asked for their certificates.
    """

    _folder: Path
    _default: str = ""
    _trust: Trust | None = None
    _known: Mapping[str, Certificate] = field(factory=dict, init=False)
    _contexts: dict[tuple[str, bytes], SSL.Context] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.reload()

    def __iter__(self) -> Iterator[Certificate]:
        return iter(self._known.values())

    def reload(self) -> None:
        """Read the folder again. Connections keep what they have; new ones get what is there now.

        Raises BrokenCertificates for files that cannot be used, after all others were taken over: their
        domains keep the certificate they had.
        """
        known: dict[str, Certificate] = {}
        problems = []
        for file in sorted(self._folder.glob("*.pem")):
            domain = ascii_name(file.stem)
            try:
                certificate = load(file)
                if certificate is not None:
                    make_context(certificate)
                    known[domain] = certificate
            except (OSError, ValueError, SSL.Error) as error:
                problems.append(Problem(file, explain(error)))
                if domain in self._known:
                    known[domain] = self._known[domain]
        self._known = known
        self._contexts = {}
        if problems:
            raise BrokenCertificates(problems)

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
        chosen = self.certificate(domain) or self.certificate(self._default)
        if chosen is None:
            chosen = next(iter(self._known.values()), None)
        if chosen is None:
            raise UnknownDomain(domain)
        return self._context(chosen, protocol)

    def client_context(self, domain: str, *, direct: bool) -> SSL.Context:
        """The context for connections from our `domain` to other servers, which shows its certificate.

        `direct`: TLS comes first, so the protocol is told (ALPN, XEP-0368 3); after STARTTLS it is clear.
        """
        certificate = self.certificate(domain)
        key = certificate.domain if certificate else "", b"client direct" if direct else b"client"
        context = self._contexts.get(key)
        if context is None:
            context = make_client_context(certificate)
            if direct:
                context.set_alpn_protos([XMPP_SERVER])
            if self._trust is not None:
                self._trust.ask(context)
            self._contexts[key] = context
        return context

    def _context(self, certificate: Certificate, protocol: bytes) -> SSL.Context:
        key = certificate.domain, protocol
        context = self._contexts.get(key)
        if context is None:
            context = make_context(certificate)
            context.set_tlsext_servername_callback(lambda ssl: self._choose(ssl, protocol))
            context.set_alpn_select_callback(lambda ssl, offered: select_protocol(protocol, offered))
            if protocol == XMPP_SERVER and self._trust is not None:
                self._trust.ask(context)
            self._contexts[key] = context
        return context

    def _choose(self, ssl: SSL.Connection, protocol: bytes) -> None:
        """Show the certificate for the name the client asked for."""
        certificate = self.certificate(server_name(ssl))
        if certificate is not None:
            context = self._context(certificate, protocol)
            if context is not ssl.get_context():
                ssl.set_context(context)


def select_protocol(ours: bytes, offered: Iterable[bytes]) -> bytes:
    """`ours`, if it is among the `offered`; raises WrongProtocol.

    A client that was led here from another protocol's port must not get a handshake (RFC 7301 3.2: the server
    "SHALL send a fatal 'no_application_protocol' alert").
    """
    if ours not in offered:
        raise WrongProtocol("no application protocol in common")
    return ours


def load(file: Path) -> Certificate | None:
    """Read a key and its chain; None: authorities only. Raises OSError or ValueError, worded for people."""
    text = file.read_bytes()
    if b"PRIVATE KEY-----" not in text and holds_authorities(text):
        return None
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except TypeError:
        raise ValueError("the private key is encrypted") from None
    except ValueError:
        raise ValueError("there is no private key in it that can be read") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("the private key is of a kind that TLS does not use")
    try:
        certificates = x509.load_pem_x509_certificates(text)
    except ValueError:
        raise ValueError("there is no certificate in it that can be read") from None
    public = key.public_key()
    own = [certificate for certificate in certificates if certificate.public_key() == public]
    if not own:
        raise ValueError("no certificate in it belongs to the private key")
    chain = (own[0], *(certificate for certificate in certificates if certificate not in own))
    return Certificate(ascii_name(file.stem), file, key, chain)


def holds_authorities(text: bytes) -> bool:
    """Whether there are certificates in the PEM text, all of them of authorities."""
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


def make_context(certificate: Certificate) -> SSL.Context:
    """A server context that shows `certificate`. Raises SSL.Error if OpenSSL does not take it."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    harden(context)
    show(context, certificate)
    return context


def make_client_context(certificate: Certificate | None) -> SSL.Context:
    """A client context that shows `certificate`, if there is one, to servers that ask for it."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    harden(context)
    if certificate is not None:
        show(context, certificate)
    return context


def show(context: SSL.Context, certificate: Certificate) -> None:
    """Let `context` show `certificate` with its chain."""
    context.use_privatekey(certificate.key)
    context.use_certificate(certificate.chain[0])
    for intermediate in certificate.chain[1:]:
        context.add_extra_chain_cert(intermediate)
    context.check_privatekey()


def harden(context: SSL.Context) -> None:
    """The versions, ciphers and modes we use, as a server and as a client."""
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Between records an idle connection holds no buffers of 16 KiB.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
