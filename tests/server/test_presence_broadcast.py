"""Presence of sessions: initial, subsequent, unavailable, directed, probed (RFC 6121 4 and 8.5)."""

from __future__ import annotations

from typing import Any

import pytest

from refserver.core.feature import Feature, on
from refserver.core.hooks import PresenceReceived, SessionAvailable, SessionEnded, SessionUnavailable
from refserver.core.sessions import UNAVAILABLE
from refserver.features.presence import Presence
from refserver.features.presence import presence as presence_module
from refserver.features.roster import RosterItem, Rosters
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage import rosters
from tests.server.harness import Client, Elsewhere, Harness

MIA = JID.parse("mia@library.example")
PAT = JID.parse("pat@elsewhere.example")


class Witness(Feature):
    """Writes down what the server says of sessions."""

    name = "witness"
    after = (Presence,)

    def __init__(self, core: Any) -> None:
        super().__init__(core)
        self.seen: list[str] = []

    @on(SessionAvailable)
    def available(self, event: SessionAvailable) -> None:
        self.seen.append("initial" if event.initial else "available")

    @on(SessionUnavailable)
    def unavailable(self, event: SessionUnavailable) -> None:
        self.seen.append("unavailable")

    @on(SessionEnded)
    def ended(self, event: SessionEnded) -> None:
        self.seen.append("ended")


@pytest.fixture
def server() -> Harness:
    return Harness([Witness])


def subscribe(server: Harness, account: str, contact: str, subscription: str) -> None:
    """Give an account a contact; one with an account here gets the other side of it."""
    mirror = {"to": "from", "from": "to", "both": "both", "none": "none"}[subscription]
    for owner, other, way in ((account, contact, subscription), (contact, account, mirror)):
        jid = JID.parse(owner)
        if server.core.hosts.get(jid.domainpart) and not server.core.hosts.service(jid.domainpart):
            host = server.core.hosts.get(jid.domainpart)
            if host is not None and host.find(jid.localpart) is None:
                server.account(owner)
                item = RosterItem(JID.parse(other), subscription=way)
                server.run(server.core.feature(Rosters).set_item(jid, item))


# -- initial presence ---------------------------------------------------------------------


def test_initial_presence_goes_to_subscribers_and_asks_contacts(server: Harness) -> None:
    for name in ("none", "to", "from", "both"):
        subscribe(server, "mia@library.example", f"{name}@elsewhere.example", name)
    mia = server.client("mia@library.example/desk")
    mia.send("<presence id='p1'><show>chat</show></presence>")
    sent = {(stanza.type, str(stanza.to), str(stanza.from_)) for stanza in server.elsewhere.received()}
    assert sent == {
        ("", "from@elsewhere.example", "mia@library.example/desk"),
        ("", "both@elsewhere.example", "mia@library.example/desk"),
        ("probe", "to@elsewhere.example", "mia@library.example"),
        ("probe", "both@elsewhere.example", "mia@library.example"),
    }


def test_presence_arrives_whole(server: Harness) -> None:
    """Capabilities (XEP-0115) and everything else in it stay as they are."""
    subscribe(server, "mia@library.example", "pat@library.example", "both")
    pat = server.online("pat@library.example/home")
    mia = server.client("mia@library.example/desk")
    mia.send(
        "<presence id='p1' xml:lang='de'><show>away</show><status>bin &lt;weg&gt;</status>"
        "<priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' "
        "node='urn:x' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>"
    )
    (got,) = pat.received()
    assert (got.from_, got.to, got.id) == (mia.jid, JID.parse("pat@library.example"), "p1")
    assert [child.tag.partition("}")[2] for child in got.element] == ["show", "status", "priority", "c"]
    assert got.element[1].text == "bin <weg>"
    assert got.element[3].get("ver") == "QgayPKawpkPSDYmwT/WM94uAlu0="
    assert got.element.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"


def test_contacts_here_are_known_at_once_without_stanzas(server: Harness) -> None:
    subscribe(server, "mia@library.example", "pat@library.example", "both")
    subscribe(server, "mia@library.example", "joe@other.example", "to")
    subscribe(server, "mia@library.example", "off@library.example", "both")
    server.online("pat@library.example/home", "<presence><show>dnd</show></presence>")
    server.online("pat@library.example/work")
    server.online("joe@other.example/home")
    mia = server.client("mia@library.example/desk")
    mia.send("<presence/>")
    told = mia.received()
    assert [(str(stanza.from_), stanza.type) for stanza in told] == [
        ("mia@library.example/desk", ""),
        ("pat@library.example/home", ""),
        ("pat@library.example/work", ""),
        ("joe@other.example/home", ""),
    ]
    assert all(stanza.to == MIA for stanza in told)
    assert told[1].element[0].text == "dnd"


