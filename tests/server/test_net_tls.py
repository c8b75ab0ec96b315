"""TLS over real sockets, against the standard library's client and pyOpenSSL's."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from refserver.app.certificates import Certificate, ensure
from refserver.net.certificates import XMPP_SERVER, Certificates
from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.net.tls import end_point_hash, server_name

from .loopback import Recorder, in_thread, meet, open_door, reactor, read_exactly, read_to_end, turn, until

DOMAIN = "library.example"


@pytest.fixture
def mux() -> Iterator[Mux]:
    """A multiplexer on the real reactor."""
    multiplexer = Mux(reactor)
    multiplexer.start()
    yield multiplexer
    pytest_twisted.blockon(multiplexer.stop(0.2))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for DOMAIN and its authority in ca.pem."""
    path = tmp_path_factory.mktemp("certificates")
    ensure(path, [Certificate(DOMAIN)])
    return path


@pytest.fixture(scope="session")
def certificates(folder: Path) -> Certificates:
    return Certificates(folder)


@pytest.fixture(scope="session")
def trusting(folder: Path) -> ssl.SSLContext:
    """A client that verifies chain and name."""
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def shake(context: ssl.SSLContext, sock: socket.socket, name: str = DOMAIN) -> ssl.SSLSocket:
    return context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)


async def meet_tls(
    mux: Mux, certificates: Certificates, client: ssl.SSLContext, **options: int
) -> tuple[Connection, Recorder, ssl.SSLSocket]:
    """A connection on which the handshake is done."""
    connection, recorder, sock = meet(mux, **options)
    connection.start_tls(certificates.context_for(DOMAIN))
    secure = await in_thread(lambda: shake(client, sock))
    await recorder.until(lambda: recorder.is_secure)
    return connection, recorder, secure


# -- the handshake and what may be asked about it


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest_twisted.ensureDeferred
async def test_a_verifying_client_is_served(mux, certificates, folder, version):
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.minimum_version = client.maximum_version = version
    client.set_alpn_protocols(["http/1.1", "xmpp-client"])
    connection, recorder, secure = await meet_tls(mux, certificates, client)
    recorder.on_data = connection.send
    await in_thread(lambda: secure.sendall(b"over the wire"))
    assert (await in_thread(lambda: read_exactly(secure, 13))) == b"over the wire"
    assert recorder.tls.version == secure.version()
    assert recorder.tls.alpn == secure.selected_alpn_protocol() == "xmpp-client"
    secure.close()


@pytest_twisted.ensureDeferred
async def test_the_accept_callback_may_start_tls_at_once(mux, certificates, trusting):
    door = await open_door(mux, lambda c, recorder: c.start_tls(certificates.context_for(DOMAIN)))
    secure = await in_thread(lambda: shake(trusting, door.dial()))
    await in_thread(lambda: secure.sendall(b"direct"))
    await until(lambda: bytes(door.recorders[0].data) == b"direct")
    secure.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
@pytest_twisted.ensureDeferred
async def test_old_versions_are_refused(mux, certificates, folder):
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    connection, recorder, sock = meet(mux)
    connection.start_tls(certificates.context_for(DOMAIN))
    with pytest.raises(ssl.SSLError):
        await in_thread(lambda: shake(client, sock))
    await recorder.until_lost()
    assert recorder.reason.startswith("TLS handshake: ")


@pytest_twisted.ensureDeferred
async def test_another_application_protocol_is_refused(mux, certificates, folder):
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.set_alpn_protocols(["http/1.1"])
    connection, recorder, sock = meet(mux)
    connection.start_tls(certificates.context_for(DOMAIN))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        await in_thread(lambda: shake(client, sock))
    await recorder.until_lost()
    assert recorder.reason == "TLS handshake: no application protocol in common"


@pytest_twisted.ensureDeferred
async def test_each_context_speaks_its_own_application_protocol(mux, certificates, folder):
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.set_alpn_protocols(["xmpp-client", "xmpp-server"])
    connection, _, sock = meet(mux)
    connection.start_tls(certificates.context_for("", XMPP_SERVER))
    secure = await in_thread(lambda: shake(client, sock))
    assert secure.selected_alpn_protocol() == "xmpp-server"
    secure.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest_twisted.ensureDeferred
