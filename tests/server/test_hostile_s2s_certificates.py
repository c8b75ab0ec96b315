"""Whom we believe what: certificates good and bad, both policies, both directions, over real TLS.

The table stands in docs/federation.md too. A server that has no good certificate is refused, or, where
`[s2s] authentication` is "dialback", must prove its domain by dialback.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from refserver.app.certificates import Authority, Certificate
from refserver.s2s.dialback import MOST_KEYS, MOST_KEYS_FROM_ONE, MOST_KEYS_OF_ONE
from refserver.s2s.inbound_limits import InboundLimits
from tests.server.live import STARTTLS, STREAMS
from tests.server.strangers import (
    LIBRARY,
    OFFER_DIALBACK,
    OFFER_EXTERNAL,
    SUCCESS,
    Stranger,
    Town,
    dialback,
    external,
    message,
)
from tests.unit.peer_certificates import dns, issued, self_signed, srv

NOW = datetime.now(UTC).replace(microsecond=0)
XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
Maker = Callable[[Authority, str], bytes | Certificate]


def named(*names: str) -> Maker:
    """DNS names; {} is the stranger's domain."""
    return lambda authority, domain: issued(authority, [dns(name.format(domain)) for name in names])


def dated(start: timedelta, days: int) -> Maker:
    return lambda authority, domain: Certificate(domain, start=NOW + start, days=days)


def services(*names: str) -> Maker:
    return lambda authority, domain: issued(authority, [srv(name.format(domain)) for name in names])


def address(authority: Authority, domain: str) -> bytes:
    name = domain.encode()
    return issued(authority, [x509.OtherName(XMPP_ADDR, bytes([0x0C, len(name)]) + name)])


