"""The dispatcher of iqs: handlers and service discovery of any kind of address."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from twisted.internet.defer import Deferred

from refserver import ns
from refserver.core.feature import Feature, Request, Target, disco_info, disco_items, iq
from refserver.errors import Condition, StanzaError
from refserver.payloads.disco import Identity, Info, Item
from refserver.payloads.forms import Field, result
from refserver.stanza import IQ_REQUESTS, Stanza
from refserver.xml.element import Element, element
from tests.server.harness import Client, Harness, describe

ADDRESS = "ask@library.example"
INFO = f"<query xmlns='{ns.DISCO_INFO}'/>"
ITEMS = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
NODE = f"<query xmlns='{ns.DISCO_INFO}' node='rules'/>"


class Queue:
    """An address that answers for itself."""

    def __init__(self, server: Harness, title: str) -> None:
        self.title, self.hidden = title, False
        self.waiting: Deferred[Element] = Deferred()
        self._server = server

    def deliver(self, stanza: Stanza) -> None:
        host = self._server.core.hosts.get("library.example")
        assert host is not None
        if stanza.type in IQ_REQUESTS:
            self._server.core.iqs.answer(stanza, host, Target.QUEUE, self)

    @disco_info(Target.QUEUE)
    def info(self, request: Request) -> Info:
        if self.hidden:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        form = result("urn:form", (Field("wait", values=("3",)),))
        return Info((Identity("collaboration", "workgroup", self.title),), ("urn:extra",), (form,))

    @disco_info(Target.QUEUE, node="rules")
    def rules(self, request: Request) -> Info:
        return Info((Identity("hierarchy", "leaf"),))

    @disco_items(Target.QUEUE)
    def items(self, request: Request) -> Iterable[Item]:
        return (Item("ask+1@library.example", "#1"),)

    @iq("get", "urn:title", "title", to=Target.QUEUE)
    def get_title(self, request: Request) -> Element:
        return element("urn:title", "title", text=self.title)

    @iq("get", "urn:later", "later", to=Target.QUEUE)
    async def later(self, request: Request) -> Element:
        return await self.waiting

    @iq("set", "urn:broken", "broken", to=Target.QUEUE, advertise=False)
    def broken(self, request: Request) -> None:
        raise ZeroDivisionError


class Bot(Feature):
    """A feature that adds to what every queue is."""

    name = "bot"
    disco = {Target.QUEUE: ("urn:bot",)}

    @disco_info(Target.QUEUE)
    def info(self, request: Request) -> Info:
        return Info((Identity("client", "bot", request.place.title),))

    @iq("get", "urn:ping", "ping", to=Target.QUEUE)
    def ping(self, request: Request) -> None:
        return None

    @iq("get", "urn:title", "title", to=Target.QUEUE)
    def title(self, request: Request) -> None:
        raise AssertionError("the queue's own handler comes first")


@pytest.fixture
def server() -> Harness:
    return Harness([Bot])


@pytest.fixture
def queue(server: Harness) -> Queue:
    queue = Queue(server, "Ask")
    host = server.core.hosts.get("library.example")
    assert host is not None
    host.addresses["ask"] = queue
    return queue


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.online("mia@library.example/desk")


def test_disco_info_joins_what_the_place_and_the_features_declare(mia: Client, queue: Queue) -> None:
    answer = mia.ask("get", INFO, ADDRESS)
    assert answer.payload is not None
    assert [
        ("identity", "collaboration", "workgroup", "Ask"),
        ("identity", "client", "bot", "Ask"),
    ] == [
        ("identity", found.get("category"), found.get("type"), found.get("name"))
        for found in answer.payload.findall(f"{{{ns.DISCO_INFO}}}identity")
    ]
    features = [found.get("var") for found in answer.payload.findall(f"{{{ns.DISCO_INFO}}}feature")]
    expected = ["urn:bot", "urn:extra", "urn:later", "urn:ping", "urn:title"]
    assert [ns.DISCO_INFO, ns.DISCO_ITEMS, *expected] == features
    assert f"{{{ns.DATA}}}x" == answer.payload[-1].tag


def test_a_result_mirrors_the_node_and_an_unknown_node_is_not_found(mia: Client, queue: Queue) -> None:
    answer = mia.ask("get", NODE, ADDRESS)
    assert answer.payload is not None
    assert "rules" == answer.payload.get("node")
    assert "leaf" == answer.payload[0].get("type")
    for payload in (INFO, ITEMS):
        unknown = payload.replace("/>", " node='unknown'/>")
        assert "error item-not-found" == describe(mia.ask("get", unknown, ADDRESS))


def test_who_may_not_see_an_address_learns_nothing_of_its_nodes(mia: Client, queue: Queue) -> None:
    queue.hidden = True
    for payload in (INFO, NODE, INFO.replace("/>", " node='unknown'/>")):
        assert "error service-unavailable" == describe(mia.ask("get", payload, ADDRESS))


def test_items_are_those_of_the_place(mia: Client, queue: Queue) -> None:
    answer = mia.ask("get", ITEMS, ADDRESS)
    assert answer.payload is not None
    assert [("ask+1@library.example", "#1")] == [(e.get("jid"), e.get("name")) for e in answer.payload]


def test_the_handler_of_the_place_comes_before_the_feature_s(mia: Client, queue: Queue) -> None:
    answer = mia.ask("get", "<title xmlns='urn:title'/>", ADDRESS)
    assert answer.payload is not None
    assert "Ask" == answer.payload.text
    assert "result" == describe(mia.ask("get", "<ping xmlns='urn:ping'/>", ADDRESS))


def test_a_handler_may_answer_later_and_may_fail_later(mia: Client, queue: Queue) -> None:
    mia.send(f"<iq type='get' id='1' to='{ADDRESS}'><later xmlns='urn:later'/></iq>")
    assert [] == mia.told()
    queue.waiting.errback(StanzaError(Condition.FORBIDDEN))
    assert ["error forbidden"] == mia.told()


@pytest.mark.parametrize("type", ["get", "set"])
def test_an_unknown_request_is_service_unavailable(mia: Client, queue: Queue, type: str) -> None:
    assert "error service-unavailable" == describe(mia.ask(type, "<x xmlns='urn:unknown'/>", ADDRESS))
    assert "error service-unavailable" == describe(mia.ask("set", INFO, ADDRESS))


def test_a_handler_that_breaks_costs_one_request(
    mia: Client, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "error internal-server-error" == describe(mia.ask("set", "<broken xmlns='urn:broken'/>", ADDRESS))
    assert "result" == describe(mia.ask("get", "<ping xmlns='urn:ping'/>", ADDRESS))
