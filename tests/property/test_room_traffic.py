"""Whatever people send to a room, it answers with a defined error or does what was asked."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import provider

from refserver import ns
from refserver.errors import StanzaError
from refserver.muc.occupants import Role
from refserver.storage.rooms import Affiliation
from tests.server.harness import Client
from tests.server.rooms import ROOM, Rooms, enter

SERVICE = "rooms.library.example"
NAMES = ("ann", "bob", "cid")
texts = st.sampled_from(["", " ", "ann", "Ann", "bob", "ＢＯＢ", "x" * 1100, "1", "0", "9" * 400, "-1", "@"])
jids = st.sampled_from(
    ["", "ann@library.example", "bob@library.example/desk", "library.example", "cid@far.example", "@@", ROOM]
)
roles = st.sampled_from([*(role.name.lower() for role in Role), "king", ""])
affiliations = st.sampled_from([*(found.word for found in Affiliation), "king", ""])
to = st.sampled_from(
    [ROOM, f"{ROOM}/ann", f"{ROOM}/bob", f"{ROOM}/new", f"{ROOM}/ ", SERVICE, f"other@{SERVICE}/n"]
)


def attributes(**values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Some of the attributes, each with a value."""
    chosen = st.fixed_dictionaries({}, optional=values)
    return chosen.map(lambda found: "".join(f" {name}='{value}'" for name, value in found.items()))


@st.composite
def elements(draw: st.DrawFn) -> str:
    """A child that means something to rooms, or nearly."""
    name = draw(
        st.sampled_from(
            ["enter", "invite", "decline", "subject", "body", "admin", "owner", "destroy", "disco"]
        )
    )
    text = draw(texts)
    match name:
        case "enter":
            history = draw(attributes(maxstanzas=texts, maxchars=texts, seconds=texts, since=texts))
            return f"<x xmlns='{ns.MUC}'><password>{text}</password><history{history}/></x>"
        case "invite" | "decline":
            sent = f"<{name}{draw(attributes(to=jids))}><reason>{text}</reason></{name}>"
            return f"<x xmlns='{ns.MUC_USER}'>{sent}</x>"
        case "admin":
            item = attributes(jid=jids, nick=texts, role=roles, affiliation=affiliations)
            items = "".join(f"<item{found}/>" for found in draw(st.lists(item, max_size=3)))
            return f"<query xmlns='{ns.MUC_ADMIN}'>{items}</query>"
        case "owner":
            names = st.sampled_from(["persistentroom", "membersonly", "moderatedroom", "whois", "roomsecret"])
            fields = "".join(
                f"<field var='muc#roomconfig_{var}'><value>{value}</value></field>"
                for var, value in draw(st.lists(st.tuples(names, texts), max_size=3))
            )
            kind = draw(st.sampled_from(["submit", "cancel", "form"]))
            return (
                f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='{kind}'>{fields}</x></query>"
            )
        case "destroy":
            return f"<query xmlns='{ns.MUC_OWNER}'><destroy{draw(attributes(jid=jids))}/></query>"
        case "disco":
            return f"<query xmlns='{ns.DISCO_INFO}' node='{text}'/>"
    return f"<{name}>{text}</{name}>"


@st.composite
def stanzas(draw: st.DrawFn) -> tuple[str, str]:
    """Somebody's name, and a stanza of hers."""
    kind = draw(st.sampled_from(["iq", "message", "presence"]))
    types = {
        "iq": ["get", "set", "result", "error"],
        "message": ["groupchat", "chat", "normal", "error"],
        "presence": ["", "unavailable", "error", "probe"],
    }
    type_ = draw(st.sampled_from(types[kind]))
    given = f" type='{type_}'" if type_ else ""
    inner = draw(elements())
    return draw(st.sampled_from(NAMES)), f"<{kind} to='{draw(to)}' id='i'{given}>{inner}</{kind}>"


@settings(max_examples=100, deadline=None)
@given(st.lists(stanzas(), min_size=1, max_size=15), st.booleans())
def test_nothing_that_people_send_to_rooms_is_an_internal_error(
    sent: list[tuple[str, str]], slow_store: bool
) -> None:
    failures: list[Any] = []

    @provider(ILogObserver)
    def note(event: Any) -> None:
        if event["log_level"] >= LogLevel.error:
            failures.append(event)

    rooms = Rooms()
    clients: dict[str, Client] = {"ann": rooms.ann, "bob": rooms.client("bob"), "cid": rooms.client("cid")}
    enter(clients["bob"], "bob")
    globalLogPublisher.addObserver(note)
    try:
        with rooms.server.holding() if slow_store else nullcontext():
            for name, stanza in sent:
                with suppress(StanzaError):  # the stream refuses it
                    clients[name].send(stanza)
    finally:
        globalLogPublisher.removeObserver(note)
    assert [] == failures
    received = [stanza for client in clients.values() for stanza in client.received()]
    assert not any(b"internal-server-error" in stanza.wire() for stanza in received)
    for room in rooms.service:  # what is remembered agrees with itself
        sessions = {session: occupant for occupant in room.occupants for session in occupant.sessions}
        assert sessions == dict(room.occupants.sessions())
        assert room.managed or room.affiliated(Affiliation.OWNER)
