"""Roster get, set, push and versions: RFC 6121 2, and the roster rows of bad input."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.features.roster import RosterItem, Rosters
from refserver.features.roster import rosters as roster_module
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage import rosters
from refserver.xml.element import Element
from refserver.xml.write import escape_attribute
from tests.server.harness import Client, Harness, describe

ROSTER = "jabber:iq:roster"
MIA = JID.parse("mia@library.example")
PAT = JID.parse("pat@elsewhere.example")


@pytest.fixture
def server() -> Harness:
    return Harness()


@pytest.fixture
def mia(server: Harness) -> Client:
    return server.online("mia@library.example/desk")


def get(client: Client, ver: str | None = None) -> Stanza:
    attribute = "" if ver is None else f" ver='{ver}'"
    return client.ask("get", f"<query xmlns='{ROSTER}'{attribute}/>")


def put(client: Client, item: str) -> str:
    """The answer to the set of an item."""
    return describe(client.ask("set", f"<query xmlns='{ROSTER}'>{item}</query>"))


def items(answer: Stanza) -> list[Element]:
    assert answer.type == "result"
    assert answer.payload is not None
    return list(answer.payload)


def version(answer: Stanza) -> str:
    assert answer.payload is not None
    return answer.payload.attrib["ver"]


# -- get and set ----------------------------------------------------------------------------


def test_empty_roster_is_an_empty_query_with_a_version(mia: Client) -> None:
    answer = get(mia)
    assert items(answer) == []
    assert version(answer) != ""
    assert answer.from_ == MIA


def test_item_is_kept_as_it_was_set(server: Harness, mia: Client) -> None:
    name = escape_attribute("Pat & <Co> 'x' ☂")
    assert put(mia, f"<item jid='{PAT}' name='{name}'><group>Z</group><group>A b</group></item>") == "result"
    for source in (mia, server.restarted().client("mia@library.example/other")):
        (item,) = items(get(source))
        assert item.attrib == {"jid": PAT.text, "name": "Pat & <Co> 'x' ☂", "subscription": "none"}
        assert sorted(group.text or "" for group in item) == ["A b", "Z"]


def test_update_replaces_name_and_groups_and_keeps_the_subscription(server: Harness, mia: Client) -> None:
    item = RosterItem(PAT, name="old", subscription="both", groups=("Old",))
    server.run(server.core.feature(Rosters).set_item(MIA, item))
    assert put(mia, f"<item jid='{PAT}' subscription='none'><group>New</group></item>") == "result"
    (found,) = items(get(mia))
    assert found.attrib == {"jid": PAT.text, "subscription": "both"}
    assert [group.text for group in found] == ["New"]


@pytest.mark.parametrize("claimed", ["subscription='both'", "ask='subscribe'", "approved='true'"])
def test_clients_cannot_set_what_is_the_servers(server: Harness, mia: Client, claimed: str) -> None:
    assert put(mia, f"<item jid='{PAT}' {claimed}/>") == "result"
    (item,) = items(get(mia))
    assert item.attrib == {"jid": PAT.text, "subscription": "none"}
    mia.send("<presence/>")
    assert server.elsewhere.told() == []


def test_removal_tells_the_contact_everything_is_over(server: Harness, mia: Client) -> None:
    server.run(server.core.feature(Rosters).set_item(MIA, RosterItem(PAT, subscription="both")))
    assert put(mia, f"<item jid='{PAT}' subscription='remove'/>") == "result"
    assert server.elsewhere.told() == [
        f"unsubscribe from {MIA} to {PAT}",
        f"unavailable from {MIA}/desk to {PAT}",
        f"unsubscribed from {MIA} to {PAT}",
    ]
    assert items(get(mia)) == []
    assert items(get(server.restarted().client("mia@library.example/x"))) == []


@pytest.mark.parametrize(
    "item, told",
    [
        (RosterItem(PAT), []),
        (RosterItem(PAT, subscription="to"), ["unsubscribe"]),
        (RosterItem(PAT, ask=True), ["unsubscribe"]),
        (RosterItem(PAT, subscription="from"), ["unavailable", "unsubscribed"]),
        (RosterItem(PAT, pending_in=b"<presence type='subscribe'/>"), ["unsubscribed"]),
    ],
)
def test_removal_tells_the_contact_no_more_than_it_must(
    server: Harness, mia: Client, item: RosterItem, told: list[str]
) -> None:
    server.run(server.core.feature(Rosters).set_item(MIA, item))
    put(mia, f"<item jid='{PAT}' subscription='remove'/>")
    assert [stanza.type for stanza in server.elsewhere.received()] == told


def test_removal_between_two_accounts_here_empties_both_sides(server: Harness, mia: Client) -> None:
    pat = server.online("pat@library.example/home")
    pat.send("<presence type='subscribe' to='mia@library.example'/>")
    mia.send("<presence type='subscribed' to='pat@library.example'/>")
    pat.received()
    mia.received()
    assert put(pat, "<item jid='mia@library.example' subscription='remove'/>") == "result"
    assert pat.told() == ["push mia@library.example remove", "unavailable from mia@library.example/desk"]
    assert mia.told() == ["unsubscribe from pat@library.example", "push pat@library.example none"]


# -- pushes -----------------------------------------------------------------------------------


def test_every_interested_resource_is_pushed_before_the_result(server: Harness, mia: Client) -> None:
    phone = server.client("mia@library.example/phone")
    get(phone)
    quiet = server.client("mia@library.example/quiet")
    quiet.send("<presence/>")
    for client in (mia, phone, quiet):
        client.received()
    mia.send(f"<iq type='set' id='s1'><query xmlns='{ROSTER}'><item jid='{PAT}'/></query></iq>")
    push, result = mia.received()
    assert (describe(push), describe(result), result.id) == (f"push {PAT} none", "result", "s1")
    assert phone.told() == [f"push {PAT} none"]
    assert quiet.told() == []


def test_push_is_from_the_account_with_an_id_and_the_version(server: Harness, mia: Client) -> None:
    mia.send(f"<iq type='set' id='s1'><query xmlns='{ROSTER}'><item jid='{PAT}'/></query></iq>")
    push = mia.received()[0]
    assert push.from_ == MIA
    assert push.to == mia.jid
    assert push.id not in ("", "s1")
    assert version(push) == version(get(mia))


def test_answers_to_pushes_go_no_further(server: Harness, mia: Client) -> None:
    mia.send("<iq type='result' id='whatever'/>")
    mia.send(f"<iq type='result' id='whatever' to='{MIA}'/>")
    assert mia.told() == []


def test_pushes_come_in_the_order_of_changes_with_growing_versions(server: Harness, mia: Client) -> None:
    with server.holding():
        for number in range(3):
            mia.send(
                f"<iq type='set' id='{number}'><query xmlns='{ROSTER}'>"
                f"<item jid='{PAT}' name='{number}'/></query></iq>"
            )
        assert mia.told() == [], "nothing is said before it is durable"
    told = mia.received()
    assert [stanza.id for stanza in told if stanza.type == "result"] == ["0", "1", "2"]
    pushes = [stanza.payload for stanza in told if stanza.type == "set"]
    assert [push[0].get("name") for push in pushes if push is not None] == ["0", "1", "2"]
    versions = [int(version(stanza)) for stanza in told if stanza.type == "set"]
    assert versions == sorted(set(versions))


# -- versions -----------------------------------------------------------------------------------


def test_client_that_is_up_to_date_gets_an_empty_result(server: Harness, mia: Client) -> None:
    put(mia, f"<item jid='{PAT}'/>")
    mia.received()
    known = version(get(mia))
    answer = get(mia, known)
    assert answer.payload is None
    server.clock.advance(1)
    assert mia.told() == []


def test_client_that_is_behind_gets_the_changes_as_pushes(server: Harness, mia: Client) -> None:
    for name in ("a", "b", "c", "d"):
        put(mia, f"<item jid='{name}@elsewhere.example'/>")
    known = version(get(mia))
    mia.end()
    phone = server.client("mia@library.example/phone")
    put(phone, "<item jid='b@elsewhere.example' subscription='remove'/>")
    put(phone, "<item jid='c@elsewhere.example' name='one'/>")
    put(phone, "<item jid='c@elsewhere.example' name='two'/>")
    now = version(get(phone))

    again = server.client("mia@library.example/desk")
    assert get(again, known).payload is None
    server.clock.advance(0)
    pushes = again.received()
    assert sorted(map(describe, pushes)) == [
        "push b@elsewhere.example remove",
        "push c@elsewhere.example none",
    ]
    assert version(pushes[-1]) == now
    assert version(pushes[0]) not in (known, now)
    assert get(again, version(pushes[0])).payload is None, "a client cut off in between asks again"
    server.clock.advance(0)
    assert len(again.received()) == 2


@pytest.mark.parametrize("known", ["", "0", "99999999999999", "ver7", "-1", "²", "1.2.3", "1" * 40])
def test_unknown_version_gets_the_whole_roster(server: Harness, mia: Client, known: str) -> None:
    put(mia, f"<item jid='{PAT}'/>")
    assert [item.get("jid") for item in items(get(mia, known))] == [PAT.text]


def test_small_roster_is_sent_whole_when_that_is_shorter(server: Harness, mia: Client) -> None:
    put(mia, "<item jid='a@elsewhere.example'/>")
    known = version(get(mia))
    for name in ("b", "c", "d"):
        put(mia, f"<item jid='{name}@elsewhere.example'/>")
        put(mia, f"<item jid='{name}@elsewhere.example' subscription='remove'/>")
    assert len(items(get(mia, known))) == 1


def test_version_that_is_told_is_durable(server: Harness, mia: Client) -> None:
    put(mia, f"<item jid='{PAT}' name='old'/>")
    mia.received()
    with server.holding():
        mia.send(f"<iq type='set' id='s'><query xmlns='{ROSTER}'><item jid='{PAT}' name='new'/></query></iq>")
        mia.send(f"<iq type='get' id='g'><query xmlns='{ROSTER}'/></iq>")
        assert mia.told() == []
    push, _, result = mia.received()
    assert result.id == "g"
    assert version(result) == version(push)
    assert items(result)[0].get("name") == "new"


# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, answer",
    [
        ("", "error bad-request"),
        ("<item jid='a@b.example'/><item jid='c@b.example'/>", "error bad-request"),
        ("<item/>", "error bad-request"),
        ("<item jid='a@b.example/full'/>", "error bad-request"),
        ("<item jid='@b.example'/>", "error jid-malformed"),
        ("<item jid=''/>", "error jid-malformed"),
        (f"<item jid='{'x' * 1024}@b.example'/>", "error jid-malformed"),
        ("<item jid='mia@library.example'/>", "error not-allowed"),
        ("<item jid='MIA@Library.Example'/>", "error not-allowed"),
        ("<item jid='mia@library.example' subscription='remove'/>", "error not-allowed"),
        ("<item jid='a@b.example'><group/></item>", "error not-acceptable"),
        ("<item jid='a@b.example'><group>x</group><group></group></item>", "error not-acceptable"),
        ("<item jid='a@b.example'><group>x</group><group>x</group></item>", "error bad-request"),
        (f"<item jid='a@b.example' name='{'x' * 1024}'/>", "error not-acceptable"),
        (f"<item jid='a@b.example'><group>{'x' * 1024}</group></item>", "error not-acceptable"),
        (
            "<item jid='a@b.example'>" + "".join(f"<group>{n}</group>" for n in range(1001)) + "</item>",
            "error resource-constraint",
        ),
        ("<item jid='a@b.example' subscription='remove'/>", "error item-not-found"),
    ],
)
def test_bad_set_is_refused_and_changes_nothing(mia: Client, content: str, answer: str) -> None:
    before = version(get(mia))
    assert put(mia, content) == answer
    assert mia.told() == []
    assert version(get(mia)) == before
    assert items(get(mia)) == []


def test_longest_name_and_most_groups_are_taken(mia: Client) -> None:
    groups = "".join(f"<group>{number}</group>" for number in range(1000))
    assert put(mia, f"<item jid='{PAT}' name='{'x' * 1023}'>{groups}</item>") == "result"


def test_request_that_only_waits_cannot_be_removed_as_an_item(server: Harness, mia: Client) -> None:
    server.arrive(f"<presence type='subscribe' from='{PAT}' to='{MIA}'/>")
    mia.received()
    assert put(mia, f"<item jid='{PAT}' subscription='remove'/>") == "error item-not-found"


@pytest.mark.parametrize("type", ["get", "set"])
@pytest.mark.parametrize("owner", ["pat@library.example", "nobody@library.example", "mia@other.example"])
def test_rosters_of_others_are_forbidden(server: Harness, mia: Client, type: str, owner: str) -> None:
    server.account("pat@library.example")
    server.account("mia@other.example")
    answer = mia.ask(type, f"<query xmlns='{ROSTER}'><item jid='{PAT}'/></query>", to=owner)
    assert describe(answer) == "error forbidden"


def test_own_bare_address_is_as_good_as_none(mia: Client) -> None:
    assert items(mia.ask("get", f"<query xmlns='{ROSTER}'/>", to=MIA.text)) == []


def test_number_of_items_is_bounded(mia: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "MOST_ITEMS", 3)
    for number in range(3):
        assert put(mia, f"<item jid='c{number}@b.example'/>") == "result"
    assert put(mia, "<item jid='more@b.example'/>") == "error resource-constraint"
    assert put(mia, "<item jid='c1@b.example' name='an update'/>") == "result"
    mia.received()
    mia.send("<presence type='subscribe' to='more@b.example'/>")
    assert mia.told() == ["error resource-constraint from more@b.example"]
    assert put(mia, "<item jid='c1@b.example' subscription='remove'/>") == "result"
    assert put(mia, "<item jid='more@b.example'/>") == "result"


def test_size_of_a_roster_is_bounded(mia: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "MOST_WEIGHT", 2000)
    assert put(mia, f"<item jid='a@b.example' name='{'x' * 1000}'/>") == "result"
    assert put(mia, f"<item jid='b@b.example' name='{'x' * 1000}'/>") == "error resource-constraint"
    assert put(mia, "<item jid='a@b.example' name=''/>") == "result"
    assert put(mia, f"<item jid='b@b.example' name='{'x' * 1000}'/>") == "result"


# -- when the store fails -------------------------------------------------------------------------


def test_failed_commit_is_answered_and_undone(
    server: Harness, mia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(mia, f"<item jid='{PAT}' name='old'/>")
    mia.received()

    def fail(*_: object) -> int:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(rosters, "save", fail)
        assert put(mia, f"<item jid='{PAT}' name='new'/>") == "error internal-server-error"
        patch.setattr(rosters, "delete", fail)
        assert put(mia, f"<item jid='{PAT}' subscription='remove'/>") == "error internal-server-error"
    assert mia.told() == [], "no push of what is not so"
    assert [item.get("name") for item in items(get(mia))] == ["old"]
    assert put(mia, f"<item jid='{PAT}' name='new'/>") == "result"


def test_failed_commit_does_not_hide_the_one_behind_it(
    server: Harness, mia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = rosters.save
    failures = iter([True, False])

    def fail_once(*args: object) -> int:
        if next(failures):
            raise OSError("disk full")
        return save(*args)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(rosters, "save", fail_once)
    with server.holding():
        mia.send(f"<iq type='set' id='1'><query xmlns='{ROSTER}'><item jid='a@b.example'/></query></iq>")
        mia.send(f"<iq type='set' id='2'><query xmlns='{ROSTER}'><item jid='c@b.example'/></query></iq>")
    assert mia.told() == ["error internal-server-error", "push c@b.example none", "result"]
    assert [item.get("jid") for item in items(get(mia))] == ["c@b.example"]


def test_what_a_failed_commit_has_not_told_is_told_with_the_next_one(
    server: Harness, mia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to subscribe changes nothing that the client sees; here it carries the change that failed."""
    save = rosters.save
    failures = iter([True, False])

    def fail_once(*args: object) -> int:
        if next(failures):
            raise OSError("disk full")
        return save(*args)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(rosters, "save", fail_once)
    with server.holding():
        mia.send(f"<iq type='set' id='1'><query xmlns='{ROSTER}'><item jid='a@b.example'/></query></iq>")
        server.arrive(f"<presence type='subscribe' from='a@b.example' to='{mia.jid.bare}'/>")
    assert "push a@b.example none" in mia.told()
    assert [item.get("jid") for item in items(get(mia))] == ["a@b.example"]


def test_unreadable_roster_is_an_internal_error(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(rosters, "load", fail)
    mia = server.client("mia@library.example/desk")
    assert describe(get(mia)) == "error internal-server-error"


def test_roster_of_an_account_that_is_gone_is_not_found(server: Harness) -> None:
    mia = server.client("mia@library.example/desk")
    server.remove_account("mia@library.example")
    assert describe(get(mia)) == "error item-not-found"
    assert put(mia, f"<item jid='{PAT}'/>") == "error item-not-found"


def test_stream_features_are_announced_by_name() -> None:
    from refserver.features.roster import stream_features

    assert [feature.tag for feature in stream_features()] == [
        f"{{{ns.ROSTERVER}}}ver",
        f"{{{ns.PREAPPROVAL}}}sub",
    ]
