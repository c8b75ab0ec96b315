"""Verbs on canned replies: sentences that a queue's librarians send with `!c NAME`."""

from __future__ import annotations

from typing import ClassVar, Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import queue_at
from refserver.app.verbs.verb import Done, Refused, Verb
from refserver.storage import queues

__all__ = ["ListCanned", "RemoveCanned", "SetCanned"]

LONGEST_NAME: Final = 40
LONGEST_TEXT: Final = 4000
MOST_REPLIES: Final = 200


@frozen
class SetCanned(Verb):
    """Give a queue a canned reply, or another text for one."""

    verb: ClassVar[str] = "canned set"
    queue: str
    name: str
    text: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        queue = queue_at(connection, self.queue)
        known = queues.canned(connection, queue.id)
        name, text = self.name.casefold(), self.text.strip()
        if not name or len(name) > LONGEST_NAME or name != "".join(name.split()):
            raise Refused(f"a canned reply's name is one word of {LONGEST_NAME} characters at most")
        if not text or len(text) > LONGEST_TEXT:
            raise Refused(f"a canned reply has from 1 to {LONGEST_TEXT} characters")
        if name not in known and len(known) >= MOST_REPLIES:
            raise Refused(f"a queue has {MOST_REPLIES} canned replies at most: remove one first")
        data = {"queue": queue.jid.text, "name": name}
        if known.get(name) == text:
            return Done({**data, "done": "unchanged"})
        queues.put_canned(connection, queue.id, name, text)
        return Done({**data, "done": "changed" if name in known else "added"})


@frozen
class ListCanned(Verb):
    """A queue's canned replies."""

    verb: ClassVar[str] = "canned list"
    writes: ClassVar[bool] = False
    queue: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        queue = queue_at(connection, self.queue)
        found = queues.canned(connection, queue.id)
        return Done([{"queue": queue.jid.text, "name": name, "text": found[name]} for name in sorted(found)])


@frozen
class RemoveCanned(Verb):
    """Take a canned reply away."""

    verb: ClassVar[str] = "canned remove"
    queue: str
    name: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        queue, name = queue_at(connection, self.queue), self.name.casefold()
        if name not in queues.canned(connection, queue.id):
            raise Refused(
                f"{queue.jid} has no canned reply {name}: `refserverctl canned list {queue.jid}` shows them"
            )
        queues.remove_canned(connection, queue.id, name)
        return Done({"queue": queue.jid.text, "name": name, "done": "removed"})
