"""Verbs on librarians: who works at which queue, and as whom."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import bare_address, queue_at, queues_at
from refserver.app.verbs.changes import LibrarianRemoved, LibrarianSet
from refserver.app.verbs.verb import Done, Refused, Verb
from refserver.jid import JID, InvalidJID
from refserver.reference.offices import appoint, dismiss
from refserver.storage import accounts, libraries, queues
from refserver.storage.queues import Librarian, Queue

__all__ = ["PERSONAS", "AddLibrarian", "ListLibrarians", "RemoveLibrarian"]

PERSONAS: Final = ("public", "patrons", "staff", "none")
USUAL_CHATS: Final = 3
MOST_CHATS: Final = 100
RESERVED_NICKS: Final = frozenset({"queue", "partner"})  # what `!to` takes besides a nick


@frozen
class AddLibrarian(Verb):
    """Make somebody a librarian of a queue, or change what is given of one; `persona`: see `PERSONAS`."""

    verb: ClassVar[str] = "librarian add"
    queue: str
    jid: str
    nick: str | None = None
    max_chats: int | None = None
    persona: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        queue, jid = queue_at(connection, self.queue), bare_address(self.jid)
        known = queues.librarian(connection, queue.id, jid)
        wished = self._applied_to(known or Librarian(jid, _usual_nick(jid), USUAL_CHATS, ""))
        data = {"queue": queue.jid.text, "jid": jid.text, "nick": wished.nick}
        if wished == known:
            return Done({**data, "done": "unchanged"})
        if jid == queue.jid:
            raise Refused("a queue cannot be its own librarian")
        _check_nick(connection, queue, wished)
        appoint(connection, queue.id, wished)
        data["done"] = "added" if known is None else "changed"
        if libraries.get(connection, jid.domainpart) and not accounts.exists(connection, jid):
            data["note"] = f"there is no account {jid} yet: `refserverctl account add {jid}` makes it"
        return Done(data, (LibrarianSet(queue.jid, jid),))

    def _applied_to(self, librarian: Librarian) -> Librarian:
        persona = librarian.persona if self.persona is None else self.persona
        max_chats = librarian.max_chats if self.max_chats is None else self.max_chats
        if persona not in ("", *PERSONAS):
            raise Refused(f"{persona!r} is no persona: choose one of {', '.join(PERSONAS)}")
        if not 1 <= max_chats <= MOST_CHATS:
            raise Refused(f"a librarian may have from 1 to {MOST_CHATS} chats at a time")
        nick = librarian.nick if self.nick is None else self.nick
        return Librarian(librarian.jid, nick, max_chats, "" if persona == "none" else persona)


@frozen
class ListLibrarians(Verb):
    """Who works at one queue, or at all."""

    verb: ClassVar[str] = "librarian list"
    writes: ClassVar[bool] = False
    queue: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        return Done(
            [
                _row(queue, librarian)
                for queue in queues_at(connection, self.queue)
                for librarian in queues.librarians_of(connection, queue.id)
            ]
        )


@frozen
class RemoveLibrarian(Verb):
    """Somebody works at a queue no more: what she had claimed waits again."""

    verb: ClassVar[str] = "librarian remove"
    queue: str
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        queue, jid = queue_at(connection, self.queue), bare_address(self.jid)
        if queues.librarian(connection, queue.id, jid) is None:
            raise Refused(
                f"{jid} is no librarian of {queue.jid}: "
                f"`refserverctl librarian list --queue {queue.jid}` shows who is"
            )
        released = dismiss(connection, queue.id, jid)
        data = {"queue": queue.jid.text, "jid": jid.text, "released": len(released), "done": "removed"}
        return Done(data, (LibrarianRemoved(queue.jid, jid),))


def _usual_nick(jid: JID) -> str:
    return jid.localpart


def _check_nick(connection: Connection, queue: Queue, librarian: Librarian) -> None:
    """A nick is one word, for `!to`, and one colleague's only, however it is written."""
    nick = librarian.nick
    try:
        valid = JID.of(queue.jid.localpart, queue.jid.domainpart, nick).resourcepart == nick
    except InvalidJID:
        valid = False
    if not valid or not nick or nick != "".join(nick.split()) or nick.startswith("!"):
        raise Refused(f"{nick!r} is no nick: it is one word, choose one with --nick")
    if nick.casefold() in RESERVED_NICKS | {queue.jid.localpart}:  # the desk speaks under the queue's name
        raise Refused(f"the desk uses the name {nick} otherwise: choose another with --nick")
    for other in queues.librarians_of(connection, queue.id):
        if other.jid != librarian.jid and other.nick.casefold() == nick.casefold():
            raise Refused(f"{other.jid} is called {other.nick} already: choose another nick with --nick")


def _row(queue: Queue, librarian: Librarian) -> dict[str, Any]:
    return {
        "queue": queue.jid.text,
        "jid": librarian.jid.text,
        "nick": librarian.nick,
        "max_chats": librarian.max_chats,
        "persona": librarian.persona or "none",
    }
