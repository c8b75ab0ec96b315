"""Which domains a peer's certificate proves: real handshakes, in memory, in both directions."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from refserver.app.certificates import Authority, Certificate
from refserver.errors import Cause, StreamFault
from refserver.net.certificates import XMPP_SERVER, Certificates
from refserver.net.identity import PeerIdentity
from refserver.net.tls import TLSState
from refserver.net.trust import Trust
from tests.unit.peer_certificates import dns, issued, root, self_signed, srv

OURS, PEER = "library.example", "peer.example"
LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
AUTHORITY, STRANGER = root("authority"), root("stranger")


def put(folder: Path, wanted: Certificate, authority: Authority = AUTHORITY) -> None:
    (folder / f"{wanted.domain}.pem").write_bytes(authority.issue(wanted))


def trusting(folder: Path) -> Certificates:
    """The certificates in `folder`, of a server that believes our authority."""
    file = folder / "trusted"
    file.write_bytes(AUTHORITY.pem)
    return Certificates(folder, trust=Trust(file))


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    folder = tmp_path / "ours"
    folder.mkdir()
    put(folder, Certificate(OURS))
    return trusting(folder)


def shake(client: SSL.Context, server: SSL.Context, name: str = OURS) -> tuple[TLSState, TLSState]:
    """What client and server know of each other after the handshake."""
    ends = [SSL.Connection(client, None), SSL.Connection(server, None)]
    ends[0].set_connect_state()
    ends[0].set_tlsext_host_name(name.encode())
    ends[1].set_accept_state()
    for _ in range(4):
        for end, other in (ends, ends[::-1]):
            with suppress(SSL.WantReadError):
                end.do_handshake()
            with suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(1 << 16))
    first, second = (TLSState(end, end._ssl, number == 0) for number, end in enumerate(ends))
    return first, second


def theirs(tmp_path: Path, wanted: Certificate, authority: Authority = AUTHORITY) -> Certificates:
    folder = tmp_path / "theirs"
    folder.mkdir()
    put(folder, wanted, authority)
    return trusting(folder)


def as_client(ours: Certificates, peers: Certificates) -> PeerIdentity:
    """How we see a peer that connects to us."""
    client = peers.client_context(PEER, direct=True)
    return PeerIdentity.of(shake(client, ours.context_for(OURS, XMPP_SERVER))[1])


def as_server(ours: Certificates, peers: Certificates) -> PeerIdentity:
    """How we see a peer that we connect to."""
    server = peers.context_for(PEER, XMPP_SERVER)
    return PeerIdentity.of(shake(ours.client_context(OURS, direct=True), server, PEER)[0])


BOTH_WAYS = pytest.mark.parametrize("see", [as_client, as_server])


@BOTH_WAYS
def test_a_good_certificate_proves_its_domain_and_no_other(see, ours, tmp_path):
    identity = see(ours, theirs(tmp_path, Certificate(PEER)))
    assert identity.verified
    assert identity.proves(PEER)
    assert identity.error is None
    assert not identity.proves(OURS)
    assert not identity.proves("example")
    assert str(identity.why_not(OURS)).startswith(
        "the certificate is not for this domain: it is for peer.example"
    )
    assert f"CN={PEER}" == identity.subject
    assert "CN=authority" == identity.issuer
    assert identity.expires is not None
    assert identity.expires > datetime.now(UTC)


@BOTH_WAYS
@pytest.mark.parametrize(
    ("wanted", "authority", "error"),
    [
        (Certificate(PEER, start=LONG_AGO, days=2), AUTHORITY, "has expired"),
        (Certificate(PEER, start=datetime.now(UTC) + timedelta(days=2)), AUTHORITY, "is not valid yet"),
        (Certificate(PEER), STRANGER, "was signed by an authority that is not trusted here"),
    ],
    ids=["expired", "future", "unknown authority"],
)
def test_a_bad_chain_proves_nothing_and_does_not_break_the_handshake(
    see, ours, tmp_path, wanted, authority, error
):
    identity = see(ours, theirs(tmp_path, wanted, authority))
    assert not identity.verified
    assert not identity.proves(PEER)
    assert identity.names_domain(PEER)
    assert identity.error == identity.why_not(PEER)
    assert str(identity.error).startswith(f"the certificate {error}")


@BOTH_WAYS
def test_a_common_name_is_no_identity(see, ours, tmp_path):
    identity = see(ours, theirs(tmp_path, Certificate(PEER, common_name_only=True)))
    assert identity.verified
    assert not identity.proves(PEER)
    assert StreamFault(Cause.WRONG_NAME, "it names no server") == identity.why_not(PEER)


@BOTH_WAYS
def test_another_name_is_no_proof(see, ours, tmp_path):
    identity = see(ours, theirs(tmp_path, Certificate(PEER, names=("elsewhere.example",))))
    assert not identity.proves(PEER)
    assert identity.proves("elsewhere.example")


@BOTH_WAYS
def test_a_self_signed_certificate_is_called_so(see, ours, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    pem = self_signed(key).public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / f"{PEER}.pem").write_bytes(pem)
    identity = see(ours, trusting(folder))
    assert not identity.proves(PEER)
    assert StreamFault(Cause.SELF_SIGNED) == identity.why_not(PEER)


def test_a_client_without_certificate_proves_nothing(ours, tmp_path):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    identity = PeerIdentity.of(shake(context, ours.context_for(OURS, XMPP_SERVER))[1])
    assert not identity.verified
    assert not identity.proves(PEER)
    assert StreamFault(Cause.NO_CERTIFICATE) == identity.why_not(PEER)


def test_clients_are_not_asked_for_certificates(ours):
    peers = ours.client_context(OURS, direct=False)
    state = shake(peers, ours.context_for(OURS))[1]
    assert state.peer_certificate is None
    assert state.verification is None


def test_what_was_not_verified_proves_nothing(ours, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    put(folder, Certificate(PEER))
    careless = Certificates(folder)  # without trust
    server = ours.context_for(OURS, XMPP_SERVER)
    identity = PeerIdentity.of(shake(careless.client_context(PEER, direct=False), server)[0])
    assert identity.names_domain(OURS)
    assert not identity.proves(OURS)
    assert StreamFault(Cause.UNVERIFIED_CERTIFICATE) == identity.error


def test_the_name_asked_for_chooses_the_certificate_and_the_peer_is_verified_all_the_same(tmp_path):
    folder = tmp_path / "ours"
    folder.mkdir()
    for domain in ("aaa.example", OURS):
        put(folder, Certificate(domain))
    ours = trusting(folder)
    peers = theirs(tmp_path, Certificate(PEER))
    client, server = shake(peers.client_context(PEER, direct=False), ours.context_for("", XMPP_SERVER))
    assert PeerIdentity.of(client).proves(OURS)
    assert PeerIdentity.of(server).proves(PEER)


def test_the_protocol_is_told_only_where_tls_comes_first(ours, tmp_path):
    peers = theirs(tmp_path, Certificate(PEER))
    server = peers.context_for(PEER, XMPP_SERVER)
    assert "xmpp-server" == shake(ours.client_context(OURS, direct=True), server, PEER)[0].alpn
    assert "" == shake(ours.client_context(OURS, direct=False), server, PEER)[0].alpn


def test_a_domain_without_certificate_can_still_connect(ours, tmp_path):
    peers = theirs(tmp_path, Certificate(PEER))
    client, server = shake(
        ours.client_context("nowhere.test", direct=False), peers.context_for(PEER, XMPP_SERVER), PEER
    )
    assert PeerIdentity.of(client).proves(PEER)
    assert StreamFault(Cause.NO_CERTIFICATE) == PeerIdentity.of(server).error


def test_contexts_are_made_once_and_anew_when_the_trusted_authorities_were_read_again(ours):
    first = ours.client_context(OURS, direct=True)
    assert first is ours.client_context(OURS, direct=True)
    assert first is not ours.client_context(OURS, direct=False)
    ours.reload()
    assert first is ours.client_context(OURS, direct=True)
    ours.trust = Trust()
    assert first is not ours.client_context(OURS, direct=True)


def test_an_unreadable_file_of_authorities_is_an_error_for_people(tmp_path):
    with pytest.raises(OSError):
        Trust(tmp_path / "missing.pem")
    (tmp_path / "bad.pem").write_text("nonsense")
    with pytest.raises(ValueError, match="no certificate in it"):
        Trust(tmp_path / "bad.pem")


@BOTH_WAYS
@pytest.mark.parametrize(
    ("usages", "ca_usages", "good"),
    [
        (("server",), None, True),
        (("client", "server"), None, True),
        ((), None, True),
        (("any",), None, True),
        (("server",), ("server",), True),
        (("mail",), None, False),
        (("server",), ("mail",), False),
    ],
)
def test_a_certificate_for_servers_serves_in_both_directions(see, ours, tmp_path, usages, ca_usages, good):
    """Public authorities no longer issue certificates for clients, which one side always is."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / f"{PEER}.pem").write_bytes(issued(AUTHORITY, [dns(PEER)], usages, ca_usages))
    identity = see(ours, trusting(folder))
    assert good == identity.proves(PEER)
    assert good or "it is not one for servers" == identity.why_not(PEER).detail


def test_a_certificate_signed_by_one_that_is_no_authority_proves_nothing(ours, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / f"{PEER}.pem").write_bytes(issued(AUTHORITY, [dns(PEER)], ("server",), ("server",), ca=False))
    identity = as_client(ours, trusting(folder))
    assert not identity.proves(PEER)
    assert "it was signed by somebody who is no authority" == identity.why_not(PEER).detail


@BOTH_WAYS
def test_a_service_name_is_enough(see, ours, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / f"{PEER}.pem").write_bytes(issued(AUTHORITY, [srv(f"_xmpp-server.{PEER}")]))
    identity = see(ours, trusting(folder))
    assert identity.proves(PEER)
    assert (f"_xmpp-server.{PEER}",) == identity.names
