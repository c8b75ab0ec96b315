"""Where stanzas go, and that what goes wrong costs one stanza: router, accounts, requests."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from refserver.core.core import Core
from refserver.core.feature import Feature, Request, Target, iq, on
from refserver.core.hooks import (
    IqDelivering,
    MessageDelivering,
    MessageSent,
    PresenceReceived,
    PresenceSent,
    SessionBound,
)
from refserver.core.router import Nowhere
from refserver.errors import Condition, StanzaError
from refserver.features.messages import Messages
from refserver.features.presence import Presence
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml.element import Element, element
from tests.server.harness import Client, Harness, describe

PAT, ROOM = "pat@library.example", "rooms.library.example"


class Desk:
    """A destination that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def deliver(self, stanza: Stanza) -> None:
        self.got.append(f"{describe(stanza)} to {stanza.to}")


class Trouble(Feature):
    """Handlers that fail when a stanza's id says so. Its name puts it before messages and presence."""

    name = "blocking"

    @on(MessageSent, MessageDelivering, PresenceSent, PresenceReceived, IqDelivering, SessionBound)
    def fail(self, event: Any) -> bool | None:
        stanza = getattr(event, "stanza", None)
        if stanza is not None and stanza.type == "error":
            return None
        if stanza is None or stanza.id == type(event).__name__:
            raise RuntimeError("a mistake of ours")
        if stanza.id == f"refuse {type(event).__name__}":
            raise StanzaError(Condition.POLICY_VIOLATION, "no")
        return True if stanza.id == f"stop {type(event).__name__}" else None

    @iq("get", "urn:t", "now", to=(Target.SERVER, Target.ACCOUNT))
    def now(self, request: Request) -> Element | None:
        return self._answer(request)

    @iq("get", "urn:t", "later", to=Target.ACCOUNT)
    async def later(self, request: Request) -> Element | None:
        self.waiting: Deferred[None] = Deferred()
        await self.waiting
        return self._answer(request)

    @iq("set", "urn:t", "own", to=Target.OWN)
    def own(self, request: Request) -> Element:
        return element("urn:t", "mine", {"who": str(request.sender), "account": str(request.address)})

    @iq("get", "urn:t", "both", to=Target.OWN)
    def mine(self, request: Request) -> Element:
        return element("urn:t", "mine")

    @iq("get", "urn:t", "both", to=Target.ACCOUNT)
    def anybody_s(self, request: Request) -> Element:
        return element("urn:t", "anybody")

    def _answer(self, request: Request) -> Element | None:
        wanted = request.payload.get("answer")
        if wanted == "mistake":
            raise RuntimeError("a mistake of ours")
        if wanted == "refusal":
            raise StanzaError(Condition.NOT_ALLOWED)
        return element("urn:t", "done") if wanted else None


@pytest.fixture
def server() -> Harness:
    return Harness([Trouble, Messages])


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.client("mia@library.example/desk")


@pytest.fixture
def pat(server: Harness) -> Client:
    return server.online(f"{PAT}/phone")


# -- ways ------------------------------------------------------------------------------------


def test_each_address_has_its_owner(server: Harness, mia: Client, pat: Client) -> None:
    ask, rooms = Desk(), Desk()
    library = server.core.hosts.get("library.example")
    assert library is not None
    library.addresses["ask"] = ask
    server.core.hosts.add_service(ROOM, rooms)
    for to in ("ask@library.example", "ask+417@library.example/x", f"a@{ROOM}/b", "x@elsewhere.example", PAT):
        mia.send(f"<message to='{to}'/>")
    said = f"message from {mia.jid}: "
    assert [f"{said} to ask@library.example", f"{said} to ask+417@library.example/x"] == ask.got
    assert [f"{said} to a@{ROOM}/b"] == rooms.got
    assert [f"{said} to x@elsewhere.example"] == server.elsewhere.told()
    assert [said] == pat.told()


def test_a_library_of_queues_still_has_accounts(server: Harness, mia: Client, pat: Client) -> None:
    library = server.core.hosts.get("library.example")
    assert library is not None
    library.addresses["ask"] = Desk()
    mia.send(f"<message to='{PAT}'/>")
    assert 1 == len(pat.told())


def test_without_federation_others_are_not_found(server: Harness, mia: Client) -> None:
    server.core.router.remote = Nowhere(server.core.router)
    mia.send("<message to='x@elsewhere.example'/>")
    assert ["error remote-server-not-found from x@elsewhere.example"] == mia.told()


def test_the_sender_is_always_the_session(server: Harness, mia: Client, pat: Client) -> None:
    mia.send(f"<message from='{PAT}/forged' to='{PAT}'/>")
    assert [f"message from {mia.jid}: "] == pat.told()


@pytest.mark.parametrize("type", ["error", "result", "unavailable"])
def test_what_is_an_answer_is_never_answered(server: Harness, mia: Client, type: str) -> None:
    kind = {"error": "message", "result": "iq", "unavailable": "presence"}[type]
    stanza = Stanza(kind, element("jabber:client", kind, {"type": type}), JID.parse(PAT), mia.jid)
    server.core.router.bounce(stanza, StanzaError(Condition.CONFLICT))
    assert [] == mia.told()


def test_what_comes_from_nobody_is_not_answered(server: Harness) -> None:
    stanza = Stanza("message", element("jabber:client", "message"), JID.parse(PAT), None)
    server.core.router.bounce(stanza, StanzaError(Condition.CONFLICT))
    assert [] == server.elsewhere.told()


# -- what handlers do --------------------------------------------------------------------------

