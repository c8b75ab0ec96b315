"""refserverctl block, allow and spam: the senders that libraries let in, and those reported as spam.

Senders that a desk has blocked with `!spam` are in the lists without a name: no name was kept.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, time
from typing import Any, ClassVar, Final

import click
from attrs import evolve, frozen

from refserver.app.commands.context import DAY, Context, command, pass_context
from refserver.app.commands.late import (
    Connection,
    Rule,
    RunningServer,
    access_rules,
    libraries,
    library_access,
    queues,
)
from refserver.app.commands.request import Done, Refused, Request, day_of, moment, served_domain
from refserver.jid import JID, InvalidJID

ALL: Final = "*"
"""Written in place of a library, it means all libraries."""
LONGEST_REASON: Final = 200
COLUMNS: Final = ("library", "sender", "reason", "origin", "by", "since", "until")
REASON: Final = click.Option(["--reason"], help="Why, for those who look at the list.")


@click.group()
def block() -> None:
    """Senders that a library does not let in: addresses, and whole servers."""


@click.group()
def allow() -> None:
    """Senders that a library always lets in: limits for strangers do not count for them."""


@frozen
class RuleChanged:
    """A library (`access_rules.EVERYWHERE`: each) has a rule about a sender, or no longer has it."""

    library: str
    rule: Rule
    holds: bool


@frozen
class _SenderRequest(Request):
    """Base class of requests about one sender, a bare JID or a domain; `library` "*" means every library."""

    library: str
    sender: str

    def run(self, connection: Connection, now: float) -> Done:
        return self._run(connection, _library(connection, self.library), _sender(self.sender), now)

    @abstractmethod
    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        """Execute the request with parsed arguments. Raises `Refused`."""

    async def apply(self, server: RunningServer, done: Done) -> Any:
        """Streams of servers that are not welcome any more end."""
        lists = server.core.feature(library_access.LibraryAccess)
        for event in done.events:
            assert isinstance(event, RuleChanged)
            (lists.put if event.holds else lists.drop)(event.library, event.rule)
        if done.events and server.servers is not None:
            server.servers.review()
        return done.data


@frozen
class _Remove(_SenderRequest):
    """Base class of requests that take a sender off a list; `absent` is said of one that is not on it."""

    allowed: ClassVar[bool]
    absent: ClassVar[str]

    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        found = self._found(connection, library, sender)
        if found is None or found.allowed != self.allowed:
            command = self.words.replace("remove", "list")
            raise Refused(
                f"{sender.key} {self.absent}: `refserverctl {command} '{self.library}'` shows who is"
            )
        access_rules.remove(connection, library, found)
        data = {"library": library or ALL, "sender": sender.key, "done": "removed"}
        return Done(data, (RuleChanged(library, found, holds=False),))

    def _found(self, connection: Connection, library: str, sender: Rule) -> Rule | None:
        """Return the rule to remove."""
        return _listed(connection, library, sender)


@frozen
class _List(Request):
    """Base class of requests that show a list of a library and of all; `allowed` tells which list."""

    writes: ClassVar[bool] = False
    allowed: ClassVar[bool]
    library: str

    def run(self, connection: Connection, now: float) -> Done:
        library = _library(connection, self.library)
        rows = [
            _row(at, rule)
            for at in dict.fromkeys((library, access_rules.EVERYWHERE))
            for rule in access_rules.rules(connection, at)
            if rule.allowed == self.allowed and (rule.expires_at is None or rule.expires_at > now)
        ]
        return Done(rows)


@command(block, REASON, done="sender")
@frozen
class AddBlock(_SenderRequest):
    """Block an address or a server: for them there is nobody here, and their subscriptions end."""

    words: ClassVar[str] = "block add"
    reason: str | None = None  # None leaves the one it has

    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        _refuse_own(connection, library, sender)
        done = _add(connection, library, evolve(sender, made_at=now), self.reason)
        library_access.end_subscriptions(connection, library, sender.domain, now)
        staff = queues.desks_of(connection, JID.parse(sender.key)) if sender.localpart else ()
        everywhere = library == access_rules.EVERYWHERE
        desks = [queue.jid.text for queue, _ in staff if everywhere or library == queue.jid.domainpart]
        if desks:
            note = f"{sender.key} is a librarian of {', '.join(desks)}, and cannot get there any more"
            return evolve(done, data={**done.data, "note": note})
        return done


@command(allow, REASON, done="sender")
@frozen
class AddAllow(_SenderRequest):
    """Always let in an address or a server."""

    words: ClassVar[str] = "allow add"
    reason: str | None = None  # None leaves the one it has

    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        done = _add(connection, library, evolve(sender, allowed=True, made_at=now), self.reason)
        marked = _marked(connection, library, sender)
        if marked is None:
            return done
        access_rules.remove(connection, library, marked)  # the desk's block is lifted
        data = {**done.data, "done": "changed"}
        return Done(data, (*done.events, RuleChanged(library, marked, holds=False)))


@command(block, done="sender")
@frozen
class RemoveBlock(_Remove):
    """Let a sender in again.

    It may be given as the chat of the question in which it was blocked.
    """

    words: ClassVar[str] = "block remove"
    allowed: ClassVar[bool] = False
    absent: ClassVar[str] = "is not blocked"

    def _found(self, connection: Connection, library: str, sender: Rule) -> Rule | None:
        return (
            super()._found(connection, library, sender)
            or _marked(connection, library, sender)
            or _of_chat(connection, library, sender)
        )


@command(allow, done="sender")
@frozen
class RemoveAllow(_Remove):
    """Treat a sender like all others again."""

    words: ClassVar[str] = "allow remove"
    allowed: ClassVar[bool] = True
    absent: ClassVar[str] = "is not on the list"


@command(block, columns=COLUMNS, nothing="nobody is blocked")
@frozen
class ListBlocks(_List):
    """List whom a library blocks, and who is blocked everywhere."""

    words: ClassVar[str] = "block list"
    allowed: ClassVar[bool] = False


@command(allow, columns=COLUMNS, nothing="nobody is on the list")
@frozen
class ListAllows(_List):
    """List whom a library always lets in, and who is let in everywhere."""

    words: ClassVar[str] = "allow list"
    allowed: ClassVar[bool] = True


@command(
    allow,
    click.Option(
        ["--on/--off"], default=None, help="Let in only those, or others again. Otherwise: say how it is."
    ),
    done="library",
)
@frozen
class AllowOnly(Request):
    """Let in nobody from elsewhere but whom the library allows, and its librarians."""

    words: ClassVar[str] = "allow only"
    library: str
    on: bool | None = None  # None only tells how it is

    def run(self, connection: Connection, now: float) -> Done:
        library = served_domain(connection, self.library)
        was = access_rules.is_allow_only(connection, library)
        if self.on is None or self.on == was:
            done = ("on" if was else "off") if self.on is None else "unchanged"
            return Done({"library": library, "allow_only": was, "done": done})
        access_rules.set_allow_only(connection, library, self.on)
        data = {"library": library, "allow_only": self.on, "done": "changed"}
        return Done(data, (self,))

    async def apply(self, server: RunningServer, done: Done) -> Any:
        if done.events:
            lists = server.core.feature(library_access.LibraryAccess)
            lists.allow_only(done.data["library"], done.data["allow_only"])
        return done.data


@frozen
class ListSpam(Request):
    """Count the spam that a library's desks reported since a day (ISO date, UTC), by domain."""

    words: ClassVar[str] = "spam list"
    writes: ClassVar[bool] = False
    library: str
    first_day: str = ""

    def run(self, connection: Connection, now: float) -> Done:
        library = _library(connection, self.library)
        day = self.first_day
        since = datetime.combine(day_of(day), time(), UTC).timestamp() if day else 0.0
        rows = [
            {
                "domain": count.domain,
                "reports": count.reports,
                "last": moment(count.last),
                "blocked": _is_blocked(connection, library, count.domain),
            }
            for count in access_rules.reports(connection, library, since)
        ]
        return Done(rows)


