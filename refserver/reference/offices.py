"""Making somebody a librarian of a queue, and ending it: each is one database transaction.

With an account here, the desk room comes into her bookmarks with autojoin (XEP-0048, kept in
private storage, XEP-0049): her client is on duty when she logs in, with no set-up at all.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from refserver import ns
from refserver.jid import JID
from refserver.reference import answering
from refserver.storage import accounts, private, queues
from refserver.storage.questions import Question
from refserver.storage.queues import Librarian
from refserver.xml.element import Element, clark, element
from refserver.xml.write import parse, serialise

__all__ = ["appoint", "dismiss"]

_KEY: Final = (ns.BOOKMARKS_LEGACY, "storage")
_CONFERENCE: Final = clark(ns.BOOKMARKS_LEGACY, "conference")


def appoint(connection: Connection, queue_id: int, librarian: Librarian) -> None:
    """Make or change a librarian. Raises `NickTaken` or `NoSuchQueue`."""
    queue = queues.get(connection, queue_id)
    queues.put_librarian(connection, queue_id, librarian)
    if accounts.exists(connection, librarian.jid):
        bookmarks = _without(connection, librarian.jid, _desk(queue.jid))
        attributes = {
            "jid": _desk(queue.jid).text,
            "name": queue.title or queue.jid.localpart,
            "autojoin": "true",
        }
        nick = element(ns.BOOKMARKS_LEGACY, "nick", text=librarian.nick)
        bookmarks.append(element(ns.BOOKMARKS_LEGACY, "conference", attributes, nick))
        private.set(connection, librarian.jid, *_KEY, serialise(bookmarks, ""))


def dismiss(connection: Connection, queue_id: int, jid: JID) -> list[Question]:
    """End somebody's work at a queue; the questions she had wait again. None were hers: an empty list."""
    queue = queues.get(connection, queue_id)
    released = answering.dismiss(connection, queue_id, jid)
    queues.remove_librarian(connection, queue_id, jid)
    if accounts.exists(connection, jid):
        private.set(connection, jid, *_KEY, serialise(_without(connection, jid, _desk(queue.jid)), ""))
    return released


def _desk(queue: JID) -> JID:
    return JID.of(queue.localpart, f"rooms.{queue.domainpart}")


def _without(connection: Connection, account: JID, room: JID) -> Element:
    """The account's bookmarks but the one of a room."""
    stored = private.get(connection, account, *_KEY)
    bookmarks = parse(stored) if stored else element(ns.BOOKMARKS_LEGACY, "storage")
    for found in bookmarks.findall(_CONFERENCE):
        if found.get("jid") == room.text:
            bookmarks.remove(found)
    return bookmarks