async def test_no_session_is_resumed(mux, certificates, folder, version):
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.minimum_version = client.maximum_version = version
    connection, _, secure = await meet_tls(mux, certificates, client)
    connection.send(b"x")
    await in_thread(lambda: secure.recv(1))
    connection, recorder, sock = meet(mux)
    connection.start_tls(certificates.context_for(DOMAIN))
    again = await in_thread(lambda: client.wrap_socket(sock, server_hostname=DOMAIN, session=secure.session))
    await recorder.until(lambda: recorder.is_secure)
    assert not again.session_reused
    secure.close()
    again.close()


@pytest_twisted.ensureDeferred
async def test_channel_bindings_are_those_the_client_computes(mux, certificates):
    connection, recorder, sock = meet(mux)
    connection.start_tls(certificates.context_for(DOMAIN))
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), sock)
    client.set_connect_state()
    sock.setblocking(True)
    await in_thread(client.do_handshake)
    await recorder.until(lambda: recorder.is_secure)
    label = b"EXPORTER-Channel-Binding"
    assert recorder.tls.exporter(label, 32) == client.export_keying_material(label, 32, None)
    shown = client.get_peer_certificate(as_cryptography=True)
    assert shown is not None
    assert recorder.tls.server_end_point() == shown.fingerprint(hashes.SHA256())
    sock.close()


@pytest_twisted.ensureDeferred
async def test_as_a_client_it_asks_for_the_name_and_knows_the_servers_certificate(mux, certificates, folder):
    door = await open_door(mux, lambda c, recorder: c.start_tls(certificates.context_for("")))
    ours = Recorder()
    connection = await mux.connect(("127.0.0.1", door.port), lambda connection: ours)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(folder / "ca.pem"))
    context.set_verify(SSL.VERIFY_PEER)
    connection.start_tls(context, DOMAIN)
    connection.send(b"waits for the handshake")
    await until(lambda: bytes(door.recorders[0].data) == b"waits for the handshake")
    ours.connection, theirs = connection, door.recorders[0].tls
    assert server_name(theirs._ssl) == DOMAIN
    assert ours.tls.server_end_point() == theirs.server_end_point() != b""
    assert ours.tls.exporter(b"EXPORTER-test", 16) == theirs.exporter(b"EXPORTER-test", 16)


@pytest_twisted.ensureDeferred
async def test_as_a_client_it_refuses_a_certificate_it_does_not_trust(mux, certificates):
    door = await open_door(mux, lambda c, recorder: c.start_tls(certificates.context_for("")))
    ours = Recorder()
    connection = await mux.connect(("127.0.0.1", door.port), lambda connection: ours)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER)
    connection.start_tls(context, DOMAIN)
    await ours.until_lost()
    assert ours.reason == "TLS handshake: certificate verify failed"


def make_certificate(key: Any, algorithm: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, algorithm)


@pytest.mark.parametrize(
    "key, algorithm, expected",
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), hashlib.sha256),
        (lambda: ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), hashlib.sha384),
        (lambda: rsa.generate_private_key(65537, 2048), hashes.SHA512(), hashlib.sha512),
    ],
)
def test_the_end_point_hash_is_that_of_the_certificates_signature(key, algorithm, expected):
    certificate = make_certificate(key(), algorithm)
    assert end_point_hash(certificate) == expected(certificate.public_bytes(Encoding.DER)).digest()


def test_an_ed25519_certificate_has_no_end_point_hash():
    assert end_point_hash(make_certificate(ed25519.Ed25519PrivateKey.generate(), None)) == b""


# -- starting TLS on a plain stream


