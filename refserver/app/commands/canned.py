"""refserverctl canned: replies that a queue's librarians send with `!c NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import click
from attrs import frozen

from refserver.app.commands.addresses import queue_at
from refserver.app.commands.context import Context, pass_context
from refserver.app.commands.request import Done, Refused, Request, late

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from refserver.storage import queues
else:
    queues = late("refserver.storage", "queues")

LONGEST_NAME: Final = 40
LONGEST_TEXT: Final = 4000
MOST_REPLIES: Final = 200


@frozen
class SetCanned(Request):
    """Give a queue a canned reply, or another text for one."""

    words: ClassVar[str] = "canned set"
    queue: str
    name: str
    text: str

    def run(self, connection: Connection, now: float) -> Done:
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
class ListCanned(Request):
    """List a queue's canned replies."""

    words: ClassVar[str] = "canned list"
    writes: ClassVar[bool] = False
    queue: str

    def run(self, connection: Connection, now: float) -> Done:
        queue = queue_at(connection, self.queue)
        found = queues.canned(connection, queue.id)
        return Done([{"queue": queue.jid.text, "name": name, "text": found[name]} for name in sorted(found)])


@frozen
class RemoveCanned(Request):
    """Take a canned reply away."""

    words: ClassVar[str] = "canned remove"
    queue: str
    name: str

    def run(self, connection: Connection, now: float) -> Done:
        queue, name = queue_at(connection, self.queue), self.name.casefold()
        if name not in queues.canned(connection, queue.id):
            raise Refused(
                f"{queue.jid} has no canned reply {name}: `refserverctl canned list {queue.jid}` shows them"
            )
        queues.remove_canned(connection, queue.id, name)
        return Done({"queue": queue.jid.text, "name": name, "done": "removed"})


# -- what is typed -------------------------------------------------------------------


@click.group()
def canned() -> None:
    """Canned replies: what librarians send with !c NAME."""


@canned.command("set")
@click.argument("queue")
@click.argument("name")
@click.argument("text")
@pass_context
def set_(context: Context, queue: str, name: str, text: str) -> None:
    """Give a queue a canned reply, or another text for one."""
    context.change(SetCanned(queue, name, text), "name")


@canned.command("list")
@click.argument("queue")
@pass_context
def list_(context: Context, queue: str) -> None:
    """List a queue's canned replies."""
    context.show(
        ListCanned(queue),
        ("name", "text"),
        f"no canned reply yet: refserverctl canned set {queue}",
    )


@canned.command("remove")
@click.argument("queue")
@click.argument("name")
@pass_context
def remove(context: Context, queue: str, name: str) -> None:
    """Take a canned reply away."""
    context.change(RemoveCanned(queue, name), "name")
