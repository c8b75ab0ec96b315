"""Verbs on senders: whom a library allows and blocks, and what its desks reported as spam.

Whom a desk has blocked with `!spam` is in the lists without a name: nobody's name was kept.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, time
from typing import Any, ClassVar, Final

from attrs import evolve, frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import served_domain
from refserver.app.verbs.changes import AllowOnlySet, SenderListed, SenderUnlisted
from refserver.app.verbs.verb import Done, Refused, Verb, day_of, moment
from refserver.features.library_access import end_subscriptions
from refserver.jid import JID, InvalidJID
from refserver.storage import access_rules, libraries, queues
from refserver.storage.access_rules import EVERYWHERE, Rule

__all__ = [
    "AddAllow",
    "AddBlock",
    "AllowOnly",
    "ListAllows",
    "ListBlocks",
    "ListSpam",
    "RemoveAllow",
    "RemoveBlock",
]

ALL: Final = "*"
"""What stands for all libraries where a library is asked for."""
LONGEST_REASON: Final = 200


@frozen
class _SenderVerb(Verb):
    """Base class of verbs on one sender, a bare JID or a domain; `library` "*": in every library."""

    library: str
    sender: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        return self._run(connection, _library(connection, self.library), _sender(self.sender), now)

    @abstractmethod
    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        """As `run`, with what the arguments mean. Raises `Refused`."""


@frozen
class _Remove(_SenderVerb):
    """Base class of verbs that take a sender off a list. `absent` is said of who is not on it."""

    allowed: ClassVar[bool]
    absent: ClassVar[str]

    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        found = self._found(connection, library, sender)
        if found is None or found.allowed != self.allowed:
            command = self.verb.replace("remove", "list")
            raise Refused(
                f"{sender.key} {self.absent}: `refserverctl {command} '{self.library}'` shows who is"
            )
        access_rules.remove(connection, library, found)
        data = {"library": library or ALL, "sender": sender.key, "done": "removed"}
        return Done(data, (SenderUnlisted(library, found),))

    def _found(self, connection: Connection, library: str, sender: Rule) -> Rule | None:
        """The rule that is to go."""
        return _listed(connection, library, sender)


@frozen
class _List(Verb):
    """Base class of verbs that tell who is on a list, of a library and of all; `allowed` tells which one."""

    writes: ClassVar[bool] = False
    allowed: ClassVar[bool]
    library: str

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        library = _library(connection, self.library)
        rows = [
            _row(at, rule)
            for at in dict.fromkeys((library, EVERYWHERE))
            for rule in access_rules.rules(connection, at)
            if rule.allowed == self.allowed and (rule.expires_at is None or rule.expires_at > now)
        ]
        return Done(rows)


@frozen
class AddBlock(_SenderVerb):
    """Block a sender. `reason` None leaves the one it has."""

    verb: ClassVar[str] = "block add"
    reason: str | None = None

    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        _refuse_own(connection, library, sender)
        done = _add(connection, library, evolve(sender, made_at=now), self.reason)
        end_subscriptions(connection, library, sender.domain, now)
        staff = queues.desks_of(connection, JID.parse(sender.key)) if sender.localpart else ()
        desks = [queue.jid.text for queue, _ in staff if library in (EVERYWHERE, queue.jid.domainpart)]
        if desks:
            note = f"{sender.key} is a librarian of {', '.join(desks)}, and cannot get there any more"
            return evolve(done, data={**done.data, "note": note})
        return done


@frozen
class AddAllow(_SenderVerb):
    """Always let a sender in. `reason` None leaves the one it has."""

    verb: ClassVar[str] = "allow add"
    reason: str | None = None

    def _run(self, connection: Connection, library: str, sender: Rule, now: float) -> Done:
        done = _add(connection, library, evolve(sender, allowed=True, made_at=now), self.reason)
        marked = _marked(connection, library, sender)
        if marked is None:
            return done
        access_rules.remove(connection, library, marked)  # the desk's block is lifted
        data = {**done.data, "done": "changed"}
        return Done(data, (*done.changes, SenderUnlisted(library, marked)))


@frozen
class RemoveBlock(_Remove):
    """Let a sender in again, who may be given as the chat of the question in which it was blocked, too."""

    verb: ClassVar[str] = "block remove"
    allowed: ClassVar[bool] = False
    absent: ClassVar[str] = "is not blocked"

    def _found(self, connection: Connection, library: str, sender: Rule) -> Rule | None:
        return (
            super()._found(connection, library, sender)
            or _marked(connection, library, sender)
            or _of_chat(connection, library, sender)
        )


@frozen
class RemoveAllow(_Remove):
    """Treat a sender like all others again."""

    verb: ClassVar[str] = "allow remove"
    allowed: ClassVar[bool] = True
    absent: ClassVar[str] = "is not on the list"


@frozen
class ListBlocks(_List):
    """Whom a library blocks, and who is blocked in all."""

    verb: ClassVar[str] = "block list"
    allowed: ClassVar[bool] = False


@frozen
class ListAllows(_List):
    """Whom a library always lets in, and who is let in in all."""

    verb: ClassVar[str] = "allow list"
    allowed: ClassVar[bool] = True


@frozen
class AllowOnly(Verb):
    """Let in nobody but whom a library allows, or others again; `on` None changes nothing and tells."""

    verb: ClassVar[str] = "allow only"
    library: str
    on: bool | None = None

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        library = served_domain(connection, self.library)
        was = access_rules.is_allow_only(connection, library)
        if self.on is None or self.on == was:
            done = ("on" if was else "off") if self.on is None else "unchanged"
            return Done({"library": library, "allow_only": was, "done": done})
        access_rules.set_allow_only(connection, library, self.on)
        data = {"library": library, "allow_only": self.on, "done": "changed"}
        return Done(data, (AllowOnlySet(library, self.on),))


@frozen
class ListSpam(Verb):
    """From which domains a library's desks reported spam since a day (ISO date, UTC)."""

    verb: ClassVar[str] = "spam list"
    writes: ClassVar[bool] = False
    library: str
    first_day: str = ""

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
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
    return EVERYWHERE if text == ALL else served_domain(connection, text)