@pytest_twisted.ensureDeferred
async def test_plain_output_leaves_before_the_handshake_and_later_output_after_it(
    mux, certificates, trusting
):
    connection, recorder, sock = meet(mux)

    def proceed(data: bytes) -> None:
        if data == b"<starttls/>":
            connection.send(b"<proceed/>")
            connection.start_tls(certificates.context_for(DOMAIN))
            connection.send(b"<encrypted/>")

    recorder.on_data = proceed
    sock.send(b"<starttls/>")
    assert (await in_thread(lambda: read_exactly(sock, 10))) == b"<proceed/>"
    secure = await in_thread(lambda: shake(trusting, sock))
    assert (await in_thread(lambda: read_exactly(secure, 12))) == b"<encrypted/>"
    secure.close()


@pytest_twisted.ensureDeferred
async def test_much_plain_output_to_a_slow_reader_leaves_before_the_handshake(mux, certificates, trusting):
    connection, recorder, sock = meet(mux, send_buffer=8192, receive_buffer=8192)
    connection.send(bytes(200_000))
    connection.start_tls(certificates.context_for(DOMAIN))
    assert len(await in_thread(lambda: read_exactly(sock, 200_000))) == 200_000
    secure = await in_thread(lambda: shake(trusting, sock))
    await recorder.until(lambda: recorder.is_secure)
    secure.close()


@pytest_twisted.ensureDeferred
async def test_plain_bytes_behind_the_request_are_never_taken_for_decrypted_ones(mux, certificates):
    """CVE-2011-0411: what is injected behind <starttls/> must not be executed afterwards."""
    connection, recorder, sock = meet(mux)
    recorder.on_data = lambda data: connection.start_tls(certificates.context_for(DOMAIN))
    sock.send(b"<starttls/>")
    await recorder.until_received(11)
    sock.send(b"<iq type='set'>injected</iq>")
    await recorder.until_lost()
    assert bytes(recorder.data) == b"<starttls/>"
    assert not recorder.is_secure
    assert recorder.reason.startswith("TLS handshake: ")
    sock.close()


@pytest_twisted.ensureDeferred
async def test_a_peer_that_leaves_in_the_handshake_is_reported(mux, certificates):
    connection, recorder, sock = meet(mux)
    connection.start_tls(certificates.context_for(DOMAIN))
    sock.close()
    await recorder.until_lost()
    assert recorder.reason == "closed by the peer in the TLS handshake"


@pytest_twisted.ensureDeferred
async def test_close_in_the_handshake_cuts_off(mux, certificates):
    connection, recorder, sock = meet(mux)
    connection.start_tls(certificates.context_for(DOMAIN))
    connection.close()
    await recorder.until_lost()
    assert recorder.reason == "closed"
    sock.close()


@pytest_twisted.ensureDeferred
async def test_many_handshakes_at_once_all_succeed(mux, certificates, trusting):
    """More than one turn has time for."""
    door = await open_door(mux, lambda c, recorder: c.start_tls(certificates.context_for(DOMAIN)))
    clients = [door.dial() for _ in range(40)]
    secured = [in_thread(partial(shake, trusting, client)) for client in clients]
    for waiting in secured:
        secure = await waiting
        secure.close()
    await until(lambda: len(door.recorders) == 40 and all(each.reason for each in door.recorders))
    assert [each.is_secure for each in door.recorders] == [True] * 40


# -- data


@pytest_twisted.ensureDeferred
async def test_every_size_arrives_whole_and_in_order(mux, certificates, trusting):
    connection, recorder, secure = await meet_tls(mux, certificates, trusting)
    recorder.on_data = connection.send
    sizes = [1, 2, 100, 16383, 16384, 16385, 65535, 65536, 65537, 300_000]
    payload = b"".join(bytes([number]) * size for number, size in enumerate(sizes))

    def talk() -> bytes:
        position = 0
        for size in sizes:
            secure.sendall(payload[position : position + size])
            position += size
        return read_exactly(secure, len(payload))

    assert (await in_thread(talk)) == payload
    secure.close()


@pytest_twisted.ensureDeferred
async def test_many_small_records_at_once_all_arrive(mux, certificates, trusting):
    connection, recorder, secure = await meet_tls(mux, certificates, trusting)
    connection.throttled(True)
    expected = b"".join(b"%04d" % number for number in range(2000))
    await in_thread(lambda: [secure.send(expected[place : place + 4]) for place in range(0, 8000, 4)])
    connection.throttled(False)
    await recorder.until_received(8000)
    assert bytes(recorder.data) == expected
    assert len(recorder.reads) < 1000  # behind the first record the others are looked for
    secure.close()


