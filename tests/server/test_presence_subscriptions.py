"""Subscriptions end to end: RFC 6121 3 and appendix A, in the memory server."""

from __future__ import annotations

import pytest

from refserver.features.presence import subscriptions
from refserver.features.roster import Roster, RosterItem, Rosters, SubscriptionState
from refserver.features.roster.states import INBOUND, OUTBOUND, SUBSCRIPTION_TYPES
from refserver.jid import JID
from refserver.storage import rosters
from tests.server.harness import Client, Harness

MIA = JID.parse("mia@library.example")
PAT = JID.parse("pat@elsewhere.example")
PAT_HERE = JID.parse("pat@library.example")
REQUEST = f"<presence to='{MIA}' from='{PAT}' type='subscribe'/>".encode()


@pytest.fixture
def server() -> Harness:
    return Harness()


ROWS = [(type, state) for state in SubscriptionState for type in SUBSCRIPTION_TYPES]


def put(server: Harness, account: JID, contact: JID, state: SubscriptionState) -> None:
    """Bring a contact into a state."""
    server.account(account.text)
    if state is SubscriptionState.NONE:
        return
    item = RosterItem(
        contact,
        subscription=state.subscription,
        ask=state.pending_out,
        pending_in=REQUEST if state.pending_in else None,
        listed=state is not SubscriptionState.NONE_IN,
    )
    server.run(server.core.feature(Rosters).set_item(account, item))


def roster(server: Harness, account: JID = MIA) -> Roster:
    found = server.core.feature(Rosters).roster_of(account)
    return found if isinstance(found, Roster) else server.run(found)


def stored(server: Harness, account: JID, contact: JID) -> RosterItem | None:
    return server.database.read_now(rosters.load, account).items.get(contact)


@pytest.mark.parametrize("type, state", ROWS)
def test_outbound_table(server: Harness, type: str, state: SubscriptionState) -> None:
    """A.2: routed from the bare JID or not, and what the sender's client is pushed."""
    put(server, MIA, PAT, state)
    mia = server.online("mia@library.example/desk")
    server.elsewhere.received()
    mia.send(f"<presence type='{type}' to='{PAT}' id='s1'/>")
    step = OUTBOUND[state, type]
    assert roster(server).state(PAT) is step.state

    sent = server.elsewhere.received()
    types = [stanza.type for stanza in sent if stanza.from_ == MIA]
    assert types == ([type] if step.routed else [])
    assert all(stanza.to == PAT for stanza in sent)
    own = [stanza.type for stanza in sent if stanza.from_ == mia.jid]
    if type == "subscribed" and step.routed:
        assert own == [""]
    elif type == "unsubscribed" and state.shows:
        assert own == ["unavailable"]
        assert sent[-1].type == "unsubscribed"
    else:
        assert own == []

    changed = (step.state.subscription, step.state.pending_out) != (state.subscription, state.pending_out)
    if changed or step.preapproves:
        words = ["push", PAT.text, step.state.subscription]
        words += ["ask"] if step.state.pending_out else []
        words += ["approved"] if step.preapproves else []
        assert mia.told() == [" ".join(words)]
    else:
        assert mia.told() == []


@pytest.mark.parametrize("type, state", ROWS)
def test_inbound_table(server: Harness, type: str, state: SubscriptionState) -> None:
    """A.3: delivered or not, what the client is pushed, and what the server answers."""
    put(server, MIA, PAT, state)
    mia = server.online("mia@library.example/desk")
    server.elsewhere.received()
    server.arrive(f"<presence type='{type}' from='{PAT}' to='{MIA}' id='s1'/>")
    step = INBOUND[state, type]
    assert roster(server).state(PAT) is step.state

    told = mia.told()
    expected = [f"{type} from {PAT}"] if step.delivered else []
    if (step.state.subscription, step.state.pending_out) != (state.subscription, state.pending_out):
        ask = " ask" if step.state.pending_out else ""
        expected.append(f"push {PAT} {step.state.subscription}{ask}")
    assert told == expected

    answers = [stanza.type for stanza in server.elsewhere.received() if stanza.from_ == MIA]
    assert answers == ([step.reply] if step.reply else [])


