"""The names in a certificate, and the domains they stand for."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from refserver.errors import Cause
from refserver.net.identity import PeerIdentity
from refserver.net.trust import Verification
from tests.unit.peer_certificates import SRV_NAME, dns, self_signed, srv

KEY = ec.generate_private_key(ec.SECP256R1())
XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")


def identity(*names: x509.GeneralName) -> PeerIdentity:
    return PeerIdentity.shown(self_signed(KEY, names), Verification(error=0, finished=True))


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        (dns("peer.example"), "peer.example"),
        (dns("PEER.Example"), "peer.example"),
        (dns("*.peer.example"), "rooms.peer.example"),
        (dns("xn--strae-oqa.example"), "straße.example"),
        (dns("localhost"), "localhost"),
        (srv("_xmpp-server.peer.example"), "peer.example"),
        (srv("_XMPP-Server.Peer.example"), "peer.example"),
        (srv("_xmpp-server.xn--strae-oqa.example"), "straße.example"),
    ],
)
def test_a_name_proves_its_domain(name, domain):
    assert identity(name).proves(domain)
    assert identity(name).proves(domain)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        (dns("peer.example"), "rooms.peer.example"),
        (dns("peer.example"), "xpeer.example"),
        (dns("peer.example"), "peer.example.evil.test"),
        (dns("*.peer.example"), "peer.example"),
        (dns("*.peer.example"), "a.b.peer.example"),
        (dns("rooms.*.example"), "rooms.peer.example"),
        (dns("ro*.peer.example"), "rooms.peer.example"),
        (dns("*s.peer.example"), "rooms.peer.example"),
        (dns("*.*.example"), "rooms.peer.example"),
        (dns("*.example"), "peer.example"),
        (dns("*"), "example"),
        (dns("peer.example\0.evil.test"), "peer.example"),
        (dns("peer.example."), "peer.example"),
        (dns(""), "peer.example"),
        (dns("127.0.0.1"), "127.0.0.1"),
        (srv("_xmpp-client.peer.example"), "peer.example"),
        (srv("_https.peer.example"), "peer.example"),
        (srv("_xmpp-server.*.example"), "peer.example"),
        (srv("_xmpp-server.peer.example"), "rooms.peer.example"),
        (srv("peer.example"), "peer.example"),
        (srv(""), "peer.example"),
        (x509.OtherName(XMPP_ADDR, b"\x0c\x0cpeer.example"), "peer.example"),
        (x509.OtherName(SRV_NAME, b"\x0c\x02pe"), "peer.example"),
        (x509.UniformResourceIdentifier("xmpp:peer.example"), "peer.example"),
        (x509.RFC822Name("root@peer.example"), "peer.example"),
    ],
)
def test_a_name_proves_nothing_else(name, domain):
    found = identity(name)
    assert not found.proves(domain)
    assert found.why_not(domain).cause is Cause.WRONG_NAME


def test_a_useless_name_does_not_spoil_the_others():
    names = dns("*.localhost"), srv(""), dns("10.0.0.1"), dns("peer.example")
    assert identity(*names).proves("peer.example")


def test_the_common_name_is_not_looked_at():
    assert not identity(dns("elsewhere.example")).proves("peer.example")  # which is its common name


@pytest.mark.parametrize(
    "domain", ["", "[::1]", "127.0.0.1", "a" * 64 + ".example", "no spaces", "*.peer.example"]
)
def test_what_no_certificate_can_name_is_not_proved(domain):
    assert not identity(dns("peer.example"), dns("*.peer.example")).proves(domain)


def test_a_chain_with_an_error_proves_nothing():
    certificate = self_signed(KEY)
    for found in (None, Verification(), Verification(10, True), Verification(10, False)):
        assert not PeerIdentity.shown(certificate, found).proves("peer.example")


def test_of_a_certificate_that_proves_nothing_few_names_are_read():
    """Anybody can make one with thousands; of one that proves something all count."""
    names = [dns(f"n{number}.example") for number in range(300)]
    certificate = self_signed(KEY, names)
    assert 100 == len(PeerIdentity.shown(certificate, Verification(error=18, finished=True)).names)
    assert 100 == len(PeerIdentity.shown(certificate, Verification(error=0, finished=False)).names)
    assert PeerIdentity.shown(certificate, Verification(error=0, finished=True)).proves("n299.example")
    assert PeerIdentity.shown(certificate, None).names_domain("n299.example")


def test_an_error_without_words_of_ours_has_openssls():
    found = PeerIdentity.shown(self_signed(KEY), Verification(7, True))
    assert "the certificate is not valid: certificate signature failure" == str(found.error)


def test_the_reason_names_only_so_many_names():
    found = identity(*(dns(f"host{number}.example") for number in range(100)))
    assert len(str(found.why_not("peer.example"))) < 300


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.text("a*.-_\0", max_size=20).map(dns), st.text("a*._", max_size=20).map(srv)), min_size=1
    )
)
def test_no_name_makes_an_exception_or_a_proof(names):
    assert not identity(*names).proves("peer.example")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_no_domain_makes_an_exception(domain):
    found = identity(dns("peer.example"))
    assert found.proves(domain) == (domain.lower() == "peer.example")
