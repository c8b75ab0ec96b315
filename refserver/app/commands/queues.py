"""refserverctl queue and canned: the addresses that patrons write to, their options and canned replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import click
from attrs import asdict, evolve, field, frozen

from refserver.app.commands.context import command
from refserver.app.commands.late import Connection, hooks, offices, queues, rooms
from refserver.app.commands.request import (
    Done,
    Refused,
    Request,
    bare_address,
    domain_of,
    queue_at,
    refuse_shadowed_accounts,
    served_domain,
)
from refserver.jid import JID
from refserver.reference import texts
from refserver.reference.settings import Hours, HoursError, Policy, Settings, SettingsError


@click.group()
def queue() -> None:
    """Queues: the addresses that patrons write to."""


@frozen
class QueueOptions:
    """The options of a queue. What is None, or not among `settings`, stays as it is or is the default.

    `settings` are those of reference/settings.py by name.
    """

    title: str | None = None
    language: str | None = None
    hours: str | None = None
    settings: Mapping[str, Any] = field(factory=dict)

    def applied_to(self, queue: queues.Queue) -> queues.Queue:
        """Return the queue with these options. Raises `Refused` for what is impossible."""
        given = {name: getattr(self, name) for name in ("title", "language", "hours")}
        changed = evolve(queue, **{name: value for name, value in given.items() if value is not None})
        _check_language(changed.language)
        try:
            settings = Settings.of({**queue.settings, **self.settings})
            Hours.parse(changed.hours, settings.time_zone)
        except (SettingsError, HoursError) as error:
            raise Refused(str(error)) from error
        return evolve(changed, settings=settings.to_json())


_OPTIONS: Final = (
    click.Option(["--title"], help="The queue's name in contact lists."),
    click.Option(["--language"], help="The language it speaks first: en, de, …"),
    click.Option(
        ["--hours"], help='When it is open: "Mon-Fri 09:00-17:00; Sat 10:00-13:00". "" is no hours.'
    ),
    click.Option(["--time-zone"], help="The hours' time zone, like Europe/Berlin. Default: UTC."),
    click.Option(
        ["--dispatch"],
        type=click.Choice([policy.value for policy in Policy]),
        help="Who is offered a question first. Default: least-busy.",
    ),
    click.Option(["--offer-seconds"], type=float, help="Then it is offered to all on duty. Default: 30."),
    click.Option(["--undo-hours"], type=float, help="How long a close can be undone. Default: 24."),
    click.Option(
        ["--retention-days"], type=float, help="How long words are kept after the close. Default: 0."
    ),
    click.Option(
        ["--return-minutes"], type=float, help="When an absent librarian's question waits again. Default: 10."
    ),
    click.Option(["--practice/--no-practice"], default=None, help="Stay out of the statistics, or not."),
    click.Option(["--privacy-url"], help="Where the privacy policy is; named to patrons."),
    click.Option(["--web-page"], help="The desk's page; named on the queue's business card."),
)


def _options(given: dict[str, Any]) -> QueueOptions:
    """Return what was given on the command line."""
    own = {name: given.pop(name) for name in ("title", "language", "hours")}
    return QueueOptions(**own, settings={name: value for name, value in given.items() if value is not None})


@command(queue, *_OPTIONS, done="queue", make=lambda address, **given: AddQueue(address, _options(given)))
@frozen
class AddQueue(Request):
    """Add a queue. If it is there and set up like this, nothing is changed."""

    words: ClassVar[str] = "queue add"
    address: str
    options: QueueOptions = QueueOptions()

    def run(self, connection: Connection, now: float) -> Done:
        jid = bare_address(self.address)
        domain_of(connection, jid)
        known = queues.find(connection, jid)
        if known is not None:
            if self.options.applied_to(known) != known:
                raise Refused(
                    f"there is a queue {jid} already, set up differently: "
                    f"`refserverctl queue set {jid}` changes it"
                )
            return Done({"queue": jid.text, "done": "unchanged"})
        if "+" in jid.localpart:
            raise Refused("a queue's address holds no +: what follows it names personas and questions")
        refuse_shadowed_accounts(connection, jid)
        if queues.desks_of(connection, jid):
            raise Refused(f"{jid} is the address of a librarian: choose another one for the queue")
        new = self.options.applied_to(queues.Queue(0, jid, "", "en", "", {}))
        queues.add(
            connection, jid, title=new.title, language=new.language, hours=new.hours, settings=new.settings
        )
        # The desk is nobody's room: one that somebody had made under its address is taken over.
        rooms.delete_room(connection, JID.of(jid.localpart, f"rooms.{jid.domainpart}"))
        return Done({"queue": jid.text, "done": "added"}, (hooks.QueuesChanged(jid.domainpart),))


@command(queue, *_OPTIONS, done="queue", make=lambda address, **given: SetQueue(address, _options(given)))
@frozen
class SetQueue(Request):
    """Change what is given of a queue; the rest stays."""

    words: ClassVar[str] = "queue set"
    address: str
    options: QueueOptions = QueueOptions()

    def run(self, connection: Connection, now: float) -> Done:
        known = queue_at(connection, self.address)
        changed = self.options.applied_to(known)
        if changed == known:
            return Done({"queue": known.jid.text, "done": "unchanged"})
        queues.set_up(connection, changed)
        return Done(
            {"queue": known.jid.text, "done": "changed"}, (hooks.QueuesChanged(known.jid.domainpart),)
        )


@command(
    queue,
    click.Option(["--domain"], help="Only this library's."),
    columns=("queue", "title", "language", "hours", "time_zone", "librarians"),
    nothing="no queue yet: refserverctl queue add ask@DOMAIN",
)
@frozen
class ListQueues(Request):
    """List the queues; with --json all their settings."""

    words: ClassVar[str] = "queue list"
    writes: ClassVar[bool] = False
    domain: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        domain = "" if self.domain is None else served_domain(connection, self.domain)
        return Done(
            [
                {
                    "queue": each.jid.text,
                    "title": each.title,
                    "language": each.language,
                    "hours": each.hours,
                    "librarians": len(queues.librarians_of(connection, each.id)),
                    **asdict(Settings.of(each.settings)),
                }
                for each in queues.all_queues(connection, domain)
            ]
        )


@command(queue, done="queue", sure="Remove {address} with all its questions?")
@frozen
class RemoveQueue(Request):
    """Remove a queue with its librarians and questions. Statistics stay."""

    words: ClassVar[str] = "queue remove"
    address: str

    def run(self, connection: Connection, now: float) -> Done:
        queue = queue_at(connection, self.address)
        offices.remove_queue(connection, queue.id, now)
        return Done(
            {"queue": queue.jid.text, "done": "removed"}, (hooks.QueuesChanged(queue.jid.domainpart),)
        )


def _check_language(tag: str) -> None:
    if not (2 <= len(tag) <= 3 and tag.isascii() and tag.isalpha() and tag.islower()):
        raise Refused(f"{tag!r} is no language: write its short code, like en or de")
    if tag not in texts.languages():
        raise Refused(f"there are no texts in {tag!r}: choose one of {', '.join(texts.languages())}")


# -- canned replies ------------------------------------------------------------------

LONGEST_NAME: Final = 40
LONGEST_TEXT: Final = 4000
MOST_REPLIES: Final = 200


@click.group()
def canned() -> None:
    """Canned replies: what librarians send with !c NAME."""


@command(canned, done="name")
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


@command(canned, columns=("name", "text"), nothing="no canned reply yet: refserverctl canned set {queue}")
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


@command(canned, done="name")
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
