"""Messages in rooms, private ones, subjects, invitations, iqs through the room (XEP-0045 7.4-7.8, 8.1)."""

from __future__ import annotations

import pytest

from refserver import ns
from tests.server.harness import Client
from tests.server.rooms import ROOM, Rooms, admin, asked, enter, line, say, seen


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


def test_everybody_hears_a_message_the_speaker_too_with_its_id(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    say(bob, "hello")
    (own,) = bob.received()
    assert (line(own), own.id, str(own.to)) == ("bob: hello", "m", "bob@library.example/desk")
    assert seen(rooms.ann) == ["bob: hello"]


def test_nobody_outside_is_heard(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    say(bob, "let me in")
    assert seen(bob) == ["error not-acceptable"]
    assert seen(rooms.ann) == []


def test_a_visitor_has_no_voice_in_a_moderated_room_until_given_one(rooms: Rooms) -> None:
    rooms.configure(moderatedroom="1")
    bob = rooms.inside("bob")
    say(bob, "may I?")
    assert seen(bob) == ["error forbidden"]
    assert admin(rooms.ann, "<item nick='bob' role='participant'/>").type == "result"
    bob.received()
    say(bob, "thank you")
    assert seen(bob) == ["bob: thank you"]


def test_what_only_the_room_may_say_is_taken_out_of_a_message(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    forged = (
        f"<stanza-id xmlns='{ns.SID}' by='{ROOM}' id='1'/><stanza-id xmlns='{ns.SID}' by='{ROOM}' id='2'/>"
        f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='x'/><delay xmlns='{ns.DELAY}' from='{ROOM}' stamp='s'/>"
        f"<x xmlns='{ns.MUC_USER}'><status code='307'/></x><stanza-id xmlns='{ns.SID}' by='bob@b' id='3'/>"
    )
    bob.send(f"<message type='groupchat' to='{ROOM}'><body>b</body>{forged}</message>")
    (heard,) = rooms.ann.received()
    assert [child.get("id") for child in heard.element if child.tag != f"{{{ns.CLIENT}}}body"] == ["3"]


def test_a_private_message_reaches_one_occupant_only_and_says_that_it_is_one(rooms: Rooms) -> None:
    bob, cid = rooms.inside("bob"), rooms.inside("cid")
    bob.received()
    bob.send(f"<message type='chat' to='{ROOM}/ann'><body>psst</body></message>")
    (whispered,) = rooms.ann.received()
    assert line(whispered) == "bob: psst"
    assert whispered.child(ns.MUC_USER, "x") is not None
    assert seen(cid) == []


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (f"<message type='chat' to='{ROOM}/nobody'><body>b</body></message>", "item-not-found"),
        (f"<message type='groupchat' to='{ROOM}/ann'><body>b</body></message>", "bad-request"),
        (f"<message to='{ROOM}'><body>b</body></message>", "bad-request"),
        (
            "<message type='groupchat' to='no@rooms.library.example'><body>b</body></message>",
            "item-not-found",
        ),
        (f"<message type='groupchat' to='{ROOM}'><subject>mine</subject></message>", "forbidden"),
    ],
)
def test_messages_that_cannot_be_are_refused(rooms: Rooms, message: str, error: str) -> None:
    bob = rooms.inside("bob")
    bob.send(message)
    assert seen(bob) == [f"error {error}"]
    assert seen(rooms.ann) == []


def test_the_subject_is_changed_for_all_and_told_to_who_comes_later(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    rooms.ann.send(f"<message type='groupchat' to='{ROOM}'><subject>Oolong</subject></message>")
    assert seen(bob) == ["subject: Oolong"]
    cid = rooms.client("cid")
    enter(cid, "cid")
    assert seen(cid)[-1] == "subject: Oolong"


def test_participants_change_the_subject_where_the_room_lets_them(rooms: Rooms) -> None:
    rooms.configure(changesubject="1")
    bob = rooms.inside("bob")
    bob.send(f"<message type='groupchat' to='{ROOM}'><subject>Assam</subject></message>")
    assert seen(rooms.ann) == ["subject: Assam"]


def test_an_invitation_comes_from_the_room_and_makes_a_member_where_that_is_needed(rooms: Rooms) -> None:
    rooms.configure(membersonly="1", roomsecret="cauldron")
    bob = rooms.client("bob")
    invite = "<invite to='bob@library.example'><reason>tea?</reason></invite>"
    rooms.ann.send(f"<message to='{ROOM}'><x xmlns='{ns.MUC_USER}'>{invite}</x></message>")
    (invited,) = bob.received()
    assert str(invited.from_) == ROOM
    x = invited.child(ns.MUC_USER, "x")
    assert x is not None
    assert x[0].get("from") == "ann@library.example/desk"
    assert x.findtext(f"{{{ns.MUC_USER}}}password") == "cauldron"
    enter(bob, "bob", inner="<password>cauldron</password>")
    assert "bob in: member participant [110]" in seen(bob)


def through_room(client: Client, element: str) -> None:
    client.send(f"<message to='{ROOM}'><x xmlns='{ns.MUC_USER}'>{element}</x></message>")


def test_an_invited_person_may_decline_once_and_only_to_who_invited(rooms: Rooms) -> None:
    bob, cid = rooms.client("bob"), rooms.inside("cid")
    through_room(rooms.ann, "<invite to='bob@library.example'/>")
    bob.received()
    through_room(bob, "<decline to='cid@library.example'/>")
    assert seen(bob) == ["error forbidden"]
    assert seen(cid) == []
    through_room(bob, "<decline to='ann@library.example'><reason>coffee</reason></decline>")
    (declined,) = rooms.ann.received()
    decline = declined.element.find(f".//{{{ns.MUC_USER}}}decline")
    assert decline is not None
    assert (decline.get("from"), decline[0].text) == ("bob@library.example/desk", "coffee")
    through_room(bob, "<decline to='ann@library.example'><reason>tea</reason></decline>")
    assert seen(bob) == ["error forbidden"]
    assert seen(rooms.ann) == []


def test_who_was_not_invited_cannot_have_the_room_pass_on_a_refusal(rooms: Rooms) -> None:
    eve = rooms.client("eve")
    through_room(eve, "<decline to='ann@library.example'><reason>buy my tea</reason></decline>")
    assert seen(eve) == ["error forbidden"]
    assert seen(rooms.ann) == []


def test_an_invitation_can_be_declined_for_a_week(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    through_room(rooms.ann, "<invite to='bob@library.example'/>")
    bob.received()
    rooms.server.clock.advance(8 * 86_400)
    through_room(bob, "<decline to='ann@library.example'/>")
    assert seen(bob) == ["error forbidden"]


def test_reasons_of_invitations_and_refusals_are_cut(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    long = f"<reason>{'x' * 5000}</reason>"
    through_room(rooms.ann, f"<invite to='bob@library.example'>{long}</invite>")
    through_room(bob, f"<decline to='ann@library.example'>{long}</decline>")
    for client in (bob, rooms.ann):
        (told,) = client.received()
        assert len(told.element.findtext(f".//{{{ns.MUC_USER}}}reason") or "") == 1000


def test_one_account_sends_only_so_many_invitations_an_hour(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    for _ in range(51):
        through_room(bob, "<invite to='pat@home.example'/>")
    assert seen(bob) == ["error resource-constraint"]
    assert len(rooms.server.elsewhere.told()) == 50


def test_an_invited_member_is_stored_before_the_invitation_is_sent(rooms: Rooms) -> None:
    rooms.configure(membersonly="1", persistentroom="1")
    bob = rooms.client("bob")
    with rooms.server.holding():
        through_room(rooms.ann, "<invite to='bob@library.example'/>")
        assert seen(bob) == []
    assert len(bob.received()) == 1


def test_a_visitor_without_voice_is_not_heard_with_a_subject_and_a_thread_either(rooms: Rooms) -> None:
    rooms.configure(moderatedroom="1", changesubject="1")
    bob = rooms.inside("bob")
    thread = "<subject>s</subject><thread>t</thread>"
    bob.send(f"<message type='groupchat' to='{ROOM}'>{thread}<x xmlns='x:y'>heard?</x></message>")
    assert seen(bob) == ["error forbidden"]
    assert seen(rooms.ann) == []


def test_a_subject_has_a_bound(rooms: Rooms) -> None:
    rooms.ann.send(f"<message type='groupchat' to='{ROOM}'><subject>{'s' * 1001}</subject></message>")
    assert seen(rooms.ann) == ["error not-acceptable"]


def test_only_occupants_invite_and_in_a_members_only_room_only_admins(rooms: Rooms) -> None:
    rooms.configure(membersonly="1")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member'/>")
    bob = rooms.inside("bob")
    eve = rooms.client("eve")
    invite = f"<message to='{ROOM}'><x xmlns='{ns.MUC_USER}'><invite to='cid@library.example'/></x></message>"
    bob.send(invite)
    assert seen(bob) == ["error forbidden"]
    eve.send(invite)
    assert seen(eve) == ["error forbidden"]


def test_a_ping_of_oneself_tells_whether_one_is_still_here(rooms: Rooms) -> None:
    ping = f"<ping xmlns='{ns.PING}'/>"
    bob = rooms.inside("bob")
    assert bob.ask("get", ping, to=f"{ROOM}/bob").type == "result"
    eve = rooms.client("eve")
    assert line(eve.ask("get", ping, to=f"{ROOM}/bob")) == "error not-acceptable"


def test_an_iq_goes_through_the_room_and_its_answer_back(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    bob.send(f"<iq type='get' id='v' to='{ROOM}/ann'><query xmlns='{ns.VERSION}'/></iq>")
    (asked,) = rooms.ann.received()
    assert (str(asked.from_), asked.id) == (f"{ROOM}/bob", "v")
    rooms.ann.send(f"<iq type='result' id='v' to='{ROOM}/bob'><query xmlns='{ns.VERSION}'/></iq>")
    (answer,) = bob.received()
    assert (str(answer.from_), answer.type) == (f"{ROOM}/ann", "result")


def test_an_answer_through_the_room_reaches_the_session_that_asked(rooms: Rooms) -> None:
    desk = rooms.inside("bob")
    phone = rooms.server.online("bob@library.example/phone")
    enter(phone, "bob")
    for client in (desk, phone, rooms.ann):
        client.received()
    version = f"<query xmlns='{ns.VERSION}'/>"
    for client in (desk, phone):  # with the same id
        client.send(f"<iq type='get' id='v' to='{ROOM}/ann'>{version}</iq>")
    first, second = rooms.ann.received()
    assert first.id != second.id
    rooms.ann.send(f"<iq type='result' id='{second.id}' to='{ROOM}/bob'><query xmlns='{ns.VERSION}'/></iq>")
    rooms.ann.send(f"<iq type='result' id='{first.id}' to='{ROOM}/bob'/>")
    (answer,) = phone.received()
    assert (answer.id, answer.payload is not None) == ("v", True)
    (answer,) = desk.received()
    assert (answer.id, answer.payload is not None) == ("v", False)


def test_an_answer_that_nobody_asked_for_is_dropped(rooms: Rooms) -> None:
    bob, cid = rooms.inside("bob"), rooms.inside("cid")
    bob.send(f"<iq type='get' id='v' to='{ROOM}/ann'><query xmlns='{ns.VERSION}'/></iq>")
    bob.received()
    cid.send(f"<iq type='result' id='v' to='{ROOM}/bob'/>")
    rooms.ann.send(f"<iq type='result' id='w' to='{ROOM}/bob'/>")
    assert seen(bob) == []
    rooms.ann.send(f"<iq type='result' id='v' to='{ROOM}/bob'/>")
    rooms.ann.send(f"<iq type='result' id='v' to='{ROOM}/bob'/>")
    assert len(bob.received()) == 1


@pytest.mark.parametrize("to", [ROOM, "rooms.library.example"])
@pytest.mark.parametrize(
    ("node", "error"),
    [
        ("x-roomuser-item", "feature-not-implemented"),
        (f"{ns.MUC}#traffic", "feature-not-implemented"),
        (f"{ns.MUC}#rooms", "feature-not-implemented"),
        ("nothing", "item-not-found"),
    ],
)
def test_discovery_does_not_answer_for_a_node_that_is_not_there(
    rooms: Rooms, to: str, node: str, error: str
) -> None:
    bob = rooms.client("bob")
    query = "<query xmlns='{}' node='{}'/>"
    assert line(bob.ask("get", query.format(ns.DISCO_INFO, node), to=to)) == f"error {error}"
    assert line(bob.ask("get", query.format(ns.DISCO_ITEMS, node), to=to)) == "error item-not-found"


def test_a_room_that_is_not_listed_is_not_there_for_strangers(rooms: Rooms) -> None:
    rooms.configure(publicroom="0")
    eve = rooms.client("eve")
    for node in ("", " node='x-roomuser-item'"):
        for space in (ns.DISCO_INFO, ns.DISCO_ITEMS):
            assert line(eve.ask("get", f"<query xmlns='{space}'{node}/>", to=ROOM)) == "error item-not-found"


def test_disco_of_an_occupant_by_somebody_outside_is_a_bad_request(rooms: Rooms) -> None:
    eve = rooms.client("eve")
    answer = eve.ask("get", f"<query xmlns='{ns.DISCO_INFO}'/>", to=f"{ROOM}/ann")
    assert line(answer) == "error bad-request"


def test_an_occupant_whose_client_is_gone_leaves_when_a_message_comes_back(rooms: Rooms) -> None:
    far = "<presence from='bob@far.example/x' to='{}'><x xmlns='{}'/></presence>"
    rooms.server.arrive(far.format(f"{ROOM}/bob", ns.MUC))
    rooms.ann.received()
    gone = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    rooms.server.arrive(f"<message type='error' from='bob@far.example/x' to='{ROOM}/ann'>{gone}</message>")
    assert seen(rooms.ann) == ["bob out: none none [333]"]


def test_discovery_tells_what_a_room_is_and_lists_public_ones(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    items = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
    info = f"<query xmlns='{ns.DISCO_INFO}'/>"
    service = "rooms.library.example"
    assert [item.get("jid") for item in asked(bob, items, service)] == [ROOM]
    features = {found.get("var") for found in asked(bob, info, ROOM) if found.get("var")}
    assert {ns.MUC, "muc_open", "muc_temporary", "muc_semianonymous"} <= features
    rooms.configure(publicroom="0")
    assert list(asked(bob, items, service)) == []
    assert line(bob.ask("get", info, to=ROOM)) == "error item-not-found"
    assert bob.ask("get", info, to=service).type == "result"
    assert line(bob.ask("get", "<query xmlns='x:y'/>", to=ROOM)) == "error service-unavailable"
