"""Gateways as external components (XEP-0114): slixmpp's component, and patrons and librarians behind it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from refserver.app.commands.librarians import AddLibrarian
from tests.interop.conftest import UNLIMITED, complaints
from tests.interop.peers import (
    Library,
    LoginFailed,
    RefserverProcess,
    SlixmppComponent,
    TestAuthority,
    free_port,
    wait_until,
)
from tests.interop.peers.people import CLIENT, RECEIPTS, body

DOMAIN = "library.example"
SMS = f"sms.{DOMAIN}"
SECRET = "known to the gateway too"
PATRON = f"+4312345@{SMS}"
WORDS = "When do you open?"


class Served:
    """A server with a component's port."""

    def __init__(self, server: RefserverProcess, port: int) -> None:
        self.server = server
        self.port = port
        self.libraries = 0

    def gateway(self, secret: str = SECRET, domain: str = SMS) -> SlixmppComponent:
        return SlixmppComponent(domain, secret, self.port)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, authority: TestAuthority) -> Iterator[Served]:
    """One server for all of these tests; its log must hold no fault, and never the secret."""
    folder = tmp_path_factory.mktemp("components")
    port = free_port("127.0.0.1")
    (folder / "sms.secret").write_text(f"{SECRET}\n")
    (folder / "sms.secret").chmod(0o600)
    settings: dict[str, dict[str, Any]] = {
        **UNLIMITED,
        "listen": {"component": [f"tcp:{port}:interface=127.0.0.1"]},
        "components": {"secret_files": {SMS: "sms.secret"}},
    }
    with RefserverProcess(folder, authority, settings) as server:
        yield Served(server, port)
        server.stop()
        assert complaints(server.log) == []
        assert SECRET not in server.log


@pytest.fixture
def library(served: Served) -> Iterator[Library]:
    """A library of its own for each test."""
    served.libraries += 1
    with Library(served.server, f"branch{served.libraries}.example") as new:
        yield new.set_up(librarians=("mia",), patrons=("pat",))


@pytest.fixture
def gateway(served: Served) -> Iterator[SlixmppComponent]:
    with served.gateway() as attached:
        yield attached


def ask_the_server(gateway: SlixmppComponent, library: Library) -> None:
    """Return when all has come that the server sent before."""
    ping = f"<iq type='get' id='ping' from='{SMS}' to='{library.domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
    assert gateway.iq(ping).get("type") == "result"


def test_a_patron_behind_a_gateway_asks_and_is_answered(library: Library, gateway: SlixmppComponent):
    """Subscription, presence, question, typing, receipts, the end: like everybody else's."""
    gateway.send_raw(f"<presence type='subscribe' from='{PATRON}' to='{library.queue}'/>")
    gateway.sees(PATRON, library.queue, "subscribed")
    status = gateway.sees(PATRON, library.queue).findtext(f"{CLIENT}status")
    assert status == "Nobody at the desk, leave a message"
    mia = library.librarian("mia")
    gateway.wait_for(
        lambda e: (e.get("to"), e.findtext(f"{CLIENT}status")) == (PATRON, "1 librarian, no wait")
    )

    asked = gateway.write(PATRON, library.queue, WORDS, "<request xmlns='urn:xmpp:receipts'/>")
    gateway.wait_for(lambda e: [r.get("id") for r in e.iter(f"{RECEIPTS}received")] == [asked])
    gateway.hears(PATRON, "Thank you, your question is here.")
    announced = body(mia.at_desk(WORDS))
    assert "4312345" not in announced
    mia.take(1)
    gateway.hears(PATRON, "mia is with you now.")

    mia.type_to(mia.chat(1))
    gateway.wait_for(lambda e: e.find("{http://jabber.org/protocol/chatstates}composing") is not None)
    mia.write(1, "At nine.")
    answer = gateway.hears(PATRON, "At nine.")
    assert (library.queue, "chat") == (answer.get("from", "").partition("/")[0], answer.get("type"))
    gateway.write(f"{PATRON}/phone", library.queue, "Thanks <3 & bye!")
    assert body(mia.hears(1, "Thanks")) == "Thanks <3 & bye!"
    mia.write(1, "!close 1 answered")
    gateway.hears(PATRON, "Thank you for asking.")
    assert ("closed", "answered") == (library.question(1)["state"], library.question(1)["outcome"])