@pytest_twisted.ensureDeferred
async def test_sends_of_one_turn_share_a_record(mux, certificates, folder):
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    connection, _, secure = await meet_tls(mux, certificates, context)
    for number in range(10):
        connection.send(b"<%d/>" % number)
    assert (await in_thread(lambda: secure.recv(1000))) == b"".join(b"<%d/>" % number for number in range(10))
    secure.close()


@pytest_twisted.ensureDeferred
async def test_a_slow_reader_gets_everything_over_tls(mux, certificates, trusting):
    connection, _, secure = await meet_tls(mux, certificates, trusting, send_buffer=8192, receive_buffer=8192)
    pieces = [bytes([number % 251]) * 4093 for number in range(500)]
    for piece in pieces:
        connection.send(piece)
    await until(lambda: 0 < connection.queued < 500 * 4093)
    connection.send(b"end")
    expected = b"".join(pieces) + b"end"
    assert (await in_thread(lambda: read_exactly(secure, len(expected)))) == expected
    await until(lambda: not connection.queued)
    secure.close()


# -- the end


@pytest_twisted.ensureDeferred
async def test_close_delivers_what_is_queued_then_close_notify(mux, certificates, trusting):
    connection, recorder, secure = await meet_tls(
        mux, certificates, trusting, send_buffer=8192, receive_buffer=8192
    )
    payload = bytes(range(256)) * 4000
    connection.send(payload)
    connection.close()
    # Without close_notify this raises SSLEOFError, for suppress_ragged_eofs is off.
    assert (await in_thread(lambda: read_to_end(secure))) == payload
    secure.close()
    await recorder.until_lost()
    assert recorder.reason == "closed"


@pytest_twisted.ensureDeferred
async def test_a_peers_close_notify_is_the_end_and_is_answered(mux, certificates, trusting):
    _, recorder, secure = await meet_tls(mux, certificates, trusting)

    def leave() -> None:
        secure.sendall(b"bye")
        secure.unwrap().close()  # waits for the other close_notify

    await in_thread(leave)
    await recorder.until_lost()
    assert bytes(recorder.data) == b"bye"
    assert recorder.reason == "closed by the peer"


@pytest_twisted.ensureDeferred
async def test_a_truncated_tls_stream_is_reported_as_such(mux, certificates, trusting):
    _, recorder, secure = await meet_tls(mux, certificates, trusting)
    secure.shutdown(socket.SHUT_RDWR)
    await recorder.until_lost()
    assert recorder.reason == "closed by the peer without ending TLS"


@pytest_twisted.ensureDeferred
async def test_a_broken_record_ends_the_connection_and_no_other(mux, certificates, trusting):
    _, good, secure = await meet_tls(mux, certificates, trusting)
    _, bad, broken = await meet_tls(mux, certificates, trusting)
    raw = socket.socket(fileno=broken.detach())
    raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    await bad.until_lost()
    assert bad.reason.startswith("TLS: ")
    await in_thread(lambda: secure.sendall(b"unharmed"))
    await good.until_received(8)
    secure.close()
    raw.close()


@pytest_twisted.ensureDeferred
async def test_abort_drops_tls_at_once(mux, certificates, trusting):
    connection, recorder, secure = await meet_tls(mux, certificates, trusting)
    connection.send(b"never")
    connection.abort()
    await recorder.until_lost()
    received = b""
    with suppress(ssl.SSLEOFError):  # builds of Python differ in whether an end without close_notify raises
        received = await in_thread(lambda: secure.recv(10))
    assert received == b""


@pytest_twisted.ensureDeferred
async def test_a_lost_connection_holds_no_tls_state(mux, certificates, trusting):
    connection, recorder, secure = await meet_tls(mux, certificates, trusting)
    secure.close()
    await recorder.until_lost()
    await turn()
    assert connection.tls is None
