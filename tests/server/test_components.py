"""Components and the router (XEP-0114): who may attach, who wins, and what becomes of stanzas."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from refserver.components.service import ComponentPolicy, ComponentService, DomainTaken
from refserver.core.hosts import Host
from refserver.features.messages import Messages
from refserver.features.sanitising import IqPrivacy
from refserver.net.receiver import PeerAddress
from refserver.stanza import Stanza
from refserver.stream.component import digest
from refserver.xml import Limits
from tests.server.harness import Client, Harness, describe

DOMAIN = "sms.library.example"
SECRETS = {DOMAIN: "a shared secret", "fax.library.example": "another secret"}
SEEN = f"from='+431@{DOMAIN}/phone' to='mia@library.example'"
CLIENT = "jabber:client"


class Deadlines:
    """Stands in for the multiplexer: keeps who has a deadline."""

    def __init__(self) -> None:
        self.running: dict[Any, float] = {}

    def expire(self, what: Any, seconds: float) -> None:
        self.running[what] = seconds

    def unexpire(self, what: Any) -> None:
        self.running.pop(what, None)


class Link:
    """Stands in for a connection: keeps what the component is sent."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.peer = PeerAddress(host, 50_000)
        self.data = ""
        self.closed = False

    def send(self, data: bytes) -> None:
        if not self.closed:
            self.data += data.decode()

    def close(self) -> None:
        self.closed = True

    def take(self) -> str:
        data, self.data = self.data, ""
        return data


class Gateway:
    """A component that connects, and perhaps attaches."""

    def __init__(self, service: ComponentService, domain: str = DOMAIN, host: str = "127.0.0.1") -> None:
        self.link = cast(Any, Link(host))
        self.domain = domain
        self.receiver = service.accept(self.link)

    def send(self, text: str) -> str:
        assert self.receiver is not None
        self.receiver.received(text.encode())
        return self.link.take()

    def open(self) -> str:
        streams = "http://etherx.jabber.org/streams"
        return self.send(
            f"<stream:stream xmlns='jabber:component:accept' xmlns:stream='{streams}' to='{self.domain}'>"
        )

    def attach(self, secret: str = "") -> str:
        found = re.search(" id='([^']+)'", self.open())
        assert found is not None
        return self.send(f"<handshake>{digest(found[1], secret or SECRETS[self.domain])}</handshake>")

    def hang_up(self) -> None:
        assert self.receiver is not None
        self.receiver.lost("closed by the peer")


class Server(Harness):
    """With the components of SECRETS, and mia."""

    def __init__(self, **policy: Any) -> None:
        super().__init__(features=[Messages, IqPrivacy])
        self.deadlines = cast(Any, Deadlines())
        limits = ComponentPolicy(Limits(10_000), Limits(100_000), **policy)
        self.service = ComponentService(self.core, self.deadlines, limits)
        self.service.take_up(SECRETS)

    def gateway(self, domain: str = DOMAIN) -> Gateway:
        gateway = Gateway(self.service, domain)
        assert gateway.attach() == "<handshake/>"
        return gateway


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def mia(server: Server) -> Client:
    return server.online("mia@library.example/desk")


def write(client: Client, to: str = f"+431@{DOMAIN}") -> None:
    client.send(f"<message to='{to}' type='chat' id='m1'><body>Hello</body></message>")


def errors(client: Client) -> list[tuple[str, str, str]]:
    """Sender, type and condition of each error that it was sent."""
    found = []
    for stanza in client.received():
        error = stanza.child(CLIENT, "error")
        assert error is not None, describe(stanza)
        found.append((str(stanza.from_), error.get("type", ""), error[0].tag.partition("}")[2]))
    return found


def test_what_is_for_its_domain_goes_to_the_component_whatever_the_address(server: Server, mia: Client):
    gateway = server.gateway()
    write(mia)
    assert gateway.link.take() == (
        f"<message to='+431@{DOMAIN}' from='mia@library.example/desk' type='chat' id='m1'>"
        "<body>Hello</body></message>"
    )
    write(mia, DOMAIN)
    write(mia, f"{DOMAIN}/registration")
    assert gateway.link.take().count("<message ") == 2
    assert mia.told() == []


def test_what_it_sends_goes_to_accounts(server: Server, mia: Client):
    gateway = server.gateway()
    gateway.send(f"<message {SEEN} type='chat'><body>Are you open?</body></message>")
    assert mia.told() == [f"message from +431@{DOMAIN}/phone: Are you open?"]


def test_what_it_sends_goes_to_other_servers_and_other_components(server: Server):
    gateway, fax = server.gateway(), server.gateway("fax.library.example")
    gateway.send(f"<message from='{DOMAIN}' to='pat@far.example'><body>Hi</body></message>")
    assert server.elsewhere.told() == [f"message from {DOMAIN}: Hi to pat@far.example"]
    gateway.send(f"<message from='{DOMAIN}' to='1@fax.library.example'><body>Hi</body></message>")
    assert "<body>Hi</body>" in fax.link.take()