def test_two_patrons_behind_one_gateway_are_two(library: Library, gateway: SlixmppComponent):
    """Each has her question; the answer goes to who asked."""
    other = f"+4954321@{SMS}"
    mia = library.librarian("mia")
    gateway.write(PATRON, library.queue, WORDS)
    first = mia.announced(WORDS)
    gateway.write(other, library.queue, "Is there a lift?")
    second = mia.announced("Is there a lift?")
    assert first != second
    mia.take(second)
    mia.write(second, "Yes.")
    gateway.hears(other, "Yes.")
    ask_the_server(gateway, library)
    assert not [e for e in gateway.received() if e.get("to") == PATRON and "Yes." in body(e)]


def test_a_gateway_that_dies_and_comes_back_goes_on(served: Served, library: Library):
    """Meanwhile the librarian is told that her words are kept; they arrive, and the question stays hers."""
    mia = library.librarian("mia")
    with served.gateway() as gateway:
        gateway.write(PATRON, library.queue, WORDS)
        mia.take(mia.announced(WORDS))
        gateway.hears(PATRON, "mia is with you now.")
        known = len(served.server.log)
        gateway.abort()
        away = f"the component {SMS} is away"
        wait_until(lambda: away in served.server.log[known:], away, 10, lambda: served.server.log[known:])
        mia.write(1, "Are you there?")
        mia.hears(1, "What you write is kept")
    with served.gateway() as gateway:
        gateway.hears(PATRON, "Are you there?")
        gateway.write(PATRON, library.queue, "Here I am again")
        mia.hears(1, "Here I am again")
        mia.write(1, "At nine.")
        gateway.hears(PATRON, "At nine.")
    assert ("claimed", "mia") == (library.question(1)["state"], library.question(1)["librarian"])


def test_a_gateway_asks_for_the_presences_it_missed(served: Served, library: Library):
    """With probes (RFC 6121 4.3), as another server would: for each of its patrons."""
    with served.gateway() as gateway:
        gateway.send_raw(f"<presence type='subscribe' from='{PATRON}' to='{library.queue}'/>")
        gateway.sees(PATRON, library.queue)
    library.librarian("mia")
    with served.gateway() as gateway:
        gateway.send_raw(f"<presence type='probe' from='{PATRON}' to='{library.queue}'/>")
        presence = gateway.wait_for(lambda e: e.findtext(f"{CLIENT}status") == "1 librarian, no wait")
        assert PATRON == presence.get("to")
        gateway.send_raw(f"<presence type='unsubscribe' from='{PATRON}' to='{library.queue}'/>")
        gateway.sees(PATRON, library.queue, "unavailable")
        gateway.sees(PATRON, library.queue, "unsubscribed")
        gateway.send_raw(f"<presence type='probe' from='{PATRON}' to='{library.queue}'/>")
        gateway.sees(PATRON, library.queue, "unsubscribed")


def test_a_patrons_client_is_told_that_a_gateway_is_away(library: Library):
    """Not that there is no such address."""
    mia = library.librarian("mia", at_desk=False)
    mia.write_to(PATRON, "Hello")
    told = mia.wait_for(lambda e: e.get("type") == "error" and e.get("from") == PATRON)
    error = told.find(f"{CLIENT}error")
    assert error is not None
    assert ("wait", "{urn:ietf:params:xml:ns:xmpp-stanzas}remote-server-timeout") == (
        error.get("type"),
        error[0].tag,
    )


def test_a_wrong_secret_is_refused(served: Served):
    """And so is a domain that nobody configured."""
    with pytest.raises(LoginFailed, match="not-authorized"), served.gateway("something else"):
        pass
    with pytest.raises(LoginFailed, match="host-unknown"), served.gateway(domain="fax.library.example"):
        pass
    with served.gateway():
        pass