def test_contact_here_that_knows_nothing_of_the_subscription_ends_it(server: Harness) -> None:
    """4.3.2 between two accounts of one server: after a roster was lost on one side."""
    subscribe(server, "mia@library.example", "pat@library.example", "to")
    server.run(server.core.feature(Rosters).remove_item(JID.parse("pat@library.example"), MIA))
    server.online("pat@library.example/home")
    mia = server.client("mia@library.example/desk")
    mia.ask("get", "<query xmlns='jabber:iq:roster'/>")
    mia.send("<presence/>")
    assert mia.told() == [
        "available from mia@library.example/desk",
        "unsubscribed from pat@library.example",
        "push pat@library.example none",
    ]


def test_contact_here_whose_roster_must_be_read_again_is_known_too(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(server, "mia@library.example", "pat@library.example", "both")
    pat = server.online("pat@library.example/home")

    def fail(*_: object) -> int:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(rosters, "save", fail)
        pat.send(f"<presence type='subscribe' to='{PAT}'/>")
    mia = server.client("mia@library.example/desk")
    mia.send("<presence/>")
    assert mia.told() == [
        "available from mia@library.example/desk",
        "available from pat@library.example/home",
    ]


def test_own_resources_hear_of_each_other(server: Harness) -> None:
    desk = server.online("mia@library.example/desk", "<presence><show>away</show></presence>")
    connected = server.client("mia@library.example/connected")
    phone = server.client("mia@library.example/phone")
    phone.send("<presence/>")
    assert desk.told() == ["available from mia@library.example/phone"]
    assert phone.told() == [
        "available from mia@library.example/phone",
        "available from mia@library.example/desk",
    ]
    assert connected.told() == []


def test_presence_and_priority_are_what_was_sent_last(server: Harness) -> None:
    mia = server.client("mia@library.example/desk")

    def now() -> tuple[str | None, int]:
        presence = mia.session.presence
        return None if presence is None else presence.element.findtext("{*}show"), mia.session.priority

    assert now() == (None, UNAVAILABLE)
    mia.send("<presence><show>dnd</show><priority> -5 </priority></presence>")
    assert now() == ("dnd", -5)
    mia.send("<presence><show>xa</show></presence>")
    assert now() == ("xa", 0)
    mia.send("<presence type='unavailable'/>")
    assert now() == (None, UNAVAILABLE)


def test_features_are_told_of_every_change(server: Harness) -> None:
    mia = server.client("mia@library.example/desk")
    mia.send("<presence/>")
    mia.send("<presence><show>away</show></presence>")
    mia.send("<presence type='unavailable'/>")
    mia.send("<presence type='unavailable'/>")
    mia.send("<presence/>")
    mia.end()
    assert server.core.feature(Witness).seen == [
        "initial",
        "available",
        "unavailable",
        "initial",
        "unavailable",
        "ended",
    ]


def test_session_that_was_never_available_leaves_silently(server: Harness) -> None:
    subscribe(server, "mia@library.example", "pat@elsewhere.example", "both")
    server.client("mia@library.example/desk").end()
    assert server.elsewhere.told() == []
    assert server.core.feature(Witness).seen == ["ended"]


# -- later presence -----------------------------------------------------------------------


def test_update_goes_to_subscribers_and_own_resources_and_asks_nobody(server: Harness) -> None:
    subscribe(server, "mia@library.example", "pat@elsewhere.example", "both")
    subscribe(server, "mia@library.example", "joe@library.example", "from")
    subscribe(server, "mia@library.example", "zoe@library.example", "to")
    mia, phone = server.online("mia@library.example/desk"), server.online("mia@library.example/phone")
    joe, zoe = server.online("joe@library.example/x"), server.online("zoe@library.example/x")
    server.elsewhere.received()
    for client in (mia, phone, joe):
        client.received()
    mia.send("<presence><show>away</show></presence>")
    assert server.elsewhere.told() == ["available from mia@library.example/desk to pat@elsewhere.example"]
    for client in (joe, mia, phone):
        assert client.told() == ["available from mia@library.example/desk"]
    assert zoe.told() == []


def test_unavailable_goes_to_the_same_with_its_content(server: Harness) -> None:
    subscribe(server, "mia@library.example", "joe@library.example", "from")
    mia, phone = server.online("mia@library.example/desk"), server.online("mia@library.example/phone")
    joe = server.online("joe@library.example/x")
    mia.received()
    mia.send("<presence type='unavailable'><status>lunch</status></presence>")
    for client in (joe, phone, mia):
        (got,) = client.received()
        assert (got.type, str(got.from_), got.element[0].text) == (
            "unavailable",
            "mia@library.example/desk",
            "lunch",
        )
    mia.send("<presence type='unavailable'/>")
    assert joe.told() == []


def test_stream_that_is_lost_is_said_to_be_unavailable(server: Harness) -> None:
    subscribe(server, "mia@library.example", "joe@library.example", "from")
    subscribe(server, "mia@library.example", "pat@elsewhere.example", "from")
    mia, phone = server.online("mia@library.example/desk"), server.online("mia@library.example/phone")
    joe = server.online("joe@library.example/x")
    mia.send("<presence to='room@rooms.elsewhere.example/mia'/>")
    server.elsewhere.received()
    phone.received()
    mia.end()
    assert joe.told() == ["unavailable from mia@library.example/desk"]
    assert phone.told() == ["unavailable from mia@library.example/desk"]
    assert server.elsewhere.told() == [
        "unavailable from mia@library.example/desk to pat@elsewhere.example",
        "unavailable from mia@library.example/desk to room@rooms.elsewhere.example/mia",
    ]
    phone.end()
    assert joe.told() == ["unavailable from mia@library.example/phone"]


def test_available_after_unavailable_is_initial_again(server: Harness) -> None:
    subscribe(server, "mia@library.example", "pat@elsewhere.example", "to")
    mia = server.online("mia@library.example/desk")
    mia.send("<presence type='unavailable'/>")
    server.elsewhere.received()
    mia.send("<presence/>")
    assert server.elsewhere.told() == ["probe from mia@library.example to pat@elsewhere.example"]


@pytest.mark.parametrize(
    "priority", ["128", "-129", "1000", "", "high", "1.0", "1e1", "²", "1_0", "0x1", "+-1"]
)
def test_bad_priority_is_refused_and_not_broadcast(server: Harness, priority: str) -> None:
    subscribe(server, "mia@library.example", "joe@library.example", "both")
    joe = server.online("joe@library.example/x")
    mia = server.client("mia@library.example/desk")
    mia.send(f"<presence id='p'><priority>{priority}</priority></presence>")
    assert mia.told() == ["error bad-request from None"]
    assert joe.told() == []
    assert mia.session.presence is None
    mia.send("<presence><priority>1</priority></presence>")
    mia.received()
    mia.send(f"<presence id='p'><priority>{priority}</priority></presence>")
    assert mia.told() == ["error bad-request from None"]
    assert mia.session.priority == 1


def test_two_priorities_are_refused(server: Harness) -> None:
    mia = server.client("mia@library.example/desk")
    mia.send("<presence><priority>1</priority><priority>1</priority></presence>")
    assert mia.told() == ["error bad-request from None"]


@pytest.mark.parametrize("priority", [-128, 0, 127])
def test_all_priorities_of_the_range_are_taken(server: Harness, priority: int) -> None:
    mia = server.online("mia@library.example/desk", f"<presence><priority>{priority}</priority></presence>")
    assert mia.session.priority == priority


# -- what comes in ------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["", "unavailable", "error"])
def test_presence_for_the_account_goes_to_available_resources_unchanged(server: Harness, type: str) -> None:
    desk, phone = server.online("mia@library.example/desk"), server.online("mia@library.example/phone")
    connected = server.client("mia@library.example/connected")
    desk.received()
    attribute = f" type='{type}'" if type else ""
    server.arrive(
        f"<presence{attribute} from='{PAT}/home' to='{MIA}'><error><gone xmlns='urn:x'/></error></presence>"
    )
    for client in (desk, phone):
        (got,) = client.received()
        assert (got.type, got.to, got.from_) == (type, MIA, JID.parse(f"{PAT}/home"))
    assert connected.told() == []


def test_presence_for_a_resource_goes_there_only(server: Harness) -> None:
    desk = server.online("mia@library.example/desk")
    connected = server.client("mia@library.example/connected")
    server.arrive(f"<presence from='{PAT}/home' to='{MIA}/connected'/>")
    assert connected.told() == [f"available from {PAT}/home"]
    server.arrive(f"<presence from='{PAT}/home' to='{MIA}/gone'/>")
    assert desk.told() == []
    assert server.elsewhere.told() == []


# -- directed presence ----------------------------------------------------------------------


def test_directed_presence_is_taken_back_at_the_end(server: Harness) -> None:
    pat = server.online("pat@library.example/home")
    mia = server.online("mia@library.example/desk")
    mia.send("<presence to='pat@library.example'><show>chat</show></presence>")
    mia.send("<presence to='room@rooms.elsewhere.example/mia'/>")
    (got,) = pat.received()
    assert got.element[0].text == "chat"
    mia.send("<presence><show>away</show></presence>")
    assert pat.told() == [], "4.6.3: no broadcast of available presence"
    server.elsewhere.received()
    mia.send("<presence type='unavailable'><status>bye</status></presence>")
    (got,) = pat.received()
    assert (got.type, got.element[0].text) == ("unavailable", "bye")
    assert server.elsewhere.told() == [
        "unavailable from mia@library.example/desk to room@rooms.elsewhere.example/mia"
    ]
    mia.end()
    assert pat.told() == []


def test_directed_presence_without_initial_presence_is_taken_back_too(server: Harness) -> None:
    subscribe(server, "mia@library.example", "pat@library.example", "both")
    pat = server.online("pat@library.example/home")
    mia = server.client("mia@library.example/desk")
    mia.send("<presence to='pat@library.example'/>")
    assert pat.told() == ["available from mia@library.example/desk"]
    mia.end()
    assert pat.told() == ["unavailable from mia@library.example/desk"]
    assert server.core.feature(Witness).seen == ["initial", "ended"], "pat's, and the end of mia's"


def test_directed_unavailable_is_the_last_word(server: Harness) -> None:
    pat = server.online("pat@library.example/home")
    mia = server.online("mia@library.example/desk")
    mia.send("<presence to='pat@library.example'/>")
    mia.send("<presence type='unavailable' to='pat@library.example'/>")
    assert len(pat.told()) == 2
    mia.end()
    assert pat.told() == []


def test_subscriber_is_told_once_despite_directed_presence(server: Harness) -> None:
    subscribe(server, "mia@library.example", "pat@library.example", "both")
    pat = server.online("pat@library.example/home")
    mia = server.client("mia@library.example/desk")
    mia.send("<presence to='pat@library.example/home'/>")
    mia.send("<presence/>")
    mia.send("<presence to='pat@library.example'/>")
    assert len(pat.told()) == 3
    mia.end()
    assert pat.told() == ["unavailable from mia@library.example/desk"]


def test_who_has_left_is_not_told(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    mia.send("<presence to='room@rooms.elsewhere.example/mia'/>")
    server.elsewhere.received()
    server.arrive(
        "<presence type='unavailable' from='room@rooms.elsewhere.example/mia' to='mia@library.example/desk'/>"
    )
    mia.end()
    assert server.elsewhere.told() == []


def test_places_of_directed_presence_are_bounded(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "MOST_DIRECTED", 2)
    mia = server.online("mia@library.example/desk")
    for name in ("a", "b", "a", "c"):
        mia.send(f"<presence to='{name}@elsewhere.example'/>")
    assert mia.told() == ["error resource-constraint from c@elsewhere.example"]
    assert [str(stanza.to) for stanza in server.elsewhere.received()] == [
        "a@elsewhere.example",
        "b@elsewhere.example",
        "a@elsewhere.example",
    ]


def test_directed_presence_to_ones_own_account(server: Harness) -> None:
    desk, phone = server.online("mia@library.example/desk"), server.online("mia@library.example/phone")
    desk.received()
    desk.send("<presence to='mia@library.example/phone'/>")
    assert phone.told() == ["available from mia@library.example/desk"]
    desk.end()
    assert phone.told() == ["unavailable from mia@library.example/desk"]


# -- probes -----------------------------------------------------------------------------------


def test_subscriber_is_answered_with_all_resources(server: Harness) -> None:
    subscribe(server, "mia@library.example", PAT.text, "from")
    server.online("mia@library.example/desk", "<presence id='d1'><show>dnd</show></presence>")
    server.online("mia@library.example/phone", "<presence id='p1'/>")
    server.client("mia@library.example/connected")
    server.elsewhere.received()
    server.arrive(f"<presence type='probe' id='x' from='{PAT}' to='{MIA}'/>")
    answers = server.elsewhere.received()
    assert [(str(stanza.from_), stanza.type, stanza.id) for stanza in answers] == [
        ("mia@library.example/desk", "", "d1"),
        ("mia@library.example/phone", "", "p1"),
    ]
    assert all(stanza.to == PAT for stanza in answers)
    assert answers[0].element[0].text == "dnd"


def test_subscriber_of_an_account_that_is_away_is_told_so(server: Harness) -> None:
    subscribe(server, "mia@library.example", PAT.text, "both")
    server.arrive(f"<presence type='probe' id='x' from='{PAT}' to='{MIA}'/>")
    (answer,) = server.elsewhere.received()
    assert (answer.type, answer.from_, answer.to, answer.id) == ("unavailable", MIA, PAT, "x")


@pytest.mark.parametrize("to", ["mia@library.example", "mia@library.example/desk", "nobody@library.example"])
def test_strangers_learn_nothing_not_even_who_exists(server: Harness, to: str) -> None:
    subscribe(server, "mia@library.example", PAT.text, "to")
    server.online("mia@library.example/desk")
    server.elsewhere.received()
    server.arrive(f"<presence type='probe' id='x' from='{PAT}' to='{to}'/>")
    (answer,) = server.elsewhere.received()
    assert (answer.type, answer.from_, answer.to, answer.id) == (
        "unsubscribed",
        JID.parse(to).bare,
        PAT,
        "x",
    )


def test_probe_of_one_resource_learns_only_whether_it_is_there(server: Harness) -> None:
    subscribe(server, "mia@library.example", PAT.text, "from")
    server.online("mia@library.example/desk", "<presence><show>dnd</show></presence>")
    server.client("mia@library.example/connected")
    server.elsewhere.received()
    for resource in ("desk", "connected", "gone"):
        server.arrive(f"<presence type='probe' from='{PAT}' to='{MIA}/{resource}'/>")
    answers = server.elsewhere.received()
    assert [(stanza.from_.resourcepart, stanza.type) for stanza in answers if stanza.from_] == [
        ("desk", ""),
        ("connected", "unavailable"),
        ("gone", "unavailable"),
    ]
    assert all(len(stanza.element) == 0 for stanza in answers)


def test_room_finds_out_whether_an_occupant_is_still_there(server: Harness) -> None:
    """4.6.6: directed presence allows a probe of that resource, of no other."""
    mia = server.online("mia@library.example/desk")
    server.online("mia@library.example/phone")
    mia.send("<presence to='room@rooms.elsewhere.example/mia'/>")
    server.elsewhere.received()
    for resource in ("/desk", "/phone", ""):
        server.arrive(
            f"<presence type='probe' from='room@rooms.elsewhere.example/mia' to='{MIA}{resource}'/>"
        )
    assert server.elsewhere.told() == [
        "available from mia@library.example/desk to room@rooms.elsewhere.example/mia",
        "unsubscribed from mia@library.example to room@rooms.elsewhere.example/mia",
        "unsubscribed from mia@library.example to room@rooms.elsewhere.example/mia",
    ]


def test_own_account_may_be_probed(server: Harness) -> None:
    desk, phone = server.online("mia@library.example/desk"), server.online("mia@library.example/phone")
    desk.received()
    desk.send("<presence type='probe' to='mia@library.example'/>")
    assert desk.told() == [
        "available from mia@library.example/desk",
        "available from mia@library.example/phone",
    ]
    assert phone.told() == []


def test_probe_without_address_is_no_reason_for_an_error(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    mia.send("<presence type='probe'/>")
    assert mia.told() == []


def test_clients_probe_of_another_server_is_routed(server: Harness) -> None:
    mia = server.online("mia@library.example/desk")
    mia.send(f"<presence type='probe' to='{PAT}'/>")
    assert server.elsewhere.told() == [f"probe from mia@library.example/desk to {PAT}"]


# -- addresses that are no accounts ------------------------------------------------------------


def test_local_services_get_presence_and_probes_like_any_contact(server: Harness) -> None:
    """A queue has an address on the library's own domain; rooms have a domain of their own."""
    queue, rooms = Elsewhere(), Elsewhere()
    host = server.core.hosts.get("library.example")
    assert host is not None
    host.addresses["ask"] = queue
    server.core.hosts.add_service("rooms.library.example", rooms)
    server.account("mia@library.example")
    for contact in ("ask@library.example", "ask+417@library.example", "rooms.library.example"):
        item = RosterItem(JID.parse(contact), subscription="both")
        server.run(server.core.feature(Rosters).set_item(MIA, item))
    mia = server.client("mia@library.example/desk")
    mia.send("<presence/>")
    mia.end()
    expected = ["available from mia@library.example/desk", "probe from mia@library.example"]
    expected.append("unavailable from mia@library.example/desk")
    for contact, service in (("ask@library.example", queue), ("ask+417@library.example", queue)):
        told = [line for line in service.told_so_far() if line.endswith(f" to {contact}")]
        assert told == [f"{line} to {contact}" for line in expected]
    assert rooms.told() == [f"{line} to rooms.library.example" for line in expected]


def test_queue_that_answers_at_once_is_a_contact_before_it_is_present(server: Harness) -> None:
    """The patron's client must know the queue when its presence comes."""

    class Queue:
        def deliver(self, stanza: Stanza) -> None:
            assert stanza.to is not None
            assert stanza.from_ is not None
            if stanza.type == "subscribe":
                server.core.router.route(Stanza.presence(stanza.from_, stanza.to, "subscribed"))
                server.core.router.route(Stanza.presence(stanza.from_, stanza.to))

    host = server.core.hosts.get("library.example")
    assert host is not None
    host.addresses["ask"] = Queue()
    pat = server.online("pat@library.example/home")
    pat.send("<presence type='subscribe' to='ask@library.example'/>")
    assert pat.told() == [
        "push ask@library.example none ask",
        "subscribed from ask@library.example",
        "push ask@library.example to",
        "available from ask@library.example",
    ]


# -- other features -----------------------------------------------------------------------------


def test_feature_that_watches_what_accounts_receive_sees_broadcasts_too() -> None:
    class Wall(Feature):
        """Keeps all presence from mia."""

        name = "blocking"

        @on(PresenceReceived)
        def stop(self, event: PresenceReceived) -> bool | None:
            return event.account == MIA or None

    server = Harness([Wall])
    subscribe(server, "mia@library.example", "pat@library.example", "both")
    mia = server.online("mia@library.example/desk")
    pat = server.online("pat@library.example/home")
    mia.send("<presence><show>away</show></presence>")
    assert mia.told() == ["available from mia@library.example/desk"]
    assert pat.told() == ["available from mia@library.example/desk"]


def test_who_may_see_an_account(server: Harness) -> None:
    subscribe(server, "mia@library.example", PAT.text, "from")
    subscribe(server, "mia@library.example", "to@elsewhere.example", "to")
    presence = server.core.feature(Presence)
    other = JID.parse("room@rooms.elsewhere.example")

    def may_see(account: str, watcher: JID) -> bool:
        answer = presence.may_see(JID.parse(account), watcher)
        return answer if isinstance(answer, bool) else server.run(answer)

    assert may_see("mia@library.example", PAT)
    assert may_see("mia@library.example", MIA)
    assert not may_see("mia@library.example", JID.parse("to@elsewhere.example"))
    assert not may_see("nobody@library.example", PAT)
    mia = server.online("mia@library.example/desk")
    assert not may_see("mia@library.example", other)
    mia.send(f"<presence to='{other}/mia'/>")
    assert may_see("mia@library.example", other)


def test_removed_account_takes_leave_of_its_contacts(server: Harness) -> None:
    subscribe(server, "mia@library.example", "pat@library.example", "both")
    pat, mia = server.online("pat@library.example/home"), server.online("mia@library.example/desk")
    pat.received()
    server.remove_account("mia@library.example")
    assert pat.told() == [
        "unsubscribe from mia@library.example",
        "push mia@library.example to",
        "unavailable from mia@library.example/desk",
        "unsubscribed from mia@library.example",
        "push mia@library.example none",
    ]
    mia.end()
    assert pat.told() == []


def broadcast_of(client: Client) -> list[str]:
    client.send("<presence/>")
    return client.told()


def test_account_without_a_roster_is_present_to_itself(server: Harness) -> None:
    mia = server.client("mia@library.example/desk")
    server.remove_account("mia@library.example")
    assert broadcast_of(mia) == ["available from mia@library.example/desk"]
