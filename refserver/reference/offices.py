"""Making somebody a librarian of a queue, and ending it; removing a queue. Each is one database transaction.

With an account here, the desk room comes into her bookmarks with autojoin (XEP-0048, kept in
private storage, XEP-0049): her client is on duty when she logs in, with no set-up at all.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from refserver import ns
from refserver.core.hooks import QueuesChanged
from refserver.jid import JID
from refserver.reference import answering, closing
from refserver.reference.privacy import unlink_patron
from refserver.reference.states import OPEN
from refserver.storage import account_data, accounts, questions, queues
from refserver.storage.questions import Question
from refserver.storage.queues import Librarian
from refserver.xml.element import Element, clark, element
from refserver.xml.write import parse, serialise

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
        account_data.set_private(connection, librarian.jid, *_KEY, serialise(bookmarks, ""))


def dismiss(connection: Connection, queue_id: int, jid: JID) -> list[Question]:
    """End somebody's work at a queue; her questions, which wait again now."""
    queue = queues.get(connection, queue_id)
    released = answering.dismiss(connection, queue_id, jid)
    queues.remove_librarian(connection, queue_id, jid)
    if accounts.exists(connection, jid):
        account_data.set_private(
            connection, jid, *_KEY, serialise(_without(connection, jid, _desk(queue.jid)), "")
        )
    return released


def end_offices(connection: Connection, jid: JID, now: float) -> tuple[QueuesChanged, ...]:
    """Do what the end of an account means for the queues; the libraries that have changed by it.

    Her work at desks ends and her questions there wait again. What she has asked as a patron ends, and
    nothing is linked to her address any more: who gets it next is somebody else.
    """
    changed = set()
    for queue, _ in queues.desks_of(connection, jid):
        dismiss(connection, queue.id, jid)
        changed.add(queue.jid.domainpart)
    for question in unlink_patron(connection, jid, now):
        changed.add(queues.get(connection, question.queue_id).jid.domainpart)
    return tuple(QueuesChanged(domain) for domain in sorted(changed))


def remove_queue(connection: Connection, queue_id: int, now: float) -> None:
    """Remove a queue: its open questions end, its librarians are dismissed. The statistics stay."""
    for question in questions.in_states(connection, OPEN, queue_id):
        closing.end(connection, question.id, now)
    for librarian in queues.librarians_of(connection, queue_id):
        dismiss(connection, queue_id, librarian.jid)
    queues.remove(connection, queues.get(connection, queue_id).jid)


def _desk(queue: JID) -> JID:
    return JID.of(queue.localpart, f"rooms.{queue.domainpart}")


def _without(connection: Connection, account: JID, room: JID) -> Element:
    """The account's bookmarks but the one of a room."""
    stored = account_data.private(connection, account, *_KEY)
    bookmarks = parse(stored) if stored else element(ns.BOOKMARKS_LEGACY, "storage")
    for found in bookmarks.findall(_CONFERENCE):
        if found.get("jid") == room.text:
            bookmarks.remove(found)
    return bookmarks