def _sender(text: str) -> Rule:
    try:
        jid = JID.parse(text)
    except InvalidJID:
        jid = None
    if jid is None or not jid.is_bare:
        raise Refused(
            f"{text!r} is no sender: write it like pat@server.example, or server.example for everybody"
        )
    return Rule(jid.domainpart, jid.localpart)


def _refuse_own(connection: Connection, library: str, sender: Rule) -> None:
    """A library is not to be locked out of itself, nor out of its desks' rooms."""
    domain = sender.domain.removeprefix(libraries.ROOMS)
    own = libraries.get(connection, domain) is not None if library == EVERYWHERE else domain == library
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
    return Done({**data, "done": done}, (SenderListed(library, rule),))


def _listed(connection: Connection, library: str, sender: Rule) -> Rule | None:
    found = access_rules.rules(connection, library, sender.domain)
    return next((rule for rule in found if rule.is_of(sender)), None)


def _marked(connection: Connection, library: str, sender: Rule) -> Rule | None:
    """The desk's rule about an address."""
    found = [rule for rule in access_rules.rules(connection, library, sender.domain) if rule.fingerprint]
    if not found or not sender.localpart:
        return None
    mark = access_rules.fingerprint(access_rules.fingerprint_key(connection, library), JID.parse(sender.key))
    return next((rule for rule in found if rule.fingerprint == mark), None)


def _of_chat(connection: Connection, library: str, chat: Rule) -> Rule | None:
    """The desk's rule that was made in the chat of a question, like `ask+417@library.example`."""
    queue, plus, number = chat.localpart.partition("+")
    if chat.domain != library or not plus or not number.isdecimal() or len(number) > 9:
        return None
    return access_rules.of_question(connection, library, queue, int(number))


def _is_blocked(connection: Connection, library: str, domain: str) -> bool:
    for at in dict.fromkeys((library, EVERYWHERE)):
        rule = _listed(connection, at, Rule(domain))
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
