"""Verbs on queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import asdict, evolve, field, frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import (
    bare_address,
    domain_of,
    queue_at,
    refuse_shadowed_accounts,
    served_domain,
)
from refserver.app.verbs.changes import QueueAdded, QueueChanged, QueueRemoved
from refserver.app.verbs.verb import Done, Refused, Verb
from refserver.jid import JID
from refserver.reference.hours import Hours, HoursError
from refserver.reference.offices import dismiss
from refserver.reference.settings import Settings, SettingsError
from refserver.storage import queues, rooms
from refserver.storage.queues import Queue

__all__ = ["AddQueue", "ListQueues", "QueueWishes", "RemoveQueue", "SetQueue"]


@frozen
class QueueWishes:
    """How a queue is to be; what is None, or not among `settings`, stays (or is the default).

    `settings` are those of reference/settings.py by name.
    """

    title: str | None = None
    language: str | None = None
    hours: str | None = None
    settings: Mapping[str, Any] = field(factory=dict)

    def applied_to(self, queue: Queue) -> Queue:
        """The queue as wished. Raises `Refused` for what is impossible."""
        given = {name: getattr(self, name) for name in ("title", "language", "hours")}
        wished = evolve(queue, **{name: value for name, value in given.items() if value is not None})
        _check_language(wished.language)
        try:
            settings = Settings.of({**queue.settings, **self.settings})
            Hours.parse(wished.hours, settings.time_zone)
        except (SettingsError, HoursError) as error:
            raise Refused(str(error)) from error
        return evolve(wished, settings=settings.to_json())


@frozen
class AddQueue(Verb):
    """Add a queue. If it is there already it must be as wished; `queue set` changes one."""

    verb: ClassVar[str] = "queue add"
    address: str
    wishes: QueueWishes = QueueWishes()

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        jid = bare_address(self.address)
        domain_of(connection, jid)
        known = queues.find(connection, jid)
        if known is not None:
            if self.wishes.applied_to(known) != known:
                raise Refused(
                    f"there is a queue {jid} already, set up differently: "
                    f"`refserverctl queue set {jid}` changes it"
                )
            return Done({"queue": jid.text, "done": "unchanged"})
        if "+" in jid.localpart:
            raise Refused("a queue's address holds no +: what follows it names personas and questions")
        refuse_shadowed_accounts(connection, jid)
        new = self.wishes.applied_to(Queue(0, jid, "", "en", "", {}))
        queues.add(
            connection,
            jid,
            title=new.title,
            language=new.language,
            hours=new.hours,
            settings=new.settings,
        )
        # The desk is nobody's room: one that somebody had made under its address is taken over.
        rooms.delete_room(connection, JID.of(jid.localpart, f"rooms.{jid.domainpart}"))
        return Done({"queue": jid.text, "done": "added"}, (QueueAdded(jid),))


@frozen
class SetQueue(Verb):
    """Change how a queue is set up."""

    verb: ClassVar[str] = "queue set"
    address: str
    wishes: QueueWishes

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        known = queue_at(connection, self.address)
        wished = self.wishes.applied_to(known)
        if wished == known:
            return Done({"queue": known.jid.text, "done": "unchanged"})
        queues.set_up(connection, wished)
        return Done({"queue": known.jid.text, "done": "changed"}, (QueueChanged(known.jid),))


@frozen
class ListQueues(Verb):
    """The queues of one library or of all, by address, each with all its settings."""

    verb: ClassVar[str] = "queue list"
    writes: ClassVar[bool] = False
    domain: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        domain = "" if self.domain is None else served_domain(connection, self.domain)
        return Done([_row(connection, queue) for queue in queues.all_queues(connection, domain)])


@frozen
class RemoveQueue(Verb):
    """Remove a queue with its librarians and questions. Statistics stay."""

    verb: ClassVar[str] = "queue remove"
    address: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        queue = queue_at(connection, self.address)
        for librarian in queues.librarians_of(connection, queue.id):
            dismiss(connection, queue.id, librarian.jid)
        queues.remove(connection, queue.jid)
        return Done({"queue": queue.jid.text, "done": "removed"}, (QueueRemoved(queue.jid),))


def _check_language(tag: str) -> None:
    if not (2 <= len(tag) <= 3 and tag.isascii() and tag.isalpha() and tag.islower()):
        raise Refused(f"{tag!r} is no language: write its short code, like en or de")


def _row(connection: Connection, queue: Queue) -> dict[str, Any]:
    return {
        "queue": queue.jid.text,
        "title": queue.title,
        "language": queue.language,
        "hours": queue.hours,
        "librarians": len(queues.librarians_of(connection, queue.id)),
        **asdict(Settings.of(queue.settings)),
    }