def alone(authority: Authority, domain: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + self_signed(key, [dns(domain)]).public_bytes(serialization.Encoding.PEM)


GOOD = ("certificate", "certificate", "")
CERTIFICATES: dict[str, tuple[Maker, tuple[str, str, str]]] = {
    "right": (lambda authority, domain: Certificate(domain), GOOD),
    "right, among other names": (named("a.example", "{}", "b.example"), GOOD),
    "wildcard left-most": (named("*.town.example"), GOOD),
    "SRV-ID": (services("_xmpp-server.{}"), GOOD),
    "wrong name": (named("other.example"), ("refused", "dialback", "is not for")),
    "the name of its parent": (named("town.example"), ("refused", "dialback", "is not for")),
    "the name of its child": (named("xmpp.{}"), ("refused", "dialback", "is not for")),
    "wildcard two labels up": (named("*.example"), ("refused", "dialback", "names no server")),
    "wildcard in the middle": (named("n.*.example"), ("refused", "dialback", "names no server")),
    "wildcard in part of a label": (named("n*.town.example"), ("refused", "dialback", "is not for")),
    "CN only": (
        lambda authority, domain: Certificate(domain, common_name_only=True),
        ("refused", "dialback", "names no server"),
    ),
    "SRV-ID of clients": (services("_xmpp-client.{}"), ("refused", "dialback", "is not for")),
    "XmppAddr": (address, ("refused", "dialback", "names no server")),
    "expired": (dated(timedelta(days=-9), 8), ("refused", "dialback", "has expired")),
    "not yet valid": (dated(timedelta(days=2), 9), ("refused", "dialback", "is not valid yet")),
    "unknown CA": (
        lambda authority, domain: Authority.new("unknown").issue(Certificate(domain)),
        ("refused", "dialback", "authority that is not trusted"),
    ),
    "self-signed": (alone, ("refused", "dialback", "is self-signed")),
    "for mail only": (
        lambda authority, domain: issued(authority, [dns(domain)], usages=("mail",)),
        ("refused", "dialback", "not one for servers"),
    ),
}
POLICIES = {"certificate": "town", "dialback": "believing_town"}


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def among(request: pytest.FixtureRequest, policy: str) -> Iterator[Town]:
    town: Town = request.getfixturevalue(POLICIES[policy])
    with town.unharmed():
        yield town


def shown(town: Town, stranger: Stranger, make: Maker) -> Path:
    made = make(Authority.kept_in(town.folder), stranger.domain)
    if isinstance(made, Certificate):
        return town.certificate(made)
    file = town.folder / f"{stranger.domain}.pem"
    file.write_bytes(made)
    return file


def come(stranger: Stranger, certificate: Path | None) -> tuple[str, str]:
    """Connect to us and do what can be done: by which method it was accepted, or why not."""
    stream = stranger.opened()
    stream.send(STARTTLS)
    stream.expect(b"<proceed [^>]*/>")
    stream.secure(certificate=certificate)
    try:
        features = stream.open()
    except AssertionError:
        return "refused", stream.failed("not-authorized").findtext(f"{STREAMS}text") or ""
    if b"<mechanism>EXTERNAL</mechanism>" in features:
        stream.external()
        method = "certificate"
    else:
        stream.send(external())
        stream.expect(b"<invalid-mechanism/></failure>")
        with stranger.at_home() as door:
            stream.send(dialback("result", stranger.domain, LIBRARY, "key"))
            door.answer().verdict("valid", certificate)
        stream.expect(b"<db:result [^>]*type='valid'")
        method = "dialback"
    stream.send(message(f"pat@{stranger.domain}") + b"</stream:stream>")
    assert b"error" not in stream.closed()
    return method, ""


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_server_that_comes_to_us(among: Town, policy: str, name: str) -> None:
    make, (by_certificate, by_dialback, why_not) = CERTIFICATES[name]
    stranger = among.stranger()
    method, reason = come(stranger, shown(among, stranger, make))
    assert {"certificate": by_certificate, "dialback": by_dialback}[policy] == method
    assert why_not in reason or method == "dialback"


def test_a_server_that_comes_to_us_without_a_certificate(among: Town, policy: str) -> None:
    method, reason = come(among.stranger(), None)
    wanted = {"certificate": ("refused", "no certificate was shown"), "dialback": ("dialback", "")}
    assert wanted[policy] == (method, reason)


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_server_that_we_go_to(among: Town, policy: str, name: str) -> None:
    """One whose certificate is bad is left before a word is said, and mia is told; or DNS is believed."""
    make, (by_certificate, by_dialback, why_not) = CERTIFICATES[name]
    stranger = among.stranger()
    certificate = shown(among, stranger, make)
    with stranger.at_home() as door:
        among.write_to(stranger)
        visit = door.answer()
        visit.shake_hands(certificate)
        if {"certificate": by_certificate, "dialback": by_dialback}[policy] == "refused":
            assert b"" == visit.closed()
            assert "remote-server-not-found" == among.returned(stranger)
            told = f"no stream to {stranger.domain}: the certificate "
            assert any(told in line and why_not in line for line in among.server.process.log.splitlines())
            return
        visit.greeted()
        if by_certificate == "certificate":
            visit.answer(OFFER_EXTERNAL)
            visit.expect(rb"</auth>")
            visit.send(SUCCESS)
            visit.greeted()
            visit.answer()
        else:
            visit.answer(OFFER_DIALBACK)
            visit.expect(rb"<db:result [^>]*>[^<]+</db:result>")
            visit.send(dialback("result", stranger.domain, LIBRARY, type="valid"))
        assert stranger.domain.encode() in visit.expect(b"</message>")


# -- no TLS ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "answer"),
    [
        (external(), b"<encryption-required/>"),
        (dialback("result", "{0}", LIBRARY, "key"), b"<policy-violation "),
        (dialback("verify", "{0}", LIBRARY, "key", id="1"), b"<policy-violation "),
    ],
)
def test_without_tls_there_is_no_proof(among: Town, attempt: bytes, answer: bytes) -> None:
    """By no policy: neither is a key looked at nor a question about one answered."""
    stranger = among.stranger()
    with stranger.at_home() as door:
        stream = stranger.opened()
        stream.send(attempt.replace(b"{0}", stranger.domain.encode()))
        assert answer in stream.expect(rb"</failure>|</db:[a-z]+>")
        stream.send(message(f"pat@{stranger.domain}"))
        stream.failed("not-authorized")
        assert 0 == door.visitors()


# -- the document ------------------------------------------------------------------------------


def test_operators_read_this_table() -> None:
    """docs/federation.md has the same rows, and two more: no certificate, and no TLS."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "federation.md").read_text()
    rows = dict(re.findall(r"^\| ([^|`]+?) \| ((?:certificate|refused) \| [a-z]+) \|$", text, re.MULTILINE))
    wanted = {name: f"{by[0]} | {by[1]}" for name, (_, by) in CERTIFICATES.items()}
    more = {
        "none at all (of who comes to us)": "refused | dialback",
        "a server without TLS": "refused | refused",
    }
    assert more == {name: row for name, row in rows.items() if wanted.get(name) != row}
    assert set(wanted) <= set(rows)
    limits = InboundLimits()
    for one, together in (
        (limits.stanzas_per_minute, limits.domain_stanzas_per_minute),
        (limits.subscriptions_per_hour, limits.domain_subscriptions_per_hour),
        (limits.conversations_per_hour, limits.domain_conversations_per_hour),
        (MOST_KEYS, f"{MOST_KEYS_FROM_ONE}, {MOST_KEYS_OF_ONE}"),
    ):
        assert f"| {one}, {together if isinstance(together, str) else f'{together:,}'} |" in text