def test_subscriptions_and_presence_go_both_ways(server: Server, mia: Client):
    gateway = server.gateway()
    bare = f"from='+431@{DOMAIN}' to='mia@library.example'"
    gateway.send(f"<presence {bare} type='subscribe'/>")
    assert mia.told() == [f"subscribe from +431@{DOMAIN}"]
    mia.send(f"<presence to='+431@{DOMAIN}' type='subscribed'/>")
    told = gateway.link.take()
    assert "type='subscribed'" in told
    assert "from='mia@library.example/desk'" in told, "her presence follows"
    mia.send(f"<presence to='+431@{DOMAIN}' type='subscribe'/>")
    assert "type='subscribe'" in gateway.link.take()
    gateway.send(f"<presence {bare} type='subscribed'/><presence {SEEN}/>")
    assert f"available from +431@{DOMAIN}/phone" in mia.told()
    answer = gateway.send(f"<presence {bare} type='probe'/>")
    assert answer.startswith(f"<presence to='+431@{DOMAIN}' from='mia@library.example/desk'")


@pytest.mark.parametrize("sender", [DOMAIN, f"{DOMAIN}/gateway", f"+431@{DOMAIN}"])
def test_it_is_a_stranger_to_accounts_like_everybody_from_elsewhere(server: Server, mia: Client, sender: str):
    """Above all it makes no roster pushes (RFC 6121 2.1.6), whatever its address."""
    gateway = server.gateway()
    to = "to='mia@library.example/desk'"
    push = "<query xmlns='jabber:iq:roster'><item jid='evil@far.example' subscription='both'/></query>"
    version = "<query xmlns='jabber:iq:version'/>"
    assert "<service-unavailable " in gateway.send(f"<iq type='set' id='1' from='{sender}' {to}>{push}</iq>")
    assert mia.told() == []
    mia.send("<presence type='unavailable'/>")
    mia.received()
    answer = gateway.send(f"<iq type='get' id='1' from='{sender}' {to}>{version}</iq>")
    assert "<service-unavailable " in answer
    assert mia.told() == []


def test_a_stanza_that_cannot_be_delivered_comes_back(server: Server):
    gateway = server.gateway()
    answer = gateway.send(
        f"<message from='+431@{DOMAIN}' to='nobody@library.example'><body>?</body></message>"
    )
    assert "type='error'" in answer
    assert f"to='+431@{DOMAIN}'" in answer


@pytest.mark.parametrize("attached_before", [False, True])
def test_while_it_is_away_it_is_told_that_it_will_be_back(server: Server, mia: Client, attached_before: bool):
    if attached_before:
        server.gateway().hang_up()
    write(mia)
    mia.send(f"<iq type='get' id='i1' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert errors(mia) == [
        (f"+431@{DOMAIN}", "wait", "remote-server-timeout"),
        (DOMAIN, "wait", "remote-server-timeout"),
    ]
    assert server.elsewhere.received() == [], "never asked for outside"
    server.gateway()
    write(mia)
    assert mia.told() == []


def test_answers_to_what_is_away_vanish(server: Server, mia: Client):
    for text in (
        f"<message to='{DOMAIN}' type='error'/>",
        f"<iq to='{DOMAIN}' type='result' id='1'/>",
        f"<presence to='{DOMAIN}' type='unavailable'/>",
    ):
        mia.send(text)
    assert mia.told() == []


FORGED = "<message from='mia@library.example' to='mia@library.example'/>"


@pytest.mark.parametrize("end", ["</stream:stream>", "<a/>", FORGED])
def test_it_is_away_as_soon_as_its_stream_ends(server: Server, mia: Client, end: str):
    gateway = server.gateway()
    gateway.send(end)
    assert gateway.link.closed
    write(mia)
    assert [condition for _, _, condition in errors(mia)] == ["remote-server-timeout"]


def test_who_does_not_know_the_secret_gets_nothing(server: Server, mia: Client):
    gateway = Gateway(server.service)
    told = gateway.attach("a wrong secret")
    assert "<not-authorized " in told
    assert gateway.link.closed
    write(mia)
    assert gateway.link.take() == ""
    assert errors(mia)


def test_another_components_secret_is_of_no_use(server: Server):
    assert "<not-authorized " in Gateway(server.service).attach(SECRETS["fax.library.example"])


def test_a_domain_without_a_secret_is_unknown(server: Server):
    for domain in ("library.example", "rooms.library.example", "other.sms.library.example", "far.example"):
        gateway = Gateway(server.service, domain)
        assert "<host-unknown " in gateway.open()
        assert gateway.link.closed


