"""In-band registration: an account, a new password, the end (XEP-0077)."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from refserver import ns
from refserver.core.feature import Feature, on
from refserver.core.hooks import AccountAdded, AccountRemoved
from refserver.core.hosts import Host
from refserver.errors import StanzaError, StreamCondition, StreamError
from refserver.features.registration import LONGEST_PASSWORD, Registration
from refserver.jid import JID
from refserver.sasl import check_password
from refserver.stanza import Stanza
from refserver.storage import accounts, queues
from tests.server.harness import Client, Harness, describe

PAT = JID.parse("pat@library.example")
REMOVE = f"<query xmlns='{ns.REGISTER}'><remove/></query>"
FIELDS = f"<query xmlns='{ns.REGISTER}'/>"


class Witness(Feature):
    """Notes which accounts come and go."""

    name = "witness"
    seen: list[str]

    @on(AccountAdded, AccountRemoved)
    def note(self, event: AccountAdded | AccountRemoved) -> None:
        self.__dict__.setdefault("seen", []).append(f"{type(event).__name__} {event.account}")


class Desk:
    """An address that is no account."""

    def deliver(self, stanza: Stanza) -> None:
        raise AssertionError


def credentials(username: str, password: str = "a secret") -> str:
    inner = f"<username>{username}</username><password>{password}</password>"
    return f"<query xmlns='{ns.REGISTER}'>{inner}</query>"


@pytest.fixture
def server() -> Harness:
    return Harness([Registration, Witness])


def library(server: Harness) -> Host:
    host = server.core.hosts.get("library.example")
    assert host is not None
    return host


def register(server: Harness, username: str, password: str = "a secret") -> JID:
    registration = server.core.feature(Registration)
    jid: JID = server.run(registration.register(library(server), fromstring(credentials(username, password))))
    return jid


def opens(server: Harness, account: JID, password: str) -> list[bool]:
    verifiers = server.database.read_now(accounts.verifiers, account) or {}
    return [check_password(verifier, password) for verifier in verifiers.values()]


def secured(server: Harness, jid: str) -> Client:
    client = server.client(jid)
    client.session.secure = True
    return client


# -- newcomers ---------------------------------------------------------------------------------


def test_a_new_account_has_the_password_and_everybody_hears_of_it(server: Harness) -> None:
    assert JID.parse("new@library.example") == register(server, "New", "a sëcret")
    assert [True, True] == opens(server, JID.parse("new@library.example"), "a sëcret")
    assert ["AccountAdded new@library.example"] == server.core.feature(Witness).seen


def test_the_form_asks_for_name_and_password(server: Harness) -> None:
    names = [field.tag.partition("}")[2] for field in server.core.feature(Registration).form()]
    assert ["instructions", "username", "password"] == names


@pytest.mark.parametrize(
    "username, password, condition",
    [
        ("pat", "a secret", "conflict"),
        ("PAT", "a secret", "conflict"),
        ("ask", "a secret", "conflict"),
        ("ask+417", "a secret", "conflict"),
        ("", "a secret", "not-acceptable"),
        ("new", "", "not-acceptable"),
        ("new", "seven77", "not-acceptable"),
        ("a b", "a secret", "jid-malformed"),
        ("a@b", "a secret", "jid-malformed"),
        ("x" * 1024, "a secret", "jid-malformed"),
        ("new", "p" * (LONGEST_PASSWORD + 1), "not-acceptable"),
        ("new", "ü" * 512, "not-acceptable"),
        ("new", "a\u0085b", "not-acceptable"),
        ("new", "\u00ad", "not-acceptable"),
    ],
)
def test_a_newcomer_is_refused(server: Harness, username: str, password: str, condition: str) -> None:
    server.account(PAT.text)
    library(server).addresses["ask"] = Desk()
    with pytest.raises(StanzaError) as refused:
        register(server, username, password)
    assert condition == refused.value.condition.value
    assert ["AccountAdded pat@library.example"] == server.core.feature(Witness).seen


@pytest.mark.parametrize("username", ["desk", "desk+417"])
def test_a_queue_that_is_added_at_the_same_moment_keeps_its_addresses(server: Harness, username: str) -> None:
    server.database.write_now(queues.add, JID.parse("desk@library.example"))  # not announced yet
    with pytest.raises(StanzaError) as refused:
        register(server, username)
    assert refused.value.condition.value == "conflict"


# -- those who have an account -----------------------------------------------------------------


@pytest.mark.parametrize("to", ["", PAT.text, "library.example"])
def test_one_s_own_registration_names_the_account_and_no_password(server: Harness, to: str) -> None:
    answer = server.client(f"{PAT}/phone").ask("get", FIELDS, to)
    assert answer.payload is not None
    told = {field.tag.partition("}")[2]: field.text for field in answer.payload}
    assert told.pop("instructions")
    assert {"registered": None, "username": "pat", "password": None} == told


@pytest.mark.parametrize("to", ["", "library.example"])
def test_a_new_password_over_tls_replaces_the_old_one(server: Harness, to: str) -> None:
    pat = secured(server, f"{PAT}/phone")
    assert pat.ask("set", credentials("Pat", "another one"), to).type == "result"
    assert [True, True] == opens(server, PAT, "another one")
    assert [False, False] == opens(server, PAT, "a secret")


def test_without_tls_no_password_is_changed(server: Harness) -> None:
    pat = server.client(f"{PAT}/phone")
    assert "error not-authorized" == describe(pat.ask("set", credentials("pat", "another one")))
    assert [] == opens(server, PAT, "another one")


@pytest.mark.parametrize(
    "payload, condition",
    [
        (credentials("mia", "another one"), "not-allowed"),
        (credentials("@", "another one"), "not-allowed"),
        (credentials("pat", ""), "not-acceptable"),
        (credentials("", "another one"), "not-acceptable"),
        (credentials("pat", "a&#x85;b"), "not-acceptable"),
        (credentials("pat", "x" * (LONGEST_PASSWORD + 1)), "not-acceptable"),
        (REMOVE.replace("<remove/>", "<remove/><username>pat</username>"), "bad-request"),
    ],
)
def test_a_bad_change_changes_nothing(server: Harness, payload: str, condition: str) -> None:
    pat = secured(server, f"{PAT}/phone")
    server.account("mia@library.example")
    assert f"error {condition}" == describe(pat.ask("set", payload))
    assert server.database.read_now(accounts.exists, PAT)
    assert [] == opens(server, PAT, "another one")


@pytest.mark.parametrize(
    "to", ["mia@library.example", "nobody@library.example", "other.example", "pat@other.example"]
)
@pytest.mark.parametrize(
    "type, payload", [("get", FIELDS), ("set", REMOVE), ("set", credentials("mia", "x"))]
)
def test_another_s_registration_is_forbidden(server: Harness, type: str, payload: str, to: str) -> None:
    pat = secured(server, f"{PAT}/phone")
    server.account("mia@library.example")
    server.account("pat@other.example")
    assert "error forbidden" == describe(pat.ask(type, payload, to))
    assert server.database.read_now(accounts.exists, JID.parse("pat@other.example"))


def test_who_removes_the_account_hears_of_it_before_all_sessions_end(server: Harness) -> None:
    phone, tablet = server.online(f"{PAT}/phone"), server.online(f"{PAT}/tablet")
    phone.received()
    assert phone.ask("set", REMOVE).type == "result"
    assert not server.database.read_now(accounts.exists, PAT)
    assert phone.closed is tablet.closed is False
    server.clock.advance(0)
    for client in (phone, tablet):
        assert isinstance(client.closed, StreamError)
        assert StreamCondition.NOT_AUTHORIZED is client.closed.condition
    assert "AccountRemoved pat@library.example" in server.core.feature(Witness).seen


def test_a_stranger_of_another_server_is_forbidden(server: Harness) -> None:
    server.arrive(f"<iq type='set' id='1' from='x@elsewhere.example/y' to='library.example'>{REMOVE}</iq>")
    assert ["error forbidden to x@elsewhere.example/y"] == server.elsewhere.told()