def _library(connection: Connection, text: str) -> str:
    return access_rules.EVERYWHERE if text == ALL else served_domain(connection, text)


def _sender(text: str) -> Rule:
    try:
        jid = JID.parse(text)
    except InvalidJID:
        jid = None
    if jid is None or not jid.is_bare:
        raise Refused(
            f"{text!r} is no sender: write it like pat@server.example, or server.example for everybody"
        )
    return access_rules.Rule(jid.domainpart, jid.localpart)


def _refuse_own(connection: Connection, library: str, sender: Rule) -> None:
    """Raise `Refused` if a library would lock out itself or the rooms of its desks."""
    domain = sender.domain.removeprefix(libraries.ROOMS)
    own = (
        libraries.get(connection, domain) is not None
        if library == access_rules.EVERYWHERE
        else domain == library
    )
    if own and not sender.localpart:
        raise Refused(f"{sender.domain} is served here: block the addresses that send spam")


def _add(connection: Connection, library: str, rule: Rule, reason: str | None) -> Done:
    known = _listed(connection, library, rule)
    if reason is not None and len(reason) > LONGEST_REASON:
        raise Refused(f"a reason has {LONGEST_REASON} characters at most")
    if reason is None and known is not None and known.allowed == rule.allowed:
        reason = known.reason
    rule = evolve(rule, reason=reason or "")
    data = {"library": library or ALL, "sender": rule.key}
    if known is not None and (known.allowed, known.reason) == (rule.allowed, rule.reason):
        return Done({**data, "done": "unchanged"})
    access_rules.put(connection, library, rule)
    done = "added" if known is None else "changed"
    return Done({**data, "done": done}, (RuleChanged(library, rule, holds=True),))


