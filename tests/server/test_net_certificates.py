"""The certificate folder: which one is shown, reloading, broken files."""

from __future__ import annotations

import resource
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509
from twisted.logger import LogEvent, capturedLogs, formatEvent

from refserver.app.certificates import Authority, Certificate, ensure
from refserver.net.certificates import Certificates, UnknownDomain
from refserver.net.mux import Mux
from refserver.net.trust import Trust

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
    assert [problem.file for problem in certificates.reload()] == [tmp_path / "a.example.pem"]
    assert (await shown(mux, certificates, "a.example"))[0] == "a.example"
    assert await shown(mux, certificates, "b.example") == ["b.example", "after"]


@pytest_twisted.ensureDeferred
async def test_one_broken_file_costs_its_domain_and_no_other(mux, tmp_path):
    ensure(tmp_path, [Certificate("a.example"), Certificate("b.example")])
    (tmp_path / "a.example.pem").write_text("nonsense")
    certificates = Certificates(tmp_path)
    assert [problem.domain for problem in certificates.problems] == ["a.example"]
    assert certificates.certificate("a.example") is None
    assert (await shown(mux, certificates, "b.example"))[0] == "b.example"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("harm", [lambda folder: folder.rename(folder.parent / "away"), shutil.rmtree])
async def test_certificates_stay_while_their_folder_is_missing(mux, tmp_path, harm):
    folder = tmp_path / "certs"
    ensure(folder, [Certificate("a.example")])
    certificates = Certificates(folder)
    harm(folder)
    (problem,) = certificates.reload()
    assert (problem.domain, str(problem)) == ("", f"{folder}: No such file or directory")
    assert (await shown(mux, certificates, "a.example"))[0] == "a.example"


@pytest_twisted.ensureDeferred
async def test_certificates_stay_while_their_folder_is_empty(mux, tmp_path):
    folder = tmp_path / "certs"
    ensure(folder, [Certificate("a.example")])
    certificates = Certificates(folder)
    shutil.rmtree(folder)
    folder.mkdir()  # where a file system is not mounted
    (problem,) = certificates.reload()
    assert (problem.domain, str(problem)) == ("", f"{folder}: there is no certificate in it")
    assert (await shown(mux, certificates, "a.example"))[0] == "a.example"


@pytest_twisted.ensureDeferred
async def test_the_files_of_one_domain_are_read_without_the_others(mux, tmp_path):
    ensure(tmp_path, [Certificate("a.example")])
    certificates = Certificates(tmp_path)
    (tmp_path / "a.example.pem").write_text("nonsense")
    ensure(tmp_path, [Certificate("b.example"), Certificate("c.example")])
    assert certificates.reload("b.example") == ()
    assert (await shown(mux, certificates, "b.example"))[0] == "b.example"
    assert certificates.certificate("a.example") is not None
    assert certificates.certificate("c.example") is None


def test_reading_again_takes_files_that_have_not_changed_from_memory(tmp_path):
    ensure(tmp_path, [Certificate("a.example"), Certificate("b.example")])
    certificates = Certificates(tmp_path)
    before = {each.domain: each for each in certificates}
    pem = tmp_path / "a.example.pem"
    pem.write_bytes(pem.read_bytes())
    certificates.reload()
    after = {each.domain: each for each in certificates}
    assert after["b.example"] is before["b.example"]
    assert after["a.example"] is not before["a.example"]


def test_thirty_contexts_share_one_store_of_authorities(tmp_path):
    """The system's authorities take 0.9 MB; thirty copies of them would be 27."""
    ensure(tmp_path, [Certificate(domain) for domain in domains(10)])
    certificates = Certificates(tmp_path, trust=Trust())
    before = resident()
    for domain in domains(10):
        certificates.context_for(domain, b"xmpp-server")
        certificates.client_context(domain, direct=True)
        certificates.client_context(domain, direct=False)
    assert resident() - before < 5_000_000


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest_twisted.ensureDeferred
async def test_a_name_without_certificate_is_logged_once_a_minute_and_names_of_no_host_never(mux, tmp_path):
    now = [0.0]
    ensure(tmp_path, [Certificate("a.example")])
    certificates = Certificates(tmp_path, clock=lambda: now[0])
    with capturedLogs() as logged:
        for asked in ("b.example", "b.example", "a.example", None):
            await shown(mux, certificates, asked)
        certificates.context_for("c.example")
        certificates.context_for("c.example")
        certificates.context_for("two words")
        certificates.context_for("line\nbreak")
    assert [f"no certificate for {each} in {tmp_path}" for each in ("b.example", "c.example")] == said(logged)
    now[0] = 61.0
    with capturedLogs() as logged:
        await shown(mux, certificates, "b.example")
    assert said(logged) == [f"no certificate for b.example in {tmp_path}"]


def said(logged: Sequence[LogEvent]) -> list[str]:
    return [str(formatEvent(event)) for event in logged if event["log_namespace"] == "refserver.net"]


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
    (problem,) = Certificates(tmp_path).problems
    assert (problem.domain, str(problem)) == ("a.example", f"{tmp_path}/a.example.pem: {reason}")


def test_an_unreadable_file_is_named_with_its_reason(tmp_path):
    (tmp_path / "a.example.pem").mkdir()
    (problem,) = Certificates(tmp_path).problems
    assert str(problem).endswith("a.example.pem: Is a directory")


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
    (problem,) = Certificates(tmp_path).problems
    assert problem.reason == "the private key is encrypted"


def of_a_kind_that_is_unknown() -> tuple[bytes, bytes]:
    """A key, and a certificate of it, on a curve that no TLS takes."""
    make = ["openssl", "ecparam", "-name", "SM2", "-genkey", "-noout"]
    key = subprocess.run(make, capture_output=True, check=True).stdout
    sign = ["openssl", "req", "-x509", "-key", "/dev/stdin", "-subj", "/CN=a.example", "-days", "9"]
    return key, subprocess.run(sign, input=key, capture_output=True, check=True).stdout


def test_a_key_of_an_unknown_kind_costs_its_domain_and_no_other(tmp_path):
    ensure(tmp_path, [Certificate("b.example")])
    (tmp_path / "a.example.pem").write_bytes(b"".join(of_a_kind_that_is_unknown()))
    certificates = Certificates(tmp_path)
    (problem,) = certificates.problems
    assert problem.reason == "the private key is of a kind that TLS does not use"
    assert certificates.certificate("b.example") is not None


def test_a_chain_may_hold_keys_of_unknown_kinds(tmp_path):
    file = tmp_path / "a.example.pem"
    file.write_bytes(Authority.new().issue(Certificate("a.example")) + of_a_kind_that_is_unknown()[1])
    assert Certificates(tmp_path).problems == ()


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