def test_the_newer_of_two_streams_wins(server: Server, mia: Client):
    older, newer = server.gateway(), server.gateway()
    told = older.link.take()
    assert "<conflict " in told
    assert told.endswith("</stream:stream>")
    assert older.link.closed
    older.hang_up()
    write(mia)
    assert "<body>Hello</body>" in newer.link.take()
    assert older.link.take() == ""


def test_a_stream_that_only_claims_to_be_it_replaces_nothing(server: Server, mia: Client):
    older = server.gateway()
    Gateway(server.service).attach("a wrong secret")
    Gateway(server.service).open()
    write(mia)
    assert "<body>Hello</body>" in older.link.take()


def test_the_handshake_has_a_deadline(server: Server):
    slow = Gateway(server.service)
    slow.open()
    assert server.deadlines.running == {slow.receiver: 30.0}
    assert slow.receiver is not None
    slow.receiver.expired()
    assert "<connection-timeout " in slow.link.take()
    assert slow.link.closed
    slow.hang_up()
    server.gateway()
    assert server.deadlines.running == {}


def test_an_address_has_only_so_many_connections():
    server = Server(connections_per_ip=2)
    first, second = Gateway(server.service), Gateway(server.service)
    assert Gateway(server.service).receiver is None
    assert Gateway(server.service, host="127.0.0.2").receiver is not None
    first.hang_up()
    assert Gateway(server.service).receiver is not None
    second.hang_up()


def test_a_library_or_its_rooms_are_never_a_components(server: Server):
    server.core.hosts.add_service("rooms.library.example", server.elsewhere)
    for domain in ("library.example", "rooms.library.example"):
        with pytest.raises(DomainTaken, match=domain):
            server.service.take_up({"new.example": "x", domain: "y"})
    assert set(server.service.components) == set(SECRETS)
    assert server.core.hosts.service("new.example") is None
    assert server.core.hosts.service("rooms.library.example") is server.elsewhere


@pytest.mark.parametrize("as_service", [False, True])
def test_a_library_that_comes_later_takes_the_domain_over(server: Server, mia: Client, as_service: bool):
    gateway = server.gateway()
    if as_service:
        server.core.hosts.add_service(DOMAIN, server.elsewhere)
    else:
        server.core.hosts.add(Host(DOMAIN))
    told = gateway.send(f"<message {SEEN}><body>I am the library</body></message>")
    assert "<host-gone " in told
    assert gateway.link.closed
    assert mia.told() == []
    assert "<host-unknown " in Gateway(server.service).open()
    if as_service:
        assert server.core.hosts.service(DOMAIN) is server.elsewhere
        server.core.hosts.remove_service(DOMAIN)
    else:
        server.core.hosts.remove(DOMAIN)
    server.gateway()
    write(mia)
    assert mia.told() == []


def test_secrets_may_change_while_it_runs(server: Server, mia: Client):
    gateway = server.gateway()
    server.service.take_up({DOMAIN: "a new secret", "new.example": "and its secret"})
    write(mia)
    assert "<body>Hello</body>" in gateway.link.take()
    assert "<not-authorized " in Gateway(server.service).attach()
    assert Gateway(server.service).attach("a new secret") == "<handshake/>"
    assert Gateway(server.service, "new.example").attach("and its secret") == "<handshake/>"


def test_a_component_that_is_no_longer_configured_is_let_go(server: Server, mia: Client):
    gateway = server.gateway()
    server.service.take_up({})
    assert "<host-gone " in gateway.link.take()
    write(mia)
    assert server.elsewhere.told() == [f"message from mia@library.example/desk: Hello to +431@{DOMAIN}"]


def test_the_end_of_the_server_is_told(server: Server):
    attached, waiting = server.gateway(), Gateway(server.service)
    server.service.stop()
    assert "<system-shutdown " in attached.link.take()
    assert "<system-shutdown " in waiting.link.take()
    assert attached.link.closed
    assert waiting.link.closed


def test_a_fault_of_ours_costs_one_stanza(server: Server, mia: Client):
    class Broken:
        def deliver(self, stanza: Stanza) -> None:
            raise RuntimeError("broken")

    gateway = server.gateway()
    server.core.hosts.add_service("broken.example", Broken())
    told = gateway.send(
        f"<message from='a@{DOMAIN}' to='broken.example' id='b'/><message {SEEN}><body>Hi</body></message>"
    )
    assert "<internal-server-error " in told
    assert mia.told() == [f"message from +431@{DOMAIN}/phone: Hi"]


def test_a_shared_secret_stands_in_no_description(server: Server):
    gateway = server.gateway()
    assert "a shared secret" not in f"{server.service!r} {gateway.receiver!r}"
