"""Where stanzas go, who answers for which address, and what a fault in a feature costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from refserver import ns
from refserver.core.core import Core
from refserver.core.feature import Feature, Request, Target, iq, on
from refserver.core.hooks import (
    AccountAdded,
    Hooks,
    IqDelivering,
    MessageDelivering,
    MessageSent,
    PresenceSent,
)
from refserver.core.hosts import Host
from refserver.core.router import Router
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError, StreamError
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml.element import Element, element

MIA = JID.parse("mia@library.example")
PAT = JID.parse("pat@library.example")
ABROAD = JID.parse("pat@home.example/phone")


class Collecting:
    """A destination that keeps what comes."""

    def __init__(self) -> None:
        self.stanzas: list[Stanza] = []

    def deliver(self, stanza: Stanza) -> None:
        self.stanzas.append(stanza)

    @property
    def told(self) -> list[str]:
        stanzas, self.stanzas = self.stanzas, []
        return [_line(stanza) for stanza in stanzas]


class Client:
    """The outlet of a session."""

    def __init__(self, jid: JID, host: Host) -> None:
        self._data = b""
        self.session = Session(jid, host, self)

    def send(self, data: bytes) -> None:
        self._data += data

    def close(self, error: StreamError | None = None) -> None:
        raise AssertionError("nobody closes a stream here")

    @property
    def told(self) -> list[str]:
        data, self._data = self._data, b""
        stanzas = fromstring(b"<stream xmlns='jabber:client'>" + data + b"</stream>")
        return [_line(Stanza.received(stanza)) for stanza in stanzas]


class Answers(Feature):
    """Answers in every way a handler can."""

    name = "answers"
    later: Deferred[Element]

    @iq("get", "urn:a", "now", to=(Target.SERVER, Target.ACCOUNT))
    def now(self, request: Request) -> Element:
        return element("urn:a", "answer")

    @iq("get", "urn:a", "later", to=Target.SERVER)
    async def wait(self, request: Request) -> Element:
        self.later = Deferred()
        return await self.later

    @iq("set", "urn:a", "own", to=Target.OWN)
    def own(self, request: Request) -> None:
        assert request.sender.bare == request.account

    @iq("get", "urn:a", "refused", to=Target.SERVER)
    def refuse(self, request: Request) -> None:
        raise StanzaError(Condition.NOT_ACCEPTABLE)

    @iq("get", "urn:a", "broken", to=Target.SERVER)
    def fail(self, request: Request) -> None:
        raise ZeroDivisionError

    @on(MessageSent)
    def sent(self, event: MessageSent) -> bool | None:
        if event.stanza.body == "broken":
            raise ZeroDivisionError
        return event.stanza.body == "eaten"

    @on(PresenceSent)
    def presence(self, event: PresenceSent) -> bool:
        return event.stanza.to is None

    @on(MessageDelivering)
    def deliver(self, event: MessageDelivering) -> bool:
        stanza = event.stanza
        if stanza.body == "broken here":
            raise ZeroDivisionError
        session = None if stanza.to is None else self.core.sessions.get(stanza.to)
        if session is not None:
            session.send(stanza)
        return session is not None or stanza.body == "taken"

    @on(IqDelivering)
    def guard(self, event: IqDelivering) -> bool:
        return event.stanza.payload is not None and event.stanza.payload.tag == "{urn:a}eaten"


class Server:
    def __init__(self) -> None:
        database: Any = None
        self.core = Core(database, Clock())
        self.core.install([Answers(self.core)])
        self.host = Host("library.example")
        self.core.hosts.add(self.host)
        self.remote, self.rooms, self.queue = Collecting(), Collecting(), Collecting()
        self.core.router.remote = self.remote
        self.core.hosts.add_service("rooms.library.example", self.rooms)
        self.host.addresses["ask"] = self.queue
        self.mia = self.client("mia@library.example/desk")

    def client(self, jid: str) -> Client:
        client = Client(JID.parse(jid), self.host)
        self.core.sessions.add(client.session)
        return client

    def send(self, text: str) -> list[str]:
        """Let mia send a stanza; what she is told."""
        stanza = fromstring(f"<stream xmlns='{ns.CLIENT}'>{text}</stream>")[0]
        self.core.router.submit(Stanza.received(stanza), self.mia.session)
        return self.mia.told


@pytest.fixture
def server() -> Server:
    return Server()


@implementer(ILogObserver)
class Failures:
    """What was logged with a traceback."""

    def __init__(self) -> None:
        self.types: list[type[BaseException]] = []

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.types.append(event["log_failure"].type)


@pytest.fixture
def logged() -> Iterator[Failures]:
    failures = Failures()
    globalLogPublisher.addObserver(failures)
    yield failures
    globalLogPublisher.removeObserver(failures)


def _line(stanza: Stanza) -> str:
    if stanza.type == "error":
        error = stanza.child(ns.CLIENT, "error")
        assert error is not None
        return f"error {error[0].tag.partition('}')[2]} from {stanza.from_}"
    payload = "" if stanza.payload is None else stanza.payload.tag.partition("}")[2]
    return f"{stanza.kind} {stanza.body or payload} from {stanza.from_}"


# -- where --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "to, owner",
    [
        ("pat@home.example", "remote"),
        ("tea@rooms.library.example/mia", "rooms"),
        ("rooms.library.example", "rooms"),
        ("sub.rooms.library.example", "remote"),
        ("ask@library.example", "queue"),
        ("ask+417@library.example/x", "queue"),
        ("ask@rooms.library.example", "rooms"),
    ],
)
def test_a_stanza_goes_to_the_owner_of_its_address(server: Server, to: str, owner: str) -> None:
    assert [] == server.send(f"<message to='{to}'><body>hi</body></message>")
    assert ["message hi from mia@library.example/desk"] == getattr(server, owner).told


def test_an_account_is_not_a_queue_because_its_name_begins_like_one(server: Server) -> None:
    server.send("<message to='asking@library.example'><body>taken</body></message>")
    assert [] == server.queue.told


def test_without_federation_other_domains_are_not_found() -> None:
    server = Server()
    router = Router(server.core.hosts, server.core.hooks)
    router.accounts = back = Collecting()
    router.route(Stanza.message(ABROAD, MIA, body="hi"))
    assert ["error remote-server-not-found from pat@home.example/phone"] == back.told


def test_a_stanza_without_address_is_for_ones_own_account(server: Server) -> None:
    assert ["error service-unavailable from mia@library.example"] == server.send(
        "<message><body>hi</body></message>"
    )
    assert [] == server.send("<message><body>taken</body></message>")


def test_a_library_that_is_served_no_more_is_elsewhere(server: Server) -> None:
    server.core.hosts.remove("library.example")
    server.core.hosts.remove_service("rooms.library.example")
    server.core.hosts.remove("never.example")
    server.send("<message to='rooms.library.example'><body>hi</body></message>")
    server.send("<message to='ask@library.example'><body>hi</body></message>")
    assert 2 == len(server.remote.told)
    assert (0, False) == (len(server.core.hosts), server.core.hosts.is_local("library.example"))


def test_the_services_of_a_library_are_those_on_its_subdomains(server: Server) -> None:
    server.core.hosts.add_service("upload.library.example", Collecting())
    server.core.hosts.add_service("rooms.other.example", Collecting())
    server.core.hosts.add_service("otherlibrary.example", Collecting())
    hosts = server.core.hosts
    assert ["rooms.library.example", "upload.library.example"] == hosts.services_of(server.host)
    assert [True, True, False] == [
        hosts.is_local(name) for name in ("library.example", "rooms.other.example", "home.example")
    ]
    assert [server.host] == list(hosts)


# -- stamped, taken, refused ----------------------------------------------------------


def test_the_sender_is_who_sends_it_whatever_it_says(server: Server) -> None:
    server.send("<message to='pat@home.example' from='eve@home.example'><body>hi</body></message>")
    assert ["message hi from mia@library.example/desk"] == server.remote.told


def test_what_a_handler_has_taken_goes_no_further(server: Server) -> None:
    server.send("<message to='pat@home.example'><body>eaten</body></message>")
    server.send("<presence/>")
    server.send("<presence to='pat@home.example'/>")
    assert ["presence  from mia@library.example/desk"] == server.remote.told


def test_a_fault_of_ours_costs_one_stanza_and_is_logged(server: Server, logged: Failures) -> None:
    assert ["error internal-server-error from pat@home.example"] == server.send(
        "<message to='pat@home.example'><body>broken</body></message>"
    )
    assert ["error internal-server-error from pat@library.example"] == server.send(
        "<message to='pat@library.example'><body>broken here</body></message>"
    )
    assert [ZeroDivisionError, ZeroDivisionError] == logged.types
    assert ["iq answer from library.example"] == server.send(_get("now", "library.example"))


@pytest.mark.parametrize("type", ["error", "result"])
def test_answers_are_never_answered(server: Server, type: str) -> None:
    server.core.router.bounce(Stanza.iq(type, MIA, ABROAD), StanzaError(Condition.FORBIDDEN))
    assert [] == server.remote.told


def test_what_has_no_sender_is_never_answered(server: Server) -> None:
    stanza = Stanza.message(MIA, ABROAD)
    stanza.from_ = None
    server.core.router.bounce(stanza, StanzaError(Condition.FORBIDDEN))
    server.core.router.bounce(Stanza.presence(MIA, ABROAD, "unavailable"), StanzaError(Condition.FORBIDDEN))
    assert [] == server.remote.told


# -- iq ---------------------------------------------------------------------------------


def _get(name: str, to: str = "", type: str = "get") -> str:
    address = f" to='{to}'" if to else ""
    return f"<iq type='{type}' id='1'{address}><{name} xmlns='urn:a'/></iq>"


def test_a_request_is_answered_by_its_handler(server: Server) -> None:
    assert ["iq answer from library.example"] == server.send(_get("now", "library.example"))
    assert ["iq answer from pat@library.example"] == server.send(_get("now", "pat@library.example"))
    assert ["iq answer from mia@library.example"] == server.send(_get("now"))


def test_an_answer_may_come_later(server: Server) -> None:
    assert [] == server.send(_get("later", "library.example"))
    server.core.feature(Answers).later.callback(element("urn:a", "answer"))
    assert ["iq answer from library.example"] == server.mia.told


def test_a_refusal_may_come_later(server: Server, logged: Failures) -> None:
    told = []
    for failure in (StanzaError(Condition.GONE), ZeroDivisionError()):
        server.send(_get("later", "library.example"))
        server.core.feature(Answers).later.errback(failure)
        told += server.mia.told
    assert ["error gone from library.example", "error internal-server-error from library.example"] == told
    assert [ZeroDivisionError] == logged.types


@pytest.mark.parametrize(
    "name, to, type, condition",
    [
        ("refused", "library.example", "get", "not-acceptable"),
        ("broken", "library.example", "get", "internal-server-error"),
        ("unknown", "library.example", "get", "service-unavailable"),
        ("now", "library.example", "set", "service-unavailable"),
        ("refused", "pat@library.example", "get", "service-unavailable"),
        ("own", "library.example", "set", "service-unavailable"),
        ("own", "pat@library.example", "set", "forbidden"),
        ("now", "pat@library.example/phone", "get", "service-unavailable"),
    ],
)
def test_a_request_nobody_answers_is_refused(
    server: Server, name: str, to: str, type: str, condition: str
) -> None:
    assert [f"error {condition} from {to}"] == server.send(_get(name, to, type))


def test_what_is_ones_own_is_for_ones_own_sessions(server: Server) -> None:
    assert ["iq  from mia@library.example"] == server.send(_get("own", "", "set"))
    assert ["iq  from mia@library.example"] == server.send(_get("own", "mia@library.example", "set"))
    stanza = Stanza.iq("set", MIA, ABROAD, payload=element("urn:a", "own"))
    server.core.router.route(stanza)
    assert ["error forbidden from mia@library.example"] == server.remote.told


def test_a_request_to_a_resource_is_that_resources_unless_a_feature_takes_it(server: Server) -> None:
    pat = server.client("pat@library.example/phone")
    server.send(_get("now", "pat@library.example/phone"))
    server.send(_get("eaten", "pat@library.example/phone"))
    assert ["iq now from mia@library.example/desk"] == pat.told


def test_an_answer_reaches_the_resource_that_asked_and_nobody_else(server: Server) -> None:
    pat = server.client("pat@library.example/phone")
    assert [] == server.send("<iq type='result' id='1' to='pat@library.example/phone'/>")
    assert ["iq  from mia@library.example/desk"] == pat.told
    for to in ("library.example", "pat@library.example", "mia@library.example"):
        assert [] == server.send(f"<iq type='result' id='1' to='{to}'/>")


# -- hooks and sessions -------------------------------------------------------------------


def test_a_handler_that_fails_keeps_nobody_from_hearing(logged: Failures) -> None:
    heard: list[object] = []

    def fails(event: object) -> None:
        raise ZeroDivisionError

    hooks = Hooks()
    hooks.freeze({AccountAdded: (fails, heard.append)})
    event = AccountAdded(MIA)
    hooks.tell(event)
    assert ([event], [ZeroDivisionError]) == (heard, logged.types)


def test_a_question_waits_for_each_handler_in_turn() -> None:
    hooks, first, heard = Hooks(), Deferred[None](), list[object]()
    hooks.freeze({AccountAdded: (lambda event: first, heard.append)})
    asked = Deferred.fromCoroutine(hooks.ask(AccountAdded(MIA)))
    assert [] == heard
    first.callback(None)
    assert (1, True) == (len(heard), asked.called)


def test_a_session_that_was_replaced_does_not_remove_its_successor(server: Server) -> None:
    sessions = server.core.sessions
    old = server.mia.session
    assert sessions.remove(old)
    new = server.client("mia@library.example/desk").session
    assert not sessions.remove(old)
    assert (new, 1, [new]) == (sessions.get(new.jid), len(sessions), list(sessions))
    assert sessions.remove(new)
    assert (None, {}, 0) == (sessions.get(new.jid), dict(sessions.of(MIA)), len(sessions))
    assert not sessions.remove(new)


def test_a_feature_that_is_not_installed_is_not_found(server: Server) -> None:
    class Other(Feature):
        name = "other"

    assert isinstance(server.core.feature(Answers), Answers)
    with pytest.raises(LookupError):
        server.core.feature(Other)
