"""A room service in memory, and short ways to say what is done in rooms."""

from __future__ import annotations

from refserver import ns
from refserver.features.messages import Messages
from refserver.features.server_information import Ping
from refserver.jid import JID
from refserver.muc.room import Room
from refserver.muc.service import RoomService
from refserver.stanza import Stanza
from refserver.xml.element import Element
from tests.server.harness import Client, Harness

ROOM = "tea@rooms.library.example"
X = f"<x xmlns='{ns.MUC}'/>"
INSTANT = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'/></query>"


class Rooms:
    """A server with rooms. `ann` owns `tea`, made and unlocked; the others are accounts beside her."""

    def __init__(self) -> None:
        self.server = Harness([Messages, Ping])
        self.service = _service(self.server)
        self.ann = self.client("ann")
        enter(self.ann, "ann")
        self.ann.ask("set", INSTANT, to=ROOM)
        self.ann.received()

    @property
    def room(self) -> Room:
        """The room `tea`."""
        room = self.service.room(JID.parse(ROOM))
        assert room is not None
        return room

    def restarted(self) -> tuple[Harness, RoomService]:
        """Another server with the same database, and its room service."""
        again = self.server.restarted(Messages, Ping)
        return again, _service(again)

    def client(self, name: str, domain: str = "library.example") -> Client:
        """Somebody who is online, and in no room."""
        return self.server.online(f"{name}@{domain}/desk")

    def inside(self, name: str, nick: str = "") -> Client:
        """Somebody who has just entered `tea`; what everybody was told of it is forgotten."""
        client = self.client(name)
        enter(client, nick or name)
        assert any(stanza.child(ns.MUC_USER, "x") is not None for stanza in client.received())
        self.ann.received()
        return client

    def configure(self, **values: str) -> None:
        """Let ann change settings; `_` stands for `muc#roomconfig_`."""
        fields = "".join(
            f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>"
            for name, value in values.items()
        )
        form = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
        answer = self.ann.ask("set", f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>", to=ROOM)
        assert answer.type == "result"
        self.ann.received()


def _service(server: Harness) -> RoomService:
    host = server.core.hosts.get("library.example")
    assert host is not None
    service = RoomService(server.core, host)
    service.start()
    return service


def enter(client: Client, nick: str, room: str = ROOM, inner: str = "") -> None:
    """Send the presence that enters a room."""
    client.send(f"<presence to='{room}/{nick}'><x xmlns='{ns.MUC}'>{inner}</x></presence>")


def leave(client: Client, nick: str) -> None:
    """Send the presence that leaves."""
    client.send(f"<presence type='unavailable' to='{ROOM}/{nick}'/>")


def say(client: Client, body: str) -> None:
    """Say something to everybody."""
    client.send(f"<message type='groupchat' to='{ROOM}' id='m'><body>{body}</body></message>")


def asked(client: Client, query: str, to: str) -> Element:
    """Ask for something that there is, and take what the answer holds."""
    payload = client.ask("get", query, to=to).payload
    assert payload is not None
    return payload


def admin(client: Client, item: str, type: str = "set") -> Stanza:
    """Ask for or change roles and affiliations."""
    return client.ask(type, f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>", to=ROOM)


def seen(client: Client) -> list[str]:
    """What a client was told since last time: one line each.

    `ann in: owner moderator [100 110]`, `ann out: none none [307]`, `ann: hello`, `subject: text`,
    `error conflict`.
    """
    return [line(stanza) for stanza in client.received()]


def line(stanza: Stanza) -> str:
    """One stanza as `seen` writes it."""
    assert stanza.from_ is not None
    who = stanza.from_.resourcepart or "room"
    if stanza.type == "error":
        error = stanza.child(ns.CLIENT, "error")
        assert error is not None
        return f"error {error[0].tag.partition('}')[2]}"
    x = stanza.child(ns.MUC_USER, "x")
    codes = (
        sorted(status.get("code", "") for status in x.findall(f"{{{ns.MUC_USER}}}status"))
        if x is not None
        else []
    )
    if stanza.kind == "presence":
        item = x.find(f"{{{ns.MUC_USER}}}item") if x is not None else None
        rank = "?" if item is None else f"{item.get('affiliation')} {item.get('role')}"
        return f"{who} {'out' if stanza.type else 'in'}: {rank}" + (
            f" {codes}".replace("'", "") if codes else ""
        )
    subject = stanza.child(ns.CLIENT, "subject")
    if subject is not None and not stanza.body:
        return f"subject: {subject.text or ''}"
    if codes:
        return f"room: {codes}".replace("'", "")
    return f"{who}: {stanza.body}"
