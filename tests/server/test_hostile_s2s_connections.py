"""Connections of other servers that cost too much: many, idle, in loops, deaf, loud."""

from __future__ import annotations

import contextlib
import ssl
import time
import warnings
from collections.abc import Iterator

import pytest

from tests.server.live import STARTTLS, fresh_address
from tests.server.strangers import BIDI, LIBRARY, PING, Stranger, Stream, Town, header, message

MOST = 64


@pytest.fixture(autouse=True)
def unharmed(town: Town) -> Iterator[None]:
    with town.unharmed():
        yield


@pytest.fixture
def stranger(town: Town) -> Stranger:
    return town.stranger()


def until_open(stranger: Stranger, source: str) -> Stream:
    """A stream from an address that has just closed one: the server sees that in its own time."""
    deadline = time.monotonic() + 5
    while True:
        stream = stranger.connect(source)
        with contextlib.suppress(AssertionError, ConnectionError):
            stream.open()
            return stream
        assert time.monotonic() < deadline


def test_one_address_has_64_connections(stranger: Stranger) -> None:
    source = fresh_address()
    first, *others = [stranger.connect(source) for _ in range(MOST)]
    for stream in (first, *others):
        stream.open()
    for _ in range(3):
        assert b"" == stranger.connect(source).closed()
    stranger.opened()  # from another address
    first.send(b"</stream:stream>")
    first.closed()
    until_open(stranger, source)
    assert all(other.try_send(b" ") for other in others)


def test_connecting_and_going_leaves_nothing_behind(town: Town, stranger: Stranger) -> None:
    source = fresh_address()
    words = [header(stranger.domain)[:50], header(stranger.domain), header(stranger.domain) + STARTTLS, b""]

    def come_and_go(count: int, source: str = "") -> None:
        for number in range(count):
            stream = stranger.connect(source)
            stream.try_send(words[number % len(words)])
            stream.hang_up()
        town.connections.clear()

    come_and_go(150, source)
    until_open(stranger, source)
    before = town.server.memory()
    come_and_go(800)
    stranger.opened()
    assert town.server.memory() - before < 6_000_000


def test_a_thousand_idle_connections_cost_little_and_keep_nobody_waiting(
    town: Town, stranger: Stranger
) -> None:
    """Half of them have opened a stream, the others are silent; both are gone 30 seconds later."""
    before = town.server.memory()
    idle = [stranger.connect() for _ in range(1_000)]
    for stream in idle[::2]:
        stream.send(header(stranger.domain))
    for stream in idle[::2]:
        stream.expect(b"</stream:features>")
    began = time.monotonic()
    assert stranger.proved(bidi=True).ask().get("type") == "result"
    assert time.monotonic() - began < 1
    assert town.server.memory() - before < 16_000_000


def test_handshakes_that_are_not_finished_cost_little(town: Town, stranger: Stranger) -> None:
    before = town.server.memory()
    for _ in range(150):
        stream = stranger.opened()
        stream.send(STARTTLS)
        stream.expect(b"<proceed [^>]*/>")
        stream.send(bytes.fromhex("16030100fa0100"))
    assert stranger.proved(bidi=True).ask().get("type") == "result"
    assert town.server.memory() - before < 20_000_000


def test_a_server_that_asks_and_does_not_read_is_cut_off(town: Town, stranger: Stranger) -> None:
    """It is told much, on its own stream (XEP-0288), and takes none of it."""
    deaf = stranger.proved(bidi=True)
    before = town.server.memory()
    asked = PING.format(f"pat@{stranger.domain}", LIBRARY).replace("id='ping'", f"id='{'x' * 5_000}'")
    most = before
    for _ in range(200):
        if not deaf.try_send(asked.encode() * 20):
            break
        most = max(most, town.server.memory())
    else:
        pytest.fail("it was not cut off")
    assert most - before < 24_000_000


def test_a_flood_of_one_server_does_not_keep_another_waiting(town: Town, stranger: Stranger) -> None:
    loud, calm = stranger.proved(), town.stranger().proved(bidi=True)
    loud.send(message(f"pat@{stranger.domain}", f"nobody@{LIBRARY}") * 4_000)
    began = time.monotonic()
    assert calm.ask().get("type") == "result"
    assert time.monotonic() - began < 2


# -- TLS at once (XEP-0368) --------------------------------------------------------------------


def knock(town: Town, stranger: Stranger, protocols: list[str] | None) -> Stream:
    """A connection to the port where TLS comes first, the handshake finished."""
    stream = stranger.connect(port=town.server.process.s2s_tls_port)
    if protocols is not None:
        context = ssl.create_default_context(cafile=str(town.authority.ca))
        context.load_cert_chain(town.good)
        context.set_alpn_protocols(protocols)
        stream._socket = context.wrap_socket(stream._socket, server_hostname=LIBRARY)
    return stream


def test_tls_at_once_proves_as_much_as_after_starttls(town: Town, stranger: Stranger) -> None:
    stream = knock(town, stranger, ["xmpp-server"])
    stream.open()
    stream.send(BIDI)
    stream.external()
    assert stream.ask().get("type") == "result"


def test_plain_words_where_tls_comes_first_end_the_connection(town: Town, stranger: Stranger) -> None:
    stream = knock(town, stranger, None)
    stream.send(header(stranger.domain))
    assert b"stream" not in stream.closed()


@pytest.mark.parametrize("protocol", ["xmpp-client", "http/1.1", "h2"])
def test_who_wants_another_protocol_gets_no_handshake(town: Town, stranger: Stranger, protocol: str) -> None:
    """Who was led here from a web server's port is not talked to (RFC 7301 3.2)."""
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.no.application.protocol"):
        knock(town, stranger, [protocol])


def test_old_tls_is_no_tls(town: Town, stranger: Stranger) -> None:
    stream = stranger.opened()
    stream.send(STARTTLS)
    stream.expect(b"<proceed [^>]*/>")
    context = ssl.create_default_context(cafile=str(town.authority.ca))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):  # our word
        context.wrap_socket(stream._socket, server_hostname=LIBRARY)