def test_the_newer_of_two_gateways_takes_over(served: Served, library: Library):
    """The older is told conflict."""
    mia = library.librarian("mia")
    with served.gateway() as older:
        told: list[str] = []
        older.call(
            older.client.add_event_handler, "stream_error", lambda error: told.append(error["condition"])
        )
        with served.gateway() as newer:
            wait_until(lambda: told, "a stream error", 10, lambda: "none")
            assert told == ["conflict"]
            newer.write(PATRON, library.queue, WORDS)
            mia.take(mia.announced(WORDS))
            newer.hears(PATRON, "mia is with you now.")


def enter_desk(gateway: SlixmppComponent, library: Library, librarian: str, nick: str) -> None:
    gateway.send_raw(
        f"<presence from='{librarian}/x' to='{library.desk}/{nick}'>"
        "<x xmlns='http://jabber.org/protocol/muc'/></presence>"
    )
    gateway.sees(librarian, f"{library.desk}/{nick}")


def test_a_librarian_may_be_behind_a_gateway(library: Library, gateway: SlixmppComponent):
    """Offered, claimed and answered; and off duty when the gateway has gone."""
    ben = f"ben@{SMS}"
    library.call(AddLibrarian(library.queue, ben, nick="ben"))
    enter_desk(gateway, library, ben, "ben")
    pat = library.patron("pat")
    pat.ask(WORDS)
    gateway.hears(ben, WORDS)
    gateway.hears(ben, "New question #1 from Guest")
    gateway.write(f"{ben}/x", f"ask+1@{library.domain}", "At nine.")
    pat.hears("At nine.")
    assert ("claimed", "ben") == (library.question(1)["state"], library.question(1)["librarian"])
    gateway.write(f"{ben}/x", f"ask+1@{library.domain}", "!close 1 answered")
    pat.hears("Thank you for asking.")

    mia = library.librarian("mia")
    gateway.close()
    mia.say_at_desk("Is anybody here?")
    mia.wait_for_presence(f"{library.desk}/ben", "unavailable")
    mia.say_at_desk("!who")
    assert body(mia.at_desk("On duty")) == "On duty: mia 0/3"


def reload(server: RefserverProcess) -> None:
    known = len(server.log)
    os.kill(server.process.pid, signal.SIGHUP)
    outcomes = ("certificates and settings were read again", "not reloaded")
    wait_until(
        lambda: any(outcome in server.log[known:] for outcome in outcomes),
        "the server said what came of SIGHUP",
        10,
        lambda: server.log[known:],
    )


def test_a_new_secret_holds_without_a_restart(served: Served, library: Library):
    """Who is attached stays so; a secret that cannot be used changes nothing."""
    secret = served.server.folder / "sms.secret"
    with served.gateway() as gateway:
        secret.write_text("another long secret")
        reload(served.server)
        ask_the_server(gateway, library)
        with pytest.raises(LoginFailed, match="not-authorized"), served.gateway():
            pass
        secret.write_text("")
        reload(served.server)
        assert f"the file of {SMS} is empty" in served.server.log
        with served.gateway("another long secret"):
            pass
        secret.write_text("short")
        reload(served.server)
        assert f"the secret of {SMS} has fewer than 8 characters" in served.server.log
        with served.gateway("short"):
            pass
    secret.write_text(SECRET)
    reload(served.server)
    with served.gateway():
        pass


def test_components_come_and_go_without_a_restart(start_refserver: Callable[..., RefserverProcess]):
    """The port opens with the first; one that is taken out of the configuration is told so."""
    port = free_port("127.0.0.1")
    listen = {"listen": {"component": [f"tcp:{port}:interface=127.0.0.1"]}}
    server = start_refserver(settings=listen)
    with pytest.raises(LoginFailed), SlixmppComponent(SMS, SECRET, port):
        pass
    configuration = server.config.read_text()
    (server.folder / "sms.secret").write_text(SECRET)
    server.config.write_text(f'{configuration}[components.secret_files]\n"{SMS}" = "sms.secret"\n')
    reload(server)
    with SlixmppComponent(SMS, SECRET, port) as gateway:
        told: list[str] = []
        gateway.call(
            gateway.client.add_event_handler, "stream_error", lambda error: told.append(error["condition"])
        )
        server.config.write_text(configuration)
        reload(server)
        wait_until(lambda: told, "a stream error", 10, lambda: server.log)
        assert ["host-gone"] == told
    assert complaints(server.log) == []
