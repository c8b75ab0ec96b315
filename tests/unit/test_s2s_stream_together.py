"""Two servers that talk to each other: every certificate, both policies, with TLS and without."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from refserver import ns
from refserver.errors import Cause, Condition, StreamFault
from refserver.jid import JID
from refserver.net.identity import PeerIdentity
from refserver.net.trust import Verification
from refserver.stanza import Stanza
from refserver.stream.events import Authenticated, Established, KeyToVerify, Refused, StreamClosed
from refserver.stream.policy import TLSInfo
from tests.unit.peer_certificates import dns, self_signed
from tests.unit.server_pair import OURS, PEER, Federation, message

KEY = ec.generate_private_key(ec.SECP256R1())


def seen(domain: str, names=None, error: int = 0) -> TLSInfo:
    """A session whose peer shows a certificate with `names`, of which OpenSSL says `error`."""
    certificate = self_signed(KEY, [dns(name) for name in ([domain] if names is None else names)])
    identity = PeerIdentity.shown(certificate, Verification(error, finished=True))
    return TLSInfo("TLSv1.3", proves=identity.proves, why_not=identity.why_not)


def of_kind(kind: str, domain: str) -> TLSInfo:
    """As `domain` could show it; the common name is peer.example in all of them."""
    return {
        "right": seen(domain),
        "wildcard": seen(domain, [domain, f"*.{domain}"]),
        "wrong name": seen(domain, ["elsewhere.example"]),
        "common name only": seen(domain, ["*"]),  # a name that is of no use
        "expired": seen(domain, error=10),
        "unknown authority": seen(domain, error=20),
        "none": TLSInfo("TLSv1.3"),
    }[kind]


BAD = {
    "wrong name": "the certificate is not for this domain: it is for elsewhere.example",
    "common name only": "the certificate is not for this domain: it names no server",
    "expired": "the certificate has expired",
    "unknown authority": "the certificate was signed by an authority that is not trusted here",
    "none": "no certificate was shown",
}
GOOD = ("right", "wildcard")


@pytest.mark.parametrize("dialback", [False, True], ids=["certificate", "dialback"])
@pytest.mark.parametrize("kind", GOOD)
def test_a_good_certificate_is_proof_by_either_policy(kind, dialback):
    both = Federation(of_kind(kind, PEER), dialback=dialback)
    proved = Established(PEER, OURS, "certificate")
    assert [Authenticated(JID.parse(PEER), "EXTERNAL"), proved] == both.ours.events[1:]
    assert [proved] == both.theirs.events[1:]
    assert both.theirs.stream.carries(PEER, OURS)
    assert "mia" in str(both.deliver(message())[0].to)


@pytest.mark.parametrize("kind", BAD)
def test_by_certificates_only_a_bad_one_is_refused_with_the_reason(kind):
    both = Federation(of_kind(kind, PEER))
    reason = BAD[kind].format(PEER)
    assert "not-authorized" == both.ours.condition
    assert both.ours.events[-1].error.text.startswith(reason)
    refused, closed = both.theirs.events[1:]
    assert (PEER, OURS, True) == (refused.from_, refused.to, refused.permanent)
    assert reason in str(refused.fault)
    assert Condition.REMOTE_SERVER_NOT_FOUND is refused.condition
    assert StreamClosed("not-authorized") == closed
    assert not both.deliver(message())


@pytest.mark.parametrize("kind", BAD)
def test_with_dialback_a_bad_certificate_is_made_up_for_by_a_key(kind):
    both = Federation(of_kind(kind, PEER), dialback=True)
    assert not both.ours.of(Authenticated)
    assert 1 == len(both.ours.of(KeyToVerify))
    assert Established(PEER, OURS, "dialback") == both.ours.events[-1] == both.theirs.events[-1]
    assert both.deliver(message())


@pytest.mark.parametrize("kind", BAD)
def test_with_dialback_a_bad_certificate_and_a_bad_key_are_refused(kind):
    both = Federation(of_kind(kind, PEER), liar=True, dialback=True)
    assert "not-authorized" == both.ours.condition
    refused = both.theirs.of(Refused)
    assert [Cause.OUR_KEY_REFUSED] == [each.fault.cause for each in refused]
    assert Condition.INTERNAL_SERVER_ERROR is refused[0].condition  # XEP-0220 2.1.1
    assert not both.ours.of(Established)
    assert not both.deliver(message())


@pytest.mark.parametrize("kind", BAD)
def test_by_certificates_only_we_do_not_talk_to_a_server_with_a_bad_one(kind):
    both = Federation(our_proof=of_kind(kind, OURS))
    refused, closed = both.theirs.events[1:]
    assert refused.permanent
    assert str(refused.fault).startswith(BAD[kind].format(OURS))
    assert StreamClosed() == closed
    assert not both.ours.of(Established)


@pytest.mark.parametrize("kind", BAD)
def test_with_dialback_dns_is_believed(kind):
    both = Federation(our_proof=of_kind(kind, OURS), dialback=True)
    assert Established(PEER, OURS, "certificate") == both.theirs.events[-1]


@pytest.mark.parametrize("dialback", [False, True], ids=["certificate", "dialback"])
def test_a_server_that_offers_no_tls_is_refused(dialback):
    both = Federation(offer_tls=False, dialback=dialback)
    assert [Refused(PEER, OURS, StreamFault(Cause.NO_TLS), True, Condition.REMOTE_SERVER_NOT_FOUND)] == (
        both.theirs.of(Refused)
    )
    assert StreamClosed() == both.theirs.events[-1] == both.ours.events[-1]


def test_a_peer_that_only_has_dialback_is_refused_by_one_with_certificates_only():
    both = Federation(TLSInfo("TLSv1.3"), theirs={"dialback": True})
    assert "not-authorized" == both.ours.condition
    assert Cause.NO_CERTIFICATE == both.theirs.of(Refused)[0].fault.said


def test_where_our_certificate_is_not_taken_and_dialback_is_not_ours_we_leave():
    both = Federation(of_kind("expired", PEER), theirs={"dialback": False}, dialback=True)
    assert [Cause.OUR_CERTIFICATE_REFUSED] == [each.fault.cause for each in both.theirs.of(Refused)]
    assert not both.ours.of(Established)


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
@pytest.mark.parametrize("dialback", [False, True], ids=["certificate", "dialback"])
def test_how_the_bytes_are_cut_changes_nothing(chunk, dialback):
    kind = "expired" if dialback else "right"
    both = Federation(of_kind(kind, PEER), chunk=chunk, dialback=dialback)
    assert Established(PEER, OURS, "dialback" if dialback else "certificate") == both.theirs.events[-1]


def test_stanzas_flow_when_the_stream_is_established():
    both = Federation()
    stanza = Stanza.message(JID.parse(f"mia@{OURS}"), JID.parse(f"pat@{PEER}/home"), body="Ist das <gut>?")
    (received,) = both.deliver(stanza.encode(ns.SERVER))
    assert ("Ist das <gut>?", stanza.to, stanza.from_) == (received.body, received.to, received.from_)


def test_both_close_in_order():
    both = Federation()
    both.theirs.walk(both.theirs.stream.close())
    assert not both.theirs.of(StreamClosed)
    both.run()
    assert StreamClosed() == both.ours.events[-1] == both.theirs.events[-1]
    assert both.ours.stream.closed
    assert both.theirs.stream.closed
