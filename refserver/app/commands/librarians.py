"""refserverctl librarian: who works at which queue, and under which name."""

from __future__ import annotations

from typing import ClassVar, Final

import click
from attrs import frozen

from refserver.app.commands.context import command
from refserver.app.commands.late import Connection, accounts, hooks, libraries, occupants, offices, queues
from refserver.app.commands.libraries import SERVICES
from refserver.app.commands.request import Done, Refused, Request, bare_address, queue_at, queue_of, queues_at
from refserver.jid import JID, InvalidJID

DEFAULT_CHATS: Final = 3
MOST_CHATS: Final = 100
RESERVED_NICKS: Final = frozenset({"queue", "partner"})  # what `!to` takes besides a nick


@click.group()
def librarian() -> None:
    """Librarians: who works at which queue."""


@command(
    librarian,
    click.Option(["--nick"], help="What colleagues call her: one word. Default: what stands before the @."),
    click.Option(["--max-chats"], type=int, help="How many questions she takes at a time. Default: 3."),
    done="jid",
)
@frozen
class AddLibrarian(Request):
    """Make somebody a librarian of a queue, or change what is given of one."""

    words: ClassVar[str] = "librarian add"
    queue: str
    jid: str
    nick: str | None = None
    max_chats: int | None = None

    def run(self, connection: Connection, now: float) -> Done:
        queue, jid = queue_at(connection, self.queue), bare_address(self.jid)
        known = queues.librarian(connection, queue.id, jid)
        wanted = self._applied_to(known or queues.Librarian(jid, jid.localpart, DEFAULT_CHATS))
        data = {"queue": queue.jid.text, "jid": jid.text, "nick": wanted.nick}
        if wanted == known:
            return Done({**data, "done": "unchanged"})
        if queue_of(connection, jid) is not None:
            raise Refused(f"{jid} belongs to a queue: a librarian is a person, with an address of her own")
        label, _, parent = jid.domainpart.partition(".")
        if label in SERVICES and libraries.get(connection, parent) is not None:
            raise Refused(f"{jid.domainpart} is a service of {parent}, where nobody has an account")
        _check_nick(connection, queue, wanted)
        offices.appoint(connection, queue.id, wanted)
        data["done"] = "added" if known is None else "changed"
        if libraries.get(connection, jid.domainpart) and not accounts.exists(connection, jid):
            data["note"] = f"there is no account {jid} yet: `refserverctl account add {jid}` makes it"
        return Done(data, (hooks.QueuesChanged(queue.jid.domainpart),))

    def _applied_to(self, librarian: queues.Librarian) -> queues.Librarian:
        max_chats = librarian.max_chats if self.max_chats is None else self.max_chats
        if not 1 <= max_chats <= MOST_CHATS:
            raise Refused(f"a librarian may have from 1 to {MOST_CHATS} chats at a time")
        nick = librarian.nick if self.nick is None else self.nick
        return queues.Librarian(librarian.jid, nick, max_chats)


@command(
    librarian,
    click.Option(["--queue"], help="Only this queue's."),
    columns=("queue", "jid", "nick", "max_chats"),
    nothing="no librarian yet: refserverctl librarian add QUEUE JID",
)
@frozen
class ListLibrarians(Request):
    """List who works where."""

    words: ClassVar[str] = "librarian list"
    writes: ClassVar[bool] = False
    queue: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        return Done(
            [
                {
                    "queue": queue.jid.text,
                    "jid": each.jid.text,
                    "nick": each.nick,
                    "max_chats": each.max_chats,
                }
                for queue in queues_at(connection, self.queue)
                for each in queues.librarians_of(connection, queue.id)
            ]
        )


@command(librarian, done="jid")
@frozen
class RemoveLibrarian(Request):
    """End somebody's work at a queue. The questions she had claimed wait again."""

    words: ClassVar[str] = "librarian remove"
    queue: str
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        queue, jid = queue_at(connection, self.queue), bare_address(self.jid)
        if queues.librarian(connection, queue.id, jid) is None:
            raise Refused(
                f"{jid} is no librarian of {queue.jid}: "
                f"`refserverctl librarian list --queue {queue.jid}` shows who is"
            )
        released = offices.dismiss(connection, queue.id, jid)
        data = {"queue": queue.jid.text, "jid": jid.text, "released": len(released), "done": "removed"}
        return Done(data, (hooks.QueuesChanged(queue.jid.domainpart),))


def _check_nick(connection: Connection, queue: queues.Queue, librarian: queues.Librarian) -> None:
    """Raise `Refused` unless the nick is one word, for `!to`, and no colleague's (RFC 8266)."""
    nick = librarian.nick
    try:
        valid = JID.of(queue.jid.localpart, queue.jid.domainpart, nick).resourcepart == nick
    except InvalidJID:
        valid = False
    if not valid or not nick or nick != "".join(nick.split()) or nick.startswith("!"):
        raise Refused(f"{nick!r} is no nick: it is one word, choose one with --nick")
    key = occupants.nickname_key(nick)
    if key in RESERVED_NICKS | {occupants.nickname_key(queue.jid.localpart)}:  # the desk's own
        raise Refused(f"the desk uses the name {nick} otherwise: choose another with --nick")
    for other in queues.librarians_of(connection, queue.id):
        if other.jid != librarian.jid and occupants.nickname_key(other.nick) == key:
            raise Refused(f"{other.jid} is called {other.nick} already: choose another nick with --nick")
