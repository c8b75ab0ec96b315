"""The certificate folder: which one is shown, reloading, broken files."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509

from refserver.app.certificates import Authority, Certificate, ensure
from refserver.net import BrokenCertificates, Certificates, Mux, UnknownDomain

from .loopback import in_thread, meet, reactor


@pytest.fixture
def mux() -> Iterator[Mux]:
    """A multiplexer on the real reactor."""
    multiplexer = Mux(reactor)
    multiplexer.start()
    yield multiplexer
    pytest_twisted.blockon(multiplexer.stop(0.2))


async def shown(mux: Mux, certificates: Certificates, asked: str | None, domain: str = "") -> list[str]:
    """The names in the certificate a client is shown when it asks for `asked`."""
    connection, _, sock = meet(mux)
    connection.start_tls(certificates.context_for(domain))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    secure = await in_thread(lambda: client.wrap_socket(sock, server_hostname=asked))
    der = secure.getpeercert(binary_form=True)
    assert der is not None
    secure.close()
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.DNSName)


def domains(count: int) -> list[str]:
    return [f"library{number:02d}.example" for number in range(count)]


@pytest_twisted.ensureDeferred
async def test_each_of_twenty_domains_is_shown_its_own_certificate(mux, tmp_path):
    ensure(tmp_path, [Certificate(domain) for domain in domains(20)])
    certificates = Certificates(tmp_path)
    for domain in domains(20):
        assert domain in await shown(mux, certificates, domain)
        assert domain in await shown(mux, certificates, domain.upper())
    assert [each.domain for each in certificates] == domains(20)


@pytest_twisted.ensureDeferred
async def test_a_name_with_one_label_more_uses_the_domains_certificate_unless_it_has_its_own(mux, tmp_path):
    ensure(tmp_path, [Certificate("a.example"), Certificate("b.example"), Certificate("rooms.b.example")])
    certificates = Certificates(tmp_path)
    assert (await shown(mux, certificates, "rooms.a.example"))[0] == "a.example"
    assert (await shown(mux, certificates, "rooms.b.example"))[0] == "rooms.b.example"
    assert (await shown(mux, certificates, "upload.b.example"))[0] == "b.example"


@pytest_twisted.ensureDeferred
async def test_an_unknown_or_missing_name_gets_the_certificate_of_the_context(mux, tmp_path):
    ensure(tmp_path, [Certificate("a.example"), Certificate("b.example"), Certificate("c.example")])
    certificates = Certificates(tmp_path, "b.example")
    assert (await shown(mux, certificates, "elsewhere.test"))[0] == "b.example"
    assert (await shown(mux, certificates, None))[0] == "b.example"
    assert (await shown(mux, certificates, None, "c.example"))[0] == "c.example"
    assert (await shown(mux, Certificates(tmp_path), None))[0] == "a.example"
    assert (await shown(mux, certificates, "a.example", "c.example"))[0] == "a.example"


@pytest_twisted.ensureDeferred
async def test_an_international_domain_is_found_by_either_form_of_its_name(mux, tmp_path):
    ensure(tmp_path, [Certificate("bücherei.example"), Certificate("a.example")])
    certificates = Certificates(tmp_path)
    assert (await shown(mux, certificates, "xn--bcherei-n2a.example"))[0] == "xn--bcherei-n2a.example"
    assert (await shown(mux, certificates, None, "bücherei.example"))[0] == "xn--bcherei-n2a.example"


@pytest_twisted.ensureDeferred
async def test_reload_shows_new_connections_what_is_there_now(mux, tmp_path):
    ensure(tmp_path, [Certificate("a.example", names=("a.example", "before"))])
    certificates = Certificates(tmp_path)
    assert await shown(mux, certificates, "a.example") == ["a.example", "before"]
    ensure(tmp_path, [Certificate("a.example", names=("a.example", "after")), Certificate("b.example")])
    assert await shown(mux, certificates, "a.example") == ["a.example", "before"]
    certificates.reload()
    assert await shown(mux, certificates, "a.example") == ["a.example", "after"]
    assert (await shown(mux, certificates, "b.example"))[0] == "b.example"
    (tmp_path / "b.example.pem").unlink()
    certificates.reload()
    assert (await shown(mux, certificates, "b.example")) == ["a.example", "after"]


@pytest_twisted.ensureDeferred
async def test_a_broken_file_keeps_its_domains_certificate_and_the_others_are_renewed(mux, tmp_path):
    ensure(tmp_path, [Certificate("a.example"), Certificate("b.example", names=("b.example", "before"))])
    certificates = Certificates(tmp_path)
    (tmp_path / "a.example.pem").write_text("nonsense")
    ensure(tmp_path, [Certificate("b.example", names=("b.example", "after"))])
    with pytest.raises(BrokenCertificates) as caught:
        certificates.reload()
    assert [problem.file for problem in caught.value.problems] == [tmp_path / "a.example.pem"]
    assert (await shown(mux, certificates, "a.example"))[0] == "a.example"
    assert await shown(mux, certificates, "b.example") == ["b.example", "after"]


def own_and_foreign(folder: Path) -> tuple[bytes, bytes]:
    """The key of one certificate and the chain of another."""
    authority = Authority.kept_in(folder)
    key = authority.issue(Certificate("a.example")).partition(b"-----BEGIN CERTIFICATE")[0]
    chain = authority.issue(Certificate("a.example"))
    return key, chain[chain.index(b"-----BEGIN CERTIFICATE") :]


@pytest.mark.parametrize(
    "content, reason",
    [
        (lambda key, chain: b"", "there is no private key in it that can be read"),
        (lambda key, chain: chain, "there is no private key in it that can be read"),
        (lambda key, chain: key, "there is no certificate in it that can be read"),
        (lambda key, chain: key + chain, "no certificate in it belongs to the private key"),
        (lambda key, chain: key[:100] + chain, "there is no private key in it that can be read"),
    ],
)
def test_a_broken_file_is_named_with_its_reason(tmp_path, content, reason):
    (tmp_path / "a.example.pem").write_bytes(content(*own_and_foreign(tmp_path)))
    with pytest.raises(BrokenCertificates) as caught:
        Certificates(tmp_path)
    assert str(caught.value) == f"{tmp_path}/a.example.pem: {reason}"


def test_an_unreadable_file_is_named_with_its_reason(tmp_path):
    (tmp_path / "a.example.pem").mkdir()
    with pytest.raises(BrokenCertificates, match=r"a\.example\.pem: Is a directory"):
        Certificates(tmp_path)


def test_an_encrypted_key_is_named_as_the_reason(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "a.example.pem").write_bytes(pem)
    with pytest.raises(BrokenCertificates, match="the private key is encrypted"):
        Certificates(tmp_path)


def test_key_and_chain_may_stand_in_any_order(tmp_path):
    pem = Authority.new().issue(Certificate("a.example"))
    blocks = [b"-----BEGIN " + block for block in pem.split(b"-----BEGIN ")[1:]]
    (tmp_path / "a.example.pem").write_bytes(b"".join(reversed(blocks)))
    found = Certificates(tmp_path).certificate("a.example")
    assert found is not None
    assert found.names[0] == "a.example"
    assert len(found.chain) == 2


def test_without_certificates_there_is_no_context(tmp_path):
    with pytest.raises(UnknownDomain):
        Certificates(tmp_path).context_for("a.example")


def test_a_certificate_says_until_when_and_for_which_names_it_is_valid(tmp_path):
    ensure(tmp_path, [Certificate("a.example", names=("a.example", "*.a.example"), days=60)])
    certificate = Certificates(tmp_path).certificate("rooms.a.example")
    assert certificate is not None
    assert abs(certificate.expires - datetime.now(UTC) - timedelta(days=60)) < timedelta(hours=2)
    assert certificate.names == ("a.example", "*.a.example")
    assert certificate.covers("a.example")
    assert certificate.covers("rooms.a.example")
    assert not certificate.covers("b.example")
    assert not certificate.covers("deep.rooms.a.example")