def _listed(connection: Connection, library: str, sender: Rule) -> Rule | None:
    found = access_rules.rules(connection, library, sender.domain)
    return next((rule for rule in found if rule.is_of(sender)), None)


def _marked(connection: Connection, library: str, sender: Rule) -> Rule | None:
    """Return the desk's rule about an address."""
    found = [rule for rule in access_rules.rules(connection, library, sender.domain) if rule.fingerprint]
    if not found or not sender.localpart:
        return None
    mark = access_rules.fingerprint(access_rules.fingerprint_key(connection, library), JID.parse(sender.key))
    return next((rule for rule in found if rule.fingerprint == mark), None)


def _of_chat(connection: Connection, library: str, chat: Rule) -> Rule | None:
    """Return the desk's rule that was made in the chat of a question, like `ask+417@library.example`."""
    queue, plus, number = chat.localpart.partition("+")
    if chat.domain != library or not plus or not number.isdecimal() or len(number) > 9:
        return None
    return access_rules.of_question(connection, library, queue, int(number))


def _is_blocked(connection: Connection, library: str, domain: str) -> bool:
    for at in dict.fromkeys((library, access_rules.EVERYWHERE)):
        rule = _listed(connection, at, access_rules.Rule(domain))
        if rule is not None:
            return not rule.allowed
    return False


def _row(library: str, rule: Rule) -> dict[str, Any]:
    chat = f"{rule.queue}+{rule.number}@{library}"
    return {
        "library": library or ALL,
        "sender": f"…@{rule.domain}" if rule.fingerprint else rule.key,
        "reason": rule.reason,
        "origin": f"!spam {chat}" if rule.number is not None else "refserverctl",
        "by": rule.librarian or None,
        "since": moment(rule.made_at),
        "until": moment(rule.expires_at),
    }


# -- what is typed -------------------------------------------------------------------


@click.group()
def spam() -> None:
    """Spam that librarians reported with !spam."""


@spam.command("list")
@click.argument("library")
@click.option("--from", "first", type=DAY, metavar="DAY", help="The first day, like 2026-01-31.")
@pass_context
def spam_list(context: Context, library: str, first: datetime | None) -> None:
    """Count the questions that were spam by the server they came from, the latest first."""
    day = "" if first is None else first.date().isoformat()
    columns = ("domain", "reports", "last", "blocked")
    context.show(ListSpam(library, day), columns, "no spam was reported")