@pytest.mark.parametrize("type, state", ROWS)
def test_tables_hold_between_two_accounts_here(server: Harness, type: str, state: SubscriptionState) -> None:
    """Whatever is sent, both rosters agree afterwards."""
    mirror = {
        SubscriptionState.NONE_OUT: SubscriptionState.NONE_IN,
        SubscriptionState.NONE_IN: SubscriptionState.NONE_OUT,
        SubscriptionState.TO: SubscriptionState.FROM,
        SubscriptionState.FROM: SubscriptionState.TO,
        SubscriptionState.TO_IN: SubscriptionState.FROM_OUT,
        SubscriptionState.FROM_OUT: SubscriptionState.TO_IN,
    }
    put(server, MIA, PAT_HERE, state)
    put(server, PAT_HERE, MIA, mirror.get(state, state))
    mia = server.online("mia@library.example/desk")
    server.online("pat@library.example/home")
    mia.send(f"<presence type='{type}' to='{PAT_HERE}'/>")
    after = roster(server, MIA).state(PAT_HERE)
    assert after is OUTBOUND[state, type].state
    assert roster(server, PAT_HERE).state(MIA) is mirror.get(after, after)
    for account, contact in ((MIA, PAT_HERE), (PAT_HERE, MIA)):
        assert stored(server, account, contact) == roster(server, account).items.get(contact)


def befriend(mia: Client, pat: Client) -> None:
    """Both subscribe to each other; what they were told is forgotten."""
    pat.send(f"<presence type='subscribe' to='{mia.jid.bare}'/>")
    mia.send(f"<presence type='subscribed' to='{pat.jid.bare}'/>")
    mia.send(f"<presence type='subscribe' to='{pat.jid.bare}'/>")
    pat.send(f"<presence type='subscribed' to='{mia.jid.bare}'/>")
    mia.received()
    pat.received()


