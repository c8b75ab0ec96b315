"""Certificates for demos and tests, judged as a client would: by a TLS handshake with verification."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from refserver.app.certificates import Authority, Certificate, ensure, main

OTHER_NAME = x509.OtherName


def handshake(folder: Path, file: str, name: str, authority: str = "ca.pem") -> None:
    """Connect a verifying client to a server with `file`, in memory; raises what the client raises."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / file)
    client_context = ssl.create_default_context(cafile=str(folder / authority))
    client_context.hostname_checks_common_name = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert "TLSv1.3" == client.version()


@pytest.mark.parametrize("name", ["library.example", "rooms.library.example", "any.library.example"])
def test_a_library_is_trusted_for_itself_and_its_services(tmp_path: Path, name: str) -> None:
    ensure(tmp_path, [Certificate("library.example")])
    handshake(tmp_path, "library.example.pem", name)


@pytest.mark.parametrize("name", ["localhost", "rooms.localhost", "upload.localhost"])
def test_localhost_is_trusted_although_no_wildcard_is_allowed_there(tmp_path: Path, name: str) -> None:
    ensure(tmp_path, [Certificate("localhost")])
    handshake(tmp_path, "localhost.pem", name)


def test_an_international_domain_is_certified_in_ascii(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate("straße.example")])
    handshake(tmp_path, "straße.example.pem", "xn--strae-oqa.example")


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        (Certificate("a.example", names=("b.example",)), "Hostname mismatch"),
        (Certificate("a.example", common_name_only=True), "Hostname mismatch"),
        (
            Certificate("a.example", start=datetime.now(UTC) - timedelta(days=3), days=2),
            "certificate has expired",
        ),
        (Certificate("a.example", start=datetime.now(UTC) + timedelta(days=1)), "not yet valid"),
    ],
)
def test_a_bad_certificate_is_refused(tmp_path: Path, wanted: Certificate, refusal: str) -> None:
    ensure(tmp_path, [wanted])
    with pytest.raises(ssl.SSLCertVerificationError, match=refusal):
        handshake(tmp_path, "a.example.pem", "a.example")


def test_another_authority_is_not_trusted(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate("a.example")])
    (tmp_path / "other.pem").write_bytes(Authority.new().pem)
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(tmp_path, "a.example.pem", "a.example", authority="other.pem")


def test_xmpp_names_are_service_names_and_an_address(tmp_path: Path) -> None:
    ensure(tmp_path, [Certificate("a.example", xmpp_names=True)])
    found = x509.load_pem_x509_certificate((tmp_path / "a.example.pem").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    others = {(name.type_id.dotted_string, name.value) for name in names.get_values_for_type(OTHER_NAME)}
    assert others == {
        ("1.3.6.1.5.5.7.8.7", b"\x16\x16_xmpp-client.a.example"),
        ("1.3.6.1.5.5.7.8.7", b"\x16\x16_xmpp-server.a.example"),
        ("1.3.6.1.5.5.7.8.5", b"\x0c\x09a.example"),
    }
    handshake(tmp_path, "a.example.pem", "a.example")


def test_an_xmpp_name_too_long_for_its_encoding_is_refused() -> None:
    domain = ".".join(["x" * 60] * 3)
    with pytest.raises(ValueError, match="too long"):
        Certificate(domain, xmpp_names=True).alternative_names()


class TestFolder:
    def test_keys_are_readable_by_their_owner_only(self, tmp_path: Path) -> None:
        ensure(tmp_path, [Certificate("a.example")])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert {"ca.key": 0o600, "ca.pem": 0o644, "a.example.pem": 0o600} == modes

    def test_a_second_call_changes_nothing(self, tmp_path: Path) -> None:
        wanted = [Certificate("a.example", xmpp_names=True), Certificate("c.example", common_name_only=True)]
        assert tmp_path / "ca.pem" == ensure(tmp_path, wanted)
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        ensure(tmp_path, wanted)
        assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def test_a_further_domain_is_signed_by_the_same_authority(self, tmp_path: Path) -> None:
        ensure(tmp_path, [Certificate("a.example")])
        ensure(tmp_path, [Certificate("b.example")])
        handshake(tmp_path, "a.example.pem", "a.example")
        handshake(tmp_path, "b.example.pem", "b.example")

    @pytest.mark.parametrize(
        "earlier",
        [
            Certificate("a.example", days=29),
            Certificate("a.example", names=("b.example",)),
            Certificate("a.example", common_name_only=True),
        ],
    )
    def test_what_will_not_serve_is_made_anew(self, tmp_path: Path, earlier: Certificate) -> None:
        ensure(tmp_path, [earlier])
        ensure(tmp_path, [Certificate("a.example")])
        handshake(tmp_path, "a.example.pem", "a.example")

    def test_a_lost_authority_takes_its_certificates_with_it(self, tmp_path: Path) -> None:
        ensure(tmp_path, [Certificate("a.example")])
        (tmp_path / "ca.key").unlink()
        ensure(tmp_path, [Certificate("a.example")])
        handshake(tmp_path, "a.example.pem", "a.example")


class TestCommand:
    def test_it_makes_a_file_for_each_domain(self, tmp_path: Path) -> None:
        outcome = CliRunner().invoke(main, [str(tmp_path / "new"), "a.example", "b.example"])
        assert (outcome.exit_code, outcome.output) == (
            0,
            f"{tmp_path / 'new'}: a.example.pem, b.example.pem, signed by ca.pem\n",
        )
        handshake(tmp_path / "new", "b.example.pem", "rooms.b.example")

    def test_it_makes_an_expired_one_on_request(self, tmp_path: Path) -> None:
        assert CliRunner().invoke(main, [str(tmp_path), "a.example", "--expired"]).exit_code == 0
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            handshake(tmp_path, "a.example.pem", "a.example")

    def test_it_makes_one_for_another_name_on_request(self, tmp_path: Path) -> None:
        assert CliRunner().invoke(main, [str(tmp_path), "a.example", "--name", "b.example"]).exit_code == 0
        handshake(tmp_path, "a.example.pem", "b.example")