MISTAKES = [
    (f"<message to='{PAT}' id='MessageSent'/>", f" from {PAT}"),
    (f"<message to='{PAT}' id='MessageDelivering'/>", f" from {PAT}"),
    ("<presence id='PresenceSent'/>", " from None"),
    (f"<presence to='{PAT}' id='PresenceReceived'/>", f" from {PAT}"),
    (f"<iq type='get' to='{PAT}/phone' id='IqDelivering'><a xmlns='b'/></iq>", ""),
]


@pytest.mark.parametrize("stanza, sender", MISTAKES)
def test_a_mistake_of_ours_costs_one_stanza(
    server: Harness, mia: Client, pat: Client, stanza: str, sender: str
) -> None:
    mia.send(stanza)
    assert [f"error internal-server-error{sender}"] == mia.told()
    assert [] == pat.told()
    mia.send(f"<message to='{PAT}' id='next'/>")
    assert [f"message from {mia.jid}: "] == pat.told()


@pytest.mark.parametrize("stanza, sender", MISTAKES)
def test_a_refusal_is_the_answer(server: Harness, mia: Client, pat: Client, stanza: str, sender: str) -> None:
    mia.send(stanza.replace(" id='", " id='refuse "))
    assert [f"error policy-violation{sender}"] == mia.told()
    assert [] == pat.told()


@pytest.mark.parametrize("stanza, sender", MISTAKES)
def test_what_a_handler_takes_goes_no_further(
    server: Harness, mia: Client, pat: Client, stanza: str, sender: str
) -> None:
    mia.send(stanza.replace(" id='", " id='stop "))
    assert [] == mia.told()
    assert [] == pat.told()


def test_a_handler_that_fails_at_an_event_keeps_nobody_from_logging_in(server: Harness) -> None:
    """`Trouble` fails at every SessionBound."""
    assert server.client("sam@library.example/x").session in set(server.core.sessions)


def test_a_stanza_for_a_host_that_has_gone_is_a_mistake_that_costs_one(server: Harness, mia: Client) -> None:
    stanza = Stanza.message(JID.parse("x@gone.example"), mia.jid)
    server.core.router.accounts.deliver(stanza)
    assert ["error internal-server-error from x@gone.example"] == mia.told()


def test_a_message_that_no_feature_takes_is_refused() -> None:
    server = Harness()
    server.arrive(f"<message to='{PAT}' from='x@elsewhere.example'/>")
    assert [f"error service-unavailable from {PAT} to x@elsewhere.example"] == server.elsewhere.told()


# -- requests ----------------------------------------------------------------------------------


def now(answer: str, name: str = "now") -> str:
    return f"<{name} xmlns='urn:t' answer='{answer}'/>"


@pytest.mark.parametrize(
    "answer, told",
    [
        ("", "result"),
        ("yes", "result"),
        ("mistake", "error internal-server-error"),
        ("refusal", "error not-allowed"),
    ],
)
def test_answers_and_failures_become_results_and_errors(mia: Client, answer: str, told: str) -> None:
    for to in ("", "library.example", PAT):
        assert told == describe(mia.ask("get", now(answer), to))


@pytest.mark.parametrize(
    "answer, told",
    [("yes", "result"), ("mistake", "error internal-server-error"), ("refusal", "error not-allowed")],
)
def test_an_answer_may_come_later(server: Harness, mia: Client, answer: str, told: str) -> None:
    mia.send(f"<iq type='get' id='1'>{now(answer, 'later')}</iq>")
    assert [] == mia.told()
    server.core.feature(Trouble).waiting.callback(None)
    assert [told] == mia.told()


def test_an_answer_for_who_has_left_is_dropped(server: Harness, mia: Client) -> None:
    mia.send(f"<iq type='get' id='1'>{now('yes', 'later')}</iq>")
    mia.end()
    server.core.feature(Trouble).waiting.callback(None)
    assert [] == mia.told()


def test_one_s_own_account_may_have_an_answer_of_its_own(mia: Client, server: Harness) -> None:
    for to, name in (("", "mine"), ("mia@library.example", "mine"), (PAT, "anybody")):
        payload = mia.ask("get", "<both xmlns='urn:t'/>", to).payload
        assert payload is not None
        assert f"{{urn:t}}{name}" == payload.tag


def test_what_is_one_s_own_is_forbidden_to_others(server: Harness, mia: Client) -> None:
    payload = mia.ask("set", "<own xmlns='urn:t'/>").payload
    assert payload is not None
    assert {"who": str(mia.jid), "account": "mia@library.example"} == payload.attrib
    assert "error forbidden" == describe(mia.ask("set", "<own xmlns='urn:t'/>", PAT))
    server.arrive(
        f"<iq type='set' id='1' from='mia@elsewhere.example/x' to='{PAT}'><own xmlns='urn:t'/></iq>"
    )
    assert ["error forbidden to mia@elsewhere.example/x"] == server.elsewhere.told()


def test_an_unknown_question_is_unavailable(mia: Client) -> None:
    for type, payload, to in (
        ("set", now("yes"), ""),
        ("get", "<now xmlns='urn:other'/>", ""),
        ("get", now("yes", "later"), "library.example"),
        ("set", "<own xmlns='urn:t'/>", "library.example"),
    ):
        assert "error service-unavailable" == describe(mia.ask(type, payload, to))


# -- the core ----------------------------------------------------------------------------------


def test_features_are_found_by_their_class(server: Harness) -> None:
    core: Core = server.core
    assert isinstance(core.feature(Presence), Presence)

    class Missing(Feature):
        name = "missing"

    with pytest.raises(LookupError, match="Missing"):
        core.feature(Missing)