def test_mutual_subscription_as_two_clients_see_it(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    pat = server.online("pat@library.example/home")
    pat.send("<presence type='subscribe' to='mia@library.example'/>")
    assert pat.told() == ["push mia@library.example none ask"]
    assert mia.told() == ["subscribe from pat@library.example"]
    mia.send("<presence type='subscribed' to='pat@library.example'/>")
    assert mia.told() == ["push pat@library.example from"]
    assert pat.told() == [
        "subscribed from mia@library.example",
        "push mia@library.example to",
        "available from mia@library.example/desk",
    ]
    mia.send("<presence type='subscribe' to='pat@library.example'/>")
    pat.send("<presence type='subscribed' to='mia@library.example'/>")
    assert mia.told() == [
        "push pat@library.example from ask",
        "subscribed from pat@library.example",
        "push pat@library.example both",
        "available from pat@library.example/home",
    ]
    assert pat.told() == ["subscribe from mia@library.example", "push mia@library.example both"]


def test_cancelling_says_unavailable_first(server: Harness) -> None:
    mia, pat = server.online("mia@library.example/desk"), server.online("pat@library.example/home")
    befriend(mia, pat)
    mia.send("<presence type='unsubscribed' to='pat@library.example'/>")
    assert pat.told() == [
        "unavailable from mia@library.example/desk",
        "unsubscribed from mia@library.example",
        "push mia@library.example from",
    ]
    assert mia.told() == ["push pat@library.example to"]


def test_unsubscribing_says_unavailable_to_who_leaves(server: Harness) -> None:
    mia, pat = server.online("mia@library.example/desk"), server.online("pat@library.example/home")
    befriend(mia, pat)
    pat.send("<presence type='unsubscribe' to='mia@library.example'/>")
    assert mia.told() == ["unsubscribe from pat@library.example", "push pat@library.example to"]
    assert pat.told() == ["push mia@library.example from", "unavailable from mia@library.example/desk"]


def test_full_addresses_are_made_bare_both_ways(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    mia.send("<presence type='subscribe' to='pat@elsewhere.example/home'/>")
    (sent,) = server.elsewhere.received()
    assert (sent.from_, sent.to) == (MIA, PAT)
    mia.received()
    server.arrive("<presence type='subscribe' from='joe@elsewhere.example/x' to='mia@library.example/gone'/>")
    (delivered,) = mia.received()
    assert (delivered.from_, delivered.to) == (JID.parse("joe@elsewhere.example"), MIA)


@pytest.mark.parametrize("type", ["subscribed", "unsubscribe", "unsubscribed"])
def test_answers_to_a_resource_that_is_gone_are_ignored(server: Harness, type: str) -> None:
    put(server, MIA, PAT, SubscriptionState.FROM_OUT)
    mia = server.online("mia@library.example/desk")
    server.arrive(f"<presence type='{type}' from='{PAT}' to='{MIA}/gone'/>")
    assert mia.told() == []
    assert roster(server).state(PAT) is SubscriptionState.FROM_OUT


def test_only_the_resources_concerned_are_told(server: Harness) -> None:
    """3.1: requests go to available resources, approvals and pushes to interested ones."""
    put(server, MIA, PAT, SubscriptionState.FROM_OUT)
    available = server.client("mia@library.example/available")
    available.send("<presence/>")
    interested = server.client("mia@library.example/interested")
    interested.ask("get", "<query xmlns='jabber:iq:roster'/>")
    available.received()
    server.arrive(f"<presence type='subscribe' from='joe@elsewhere.example' to='{MIA}'/>")
    assert available.told() == ["subscribe from joe@elsewhere.example"]
    assert interested.told() == []
    server.arrive(f"<presence type='subscribed' from='{PAT}' to='{MIA}'/>")
    assert available.told() == []
    assert interested.told() == [f"subscribed from {PAT}", f"push {PAT} both"]


# -- requests that wait ------------------------------------------------------------------


def test_request_waits_with_all_it_held_until_it_is_answered(server: Harness) -> None:
    server.account("mia@library.example")
    server.arrive(
        f"<presence type='subscribe' from='{PAT}' to='{MIA}'>"
        "<status>the patron with the map</status><nick xmlns='http://jabber.org/protocol/nick'>Pat</nick>"
        "</presence>"
    )
    for resource in ("first", "second"):
        mia = server.client(f"mia@library.example/{resource}")
        assert len(mia.ask("get", "<query xmlns='jabber:iq:roster'/>").element[0]) == 0, (
            "nobody in the roster"
        )
        mia.send("<presence/>")
        (request,) = (stanza for stanza in mia.received() if stanza.type == "subscribe")
        assert [child.text for child in request.element] == ["the patron with the map", "Pat"]
        mia.send("<presence><show>away</show></presence>")
        assert "subscribe" not in [stanza.type for stanza in mia.received()], "only at initial presence"
        mia.end()
    mia = server.online("mia@library.example/third")
    mia.send(f"<presence type='unsubscribed' to='{PAT}'/>")
    assert mia.told() == [], "the contact was never in the roster"
    assert [stanza.type for stanza in server.elsewhere.received()] == ["unsubscribed"]
    mia.end()
    again = server.client("mia@library.example/fourth")
    again.send("<presence/>")
    assert again.told() == ["available from mia@library.example/fourth"]


def test_request_survives_a_restart(server: Harness) -> None:
    server.account("mia@library.example")
    server.arrive(f"<presence type='subscribe' from='{PAT}' to='{MIA}'><status>hello</status></presence>")
    again = server.restarted()
    mia = again.client("mia@library.example/desk")
    mia.send("<presence/>")
    assert f"subscribe from {PAT}" in mia.told()
    mia.send(f"<presence type='subscribed' to='{PAT}'/>")
    assert roster(again.restarted()).state(PAT) is SubscriptionState.FROM


def test_one_request_of_a_contact_is_kept_and_delivered_once(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    for number in range(3):
        server.arrive(f"<presence type='subscribe' id='{number}' from='{PAT}' to='{MIA}'/>")
    assert mia.told() == [f"subscribe from {PAT}"]
    another = server.client("mia@library.example/phone")
    another.send("<presence/>")
    assert [stanza.id for stanza in another.received() if stanza.type == "subscribe"] == ["0"]


def test_a_huge_request_is_kept_without_its_content(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    server.arrive(
        f"<presence type='subscribe' from='{PAT}' to='{MIA}'><status>{'x' * 9000}</status></presence>"
    )
    assert len(mia.received()[0].element) == 1, "delivered whole"
    item = stored(server, MIA, PAT)
    assert item is not None
    assert item.pending_in is not None
    assert len(item.pending_in) < 200


def test_waiting_requests_are_bounded(server: Harness) -> None:
    server.account("mia@library.example")
    for number in range(101):
        server.arrive(f"<presence type='subscribe' from='p{number}@elsewhere.example' to='{MIA}'/>")
    assert server.elsewhere.told() == [f"error resource-constraint from {MIA} to p100@elsewhere.example"]
    assert len(roster(server).requests()) == 100


# -- approval beforehand, and answers nobody waits for -----------------------------------


def test_preapproved_request_is_answered_and_not_delivered(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    mia.send(f"<presence type='subscribed' to='{PAT}'/>")
    assert mia.told() == [f"push {PAT} none approved"]
    server.arrive(f"<presence type='subscribe' id='r1' from='{PAT}' to='{MIA}'/>")
    assert mia.told() == [f"push {PAT} from approved"]
    assert server.elsewhere.told() == [
        f"subscribed from {MIA} to {PAT}",
        f"available from {MIA}/desk to {PAT}",
    ]


def test_preapproval_is_stored_and_can_be_withdrawn(server: Harness) -> None:
    server.online("mia@library.example/desk").send(f"<presence type='subscribed' to='{PAT}'/>")
    again = server.restarted()
    mia = again.online("mia@library.example/desk")
    mia.send(f"<presence type='unsubscribed' to='{PAT}'/>")
    assert mia.told() == [f"push {PAT} none"]
    assert again.elsewhere.told() == []
    again.arrive(f"<presence type='subscribe' from='{PAT}' to='{MIA}'/>")
    assert mia.told() == [f"subscribe from {PAT}"]


def test_refused_probe_keeps_the_preapproval(server: Harness) -> None:
    """4.3.2: an `unsubscribed` that answers a probe must not cancel it."""
    put(server, MIA, PAT, SubscriptionState.TO)
    mia = server.online("mia@library.example/desk")
    mia.send(f"<presence type='subscribed' to='{PAT}'/>")
    mia.received()
    server.arrive(f"<presence type='unsubscribed' from='{PAT}' to='{MIA}'/>")
    assert mia.told() == [f"unsubscribed from {PAT}", f"push {PAT} none approved"]


def test_who_is_subscribed_already_is_told_so_and_sent_presence(server: Harness) -> None:
    put(server, MIA, PAT, SubscriptionState.FROM)
    mia = server.online("mia@library.example/desk")
    server.elsewhere.received()
    server.arrive(f"<presence type='subscribe' from='{PAT}' to='{MIA}'/>")
    assert server.elsewhere.told() == [
        f"subscribed from {MIA} to {PAT}",
        f"available from {MIA}/desk to {PAT}",
    ]
    assert mia.told() == []


def test_approval_that_nobody_asked_for_is_dropped(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    server.arrive(f"<presence type='subscribed' from='{PAT}' to='{MIA}'/>")
    assert mia.told() == []
    assert stored(server, MIA, PAT) is None
    assert server.elsewhere.told() == []


# -- accounts that are not there, and bad input ------------------------------------------


def test_request_to_an_unknown_account_is_ignored(server: Harness) -> None:
    pat = server.online("pat@library.example/home")
    pat.send("<presence type='subscribe' id='s1' to='nobody@library.example'/>")
    assert pat.told() == ["push nobody@library.example none ask"]


@pytest.mark.parametrize("type", ["subscribed", "unsubscribe", "unsubscribed", "unavailable", "error", ""])
def test_other_presence_to_an_unknown_account_is_ignored(server: Harness, type: str) -> None:
    attribute = f"type='{type}'" if type else ""
    server.arrive(f"<presence {attribute} from='{PAT}' to='nobody@library.example'/>")
    assert server.elsewhere.told() == []


def test_request_to_the_library_itself_is_denied(server: Harness) -> None:
    server.arrive(f"<presence type='subscribe' from='{PAT}' to='library.example'/>")
    assert server.elsewhere.told() == [f"unsubscribed from library.example to {PAT}"]


def test_error_of_a_request_reaches_the_sender(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    server.arrive(
        f"<presence type='error' from='{PAT}' to='{MIA}'><error type='cancel'>"
        "<remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
    )
    assert mia.told() == [f"error remote-server-not-found from {PAT}"]


def test_nobody_subscribes_to_themselves(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    for type in SUBSCRIPTION_TYPES:
        mia.send(f"<presence type='{type}' to='mia@library.example'/>")
        assert mia.told() == ["error not-allowed from mia@library.example"]
    assert roster(server).items == {}


def test_subscription_needs_an_address(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    mia.send("<presence type='subscribe'/>")
    assert [line.partition(" from")[0] for line in mia.told()] == ["error bad-request"]


def test_mass_subscription_is_stopped(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "REQUESTS_PER_HOUR", 2)
    mia = server.online("mia@library.example/desk")
    for number in range(3):
        mia.send(f"<presence type='subscribe' to='p{number}@elsewhere.example'/>")
    assert mia.told()[2:] == ["error policy-violation from p2@elsewhere.example"]
    assert len(server.elsewhere.received()) == 2
    mia.send("<presence type='unsubscribe' to='p1@elsewhere.example'/>")
    server.clock.advance(1800)
    mia.send("<presence type='subscribe' to='p2@elsewhere.example'/>")
    assert len(server.elsewhere.received()) == 2


def test_accounts_of_the_same_name_in_two_libraries_are_strangers(server: Harness) -> None:
    put(server, MIA, PAT_HERE, SubscriptionState.BOTH)
    put(server, PAT_HERE, MIA, SubscriptionState.BOTH)
    mia = server.online("mia@library.example/desk")
    other = server.online("pat@other.example/home")
    mia.send("<presence><show>dnd</show></presence>")
    assert other.told() == []
    other.send("<presence type='probe' to='mia@library.example'/>")
    other.send("<presence type='probe' to='mia@library.example/desk'/>")
    assert other.told() == []


# -- what waits for a commit ---------------------------------------------------------------


def test_nothing_follows_a_change_before_its_commit(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    with server.holding():
        mia.send(f"<presence type='subscribe' to='{PAT}'/>")
        assert roster(server).state(PAT) is SubscriptionState.NONE_OUT, (
            "the next stanza of the stream sees it"
        )
        assert mia.told() == []
        assert server.elsewhere.told() == []
    assert mia.told() == [f"push {PAT} none ask"]
    assert server.elsewhere.told() == [f"subscribe from {MIA} to {PAT}"]


def test_presence_right_behind_an_approval_comes_after_its_push(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    mia.send(f"<presence type='subscribe' to='{PAT}'/>")
    mia.received()
    with server.holding():
        server.arrive(f"<presence type='subscribed' from='{PAT}' to='{MIA}'/>")
        server.arrive(f"<presence from='{PAT}/home' to='{MIA}'/>")
        server.arrive(f"<presence type='unavailable' from='{PAT}/home' to='{mia.jid}'/>")
        assert mia.told() == []
    assert mia.told() == [
        f"subscribed from {PAT}",
        f"push {PAT} to",
        f"available from {PAT}/home",
        f"unavailable from {PAT}/home",
    ]


def test_stanzas_for_an_account_that_must_be_loaded_keep_their_order(server: Harness) -> None:
    put(server, MIA, PAT, SubscriptionState.NONE)
    again = server.restarted()
    with server.holding():
        for type in ("subscribe", "unsubscribe", "subscribe"):
            again.arrive(f"<presence type='{type}' id='{type}' from='{PAT}' to='{MIA}'/>")
        assert again.elsewhere.told() == []
    assert roster(again).state(PAT) is SubscriptionState.NONE_IN
    assert again.elsewhere.told() == [f"unsubscribed from {MIA} to {PAT}"]


def test_failed_commit_undoes_the_change_and_tells_the_sender(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    mia = server.online("mia@library.example/desk")

    def fail(*_: object) -> int:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(rosters, "save", fail)
        mia.send(f"<presence type='subscribe' id='s1' to='{PAT}'/>")
    assert mia.told() == [f"error internal-server-error from {PAT}"]
    assert server.elsewhere.told() == []
    assert roster(server).state(PAT) is SubscriptionState.NONE


def test_what_waits_behind_a_failed_commit_starts_from_what_is_stored(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.account("mia@library.example")
    again = server.restarted()
    save = rosters.save
    failures = iter([True, False])

    def fail_once(*args: object) -> int:
        if next(failures):
            raise OSError("disk full")
        return save(*args)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(rosters, "save", fail_once)
    with again.holding():
        for name in ("first", "second"):
            again.arrive(f"<presence type='subscribe' from='{name}@elsewhere.example' to='{MIA}'/>")
    assert again.elsewhere.told() == [f"error internal-server-error from {MIA} to first@elsewhere.example"]
    assert [jid.localpart for jid in roster(again).items] == ["second"]
    assert [jid.localpart for jid in server.database.read_now(rosters.load, MIA).items] == ["second"]
