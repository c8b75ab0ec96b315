"""The small questions: ping, version, time, last activity (XEP-0199, 0092, 0202, 0012)."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import pytest

from refserver import ns
from refserver.features.last_activity import LONGEST_STATUS, LastActivity
from refserver.features.roster import RosterItem, Rosters
from refserver.features.server_information import EntityTime, Ping, Version, software_version
from refserver.storage import accounts
from refserver.xml.element import child_text
from tests.server.harness import EPOCH, Client, Harness, describe

PING = f"<ping xmlns='{ns.PING}'/>"
LAST = f"<query xmlns='{ns.LAST}'/>"
DOMAIN, PAT = "library.example", "pat@library.example"


@pytest.fixture
def server() -> Harness:
    return Harness([Ping, Version, EntityTime, LastActivity])


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.online("mia@library.example/desk")


# -- ping, version, time -----------------------------------------------------------------------


@pytest.mark.parametrize("to", ["", DOMAIN, "mia@library.example", "other.example"])
def test_a_ping_is_answered_with_nothing(mia: Client, to: str) -> None:
    answer = mia.ask("get", PING, to)
    assert ("result", None) == (answer.type, answer.payload)


@pytest.mark.parametrize("to", [PAT, "nobody@library.example"])
def test_others_accounts_do_not_answer_pings(server: Harness, mia: Client, to: str) -> None:
    server.online(f"{PAT}/phone")
    assert "error service-unavailable" == describe(mia.ask("get", PING, to))


def test_the_version_is_the_package_s_and_the_system_is_not_told(mia: Client) -> None:
    payload = mia.ask("get", f"<query xmlns='{ns.VERSION}'/>", DOMAIN).payload
    assert payload is not None
    told = {element.tag.partition("}")[2]: element.text for element in payload}
    assert {"name": "refserver", "version": software_version()} == told


def test_a_tree_that_was_never_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("refserver.features.server_information.version", missing)
    assert "unknown" == software_version.__wrapped__()
    assert version("twisted")


def test_the_time_is_utc(server: Harness, mia: Client) -> None:
    server.clock.advance(90.7)
    payload = mia.ask("get", f"<time xmlns='{ns.TIME}'/>", DOMAIN).payload
    assert payload is not None
    assert "+00:00" == child_text(payload, ns.TIME, "tzo")
    told = child_text(payload, ns.TIME, "utc")
    assert told.endswith("Z")
    assert datetime.fromtimestamp(int(EPOCH + 90), UTC) == datetime.fromisoformat(told)


# -- last activity -----------------------------------------------------------------------------


def seconds(client: Client, to: str) -> tuple[str | None, str | None]:
    answer = client.ask("get", LAST, to)
    assert answer.type == "result", describe(answer)
    assert answer.payload is not None
    return answer.payload.get("seconds"), answer.payload.text


@pytest.fixture
def pat(server: Harness, mia: Client) -> Client:
    """A contact, whose presence Mia sees."""
    pat = server.online(f"{PAT}/phone")
    mia.send(f"<presence type='subscribe' to='{PAT}'/>")
    pat.send("<presence type='subscribed' to='mia@library.example'/>")
    mia.received()
    return pat


def test_a_library_tells_since_when_it_is_up(server: Harness, mia: Client) -> None:
    server.clock.advance(100.9)
    assert ("100", None) == seconds(mia, DOMAIN)


def test_who_is_connected_is_here(server: Harness, mia: Client, pat: Client) -> None:
    """XEP-0012 4: available or not."""
    server.clock.advance(100)
    assert ("0", None) == seconds(mia, PAT)
    pat.send("<presence type='unavailable'/>")
    mia.received()
    assert ("0", None) == seconds(mia, PAT)


def test_who_has_left_did_so_when_the_last_session_ended(server: Harness, mia: Client, pat: Client) -> None:
    tablet = server.online(f"{PAT}/tablet")
    tablet.send("<presence type='unavailable'><status>reading</status></presence>")
    tablet.end()
    server.clock.advance(30)
    mia.received()
    assert ("0", None) == seconds(mia, PAT)
    pat.send("<presence type='unavailable'><status>heading home</status></presence>")
    pat.end()
    server.clock.advance(903)
    mia.received()
    assert ("903", "heading home") == seconds(mia, PAT)


def test_what_was_said_before_does_not_count(server: Harness, mia: Client, pat: Client) -> None:
    pat.send("<presence type='unavailable'><status>lunch</status></presence>")
    pat.send("<presence><status>back</status></presence>")
    pat.end()
    mia.received()
    assert ("0", None) == seconds(mia, PAT)


def test_a_long_word_of_farewell_is_cut(server: Harness, mia: Client, pat: Client) -> None:
    pat.send(f"<presence type='unavailable'><status>{'x' * 5000}</status></presence>")
    pat.end()
    mia.received()
    assert ("0", "x" * LONGEST_STATUS) == seconds(mia, PAT)


def test_a_clock_that_went_back_is_no_negative_time(server: Harness, mia: Client, pat: Client) -> None:
    pat.end()
    account = pat.jid.bare
    server.database.write_now(accounts.logged_out, account, EPOCH + 5000)
    mia.received()
    assert ("0", None) == seconds(mia, PAT)


def test_who_never_was_here_has_no_last_activity(server: Harness, mia: Client, pat: Client) -> None:
    pat.end()
    server.remove_account(PAT)
    server.account(PAT)
    mia.received()
    assert "error forbidden" == describe(mia.ask("get", LAST, PAT))  # with the account went the subscription
    me = server.client("new@library.example/desk")
    assert ("0", None) == seconds(me, "")


def test_a_contact_who_was_never_here_is_not_found(server: Harness, mia: Client) -> None:
    account = server.account(PAT)
    item = RosterItem(mia.jid.bare, subscription="from")
    server.run(server.core.feature(Rosters).set_item(account, item))
    assert "error item-not-found" == describe(mia.ask("get", LAST, PAT))


@pytest.mark.parametrize("to", [PAT, "nobody@library.example"])
def test_strangers_are_not_told(server: Harness, mia: Client, to: str) -> None:
    server.online(f"{PAT}/phone")
    assert "error forbidden" == describe(mia.ask("get", LAST, to))


def test_a_time_that_cannot_be_stored_is_only_logged(
    server: Harness, mia: Client, pat: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(accounts, "logged_out", broken)
    pat.end()
    assert server.core.sessions.get(pat.jid) is None
