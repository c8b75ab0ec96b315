"""A queue on the wire: the destination of `ask` and every `ask+…` of a library.

Owns its parts and what they share (who works here, the board, who can be reached), and says which
part an address belongs to. The parts: patron_chat.py and librarian_chat.py take messages, desk_room.py the
room, offers.py what waits, queue_presence.py the presence, roster_entries.py librarians' rosters;
relay.py sends, outbox.py tries again what other servers do not take; turns.py tells everybody
what follows a verb.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver import ns
from refserver.components.component import Component
from refserver.core.core import Core
from refserver.core.hosts import Host
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.payloads.disco import info
from refserver.reference import recovery
from refserver.reference.commands import parse
from refserver.reference.desk_room import DeskRoom
from refserver.reference.hours import Hours
from refserver.reference.librarian_chat import LibrarianChat
from refserver.reference.offers import Offers
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.outbox import Outbox
from refserver.reference.patron_chat import PatronChat
from refserver.reference.position_updates import PositionUpdates
from refserver.reference.queue_presence import FEATURES, QueuePresence
from refserver.reference.rate_limits import RateLimits
from refserver.reference.relay import MessageRelay
from refserver.reference.roster_entries import RosterEntries
from refserver.reference.settings import Settings
from refserver.reference.states import OPEN
from refserver.reference.texts import PatronTexts, StaffTexts, patron_texts, staff_texts
from refserver.reference.turns import Turns
from refserver.stanza import IQ_REQUESTS, Stanza
from refserver.storage import conversations, questions, queues, statistics
from refserver.storage.questions import Question
from refserver.storage.queues import Librarian
from refserver.xml.element import clark

__all__ = ["Queue", "Stored", "load"]

log = Logger()

DURATIONS_KEPT: Final = 20
RESOURCE: Final = "queue"
_INFO: Final = clark(ns.DISCO_INFO, "query")


@frozen
class Stored:
    """What the store knows of a queue. `left`: whether there may be something to hand over."""

    record: queues.Queue
    librarians: tuple[Librarian, ...]
    questions: tuple[tuple[Question, str], ...]
    subscribers: frozenset[JID]
    durations: tuple[float, ...]
    left: bool = True


def load(connection: Connection, record: queues.Queue) -> Stored:
    """Read everything that a running queue needs to know."""
    words = conversations.openings(connection, record.id, OPEN)
    open_ones = questions.in_states(connection, OPEN, record.id)
    durations = statistics.recent_durations(
        connection, record.jid.domainpart, record.jid.localpart, DURATIONS_KEPT
    )
    return Stored(
        record,
        tuple(queues.librarians_of(connection, record.id)),
        tuple((question, words.get(question.id, "")) for question in open_ones),
        frozenset(queues.subscribers(connection, record.id)),
        tuple(reversed(durations)),
    )


class Queue:
    """Implements `Destination`."""

    def __init__(
        self,
        core: Core,
        host: Host,
        rooms: RoomService,
        stored: Stored,
        hourly_limit: int,
        restraint: RateLimits,
    ) -> None:
        self.core = core
        self.host = host
        self.hourly_limit = hourly_limit
        self.restraint = restraint
        self.jid = stored.record.jid
        self.address = self.jid.with_resource(RESOURCE)
        self.board = OpenQuestions()
        self.durations: deque[float] = deque(stored.durations, DURATIONS_KEPT)
        self._take_over(stored)
        self.courier = MessageRelay(self)
        self.owed = Outbox(self)
        self.turns = Turns(self)
        self.offers = Offers(self)
        self.line = PositionUpdates(self)
        self.contact = QueuePresence(self)
        self.entries = RosterEntries(self)
        self.patrons = PatronChat(self)
        self.staff = LibrarianChat(self)
        self.desk = DeskRoom(self, rooms)
        self.contact.subscribers.update(stored.subscribers)
        self._left = stored.left
        self._starting: IDelayedCall | None = None

    def _take_over(self, stored: Stored) -> None:
        record = stored.record
        self.record = record
        self.settings = Settings.of(record.settings)
        self.hours = Hours.parse(record.hours, self.settings.time_zone)
        self.librarians: dict[JID, Librarian] = {one.jid: one for one in stored.librarians}
        self.patron_texts: PatronTexts = patron_texts(record.language)
        self.staff_texts: StaffTexts = staff_texts(record.language)
        self.board = OpenQuestions(stored.questions)

    # -- life ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to answer, and hand over what a stop or a crash left behind."""
        self.desk.set_up()
        self.host.addresses[self.jid.localpart] = self
        self.contact.update()
        if self._left:
            self.owed.hold()
            self._starting = self.core.clock.callLater(0, self._give_rest)

    def _give_rest(self) -> None:
        self._starting = None
        self.run(self.owed.start())
        self.run(self.give_rest_to_patrons())
        for librarian in self.librarians:
            if self.is_reachable(librarian):
                self.run(self.give_rest_to(librarian))

    def stop(self) -> None:
        """The server ends: no more offers, no more news; every question stays as it is."""
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        self.offers.stop()
        self.line.stop()
        self.contact.stop()
        self.owed.stop()

    def remove(self) -> None:
        """The queue is no more."""
        self.stop()
        self.contact.leave()
        self.host.addresses.pop(self.jid.localpart, None)
        self.desk.close()

    def refresh(self, stored: Stored) -> None:
        """Something was changed from outside: settings, staff, questions given back."""
        staff_before = set(self.librarians)
        self._take_over(stored)
        self.desk.set_up()
        for librarian in staff_before | set(self.librarians):
            self.run(self.entries.correct(librarian))
        self.changed()

    def changed(self) -> None:
        """A question or the duty has changed: look at what depends on it."""
        self.offers.update()
        self.line.update()
        self.contact.update()

    # -- who and where -----------------------------------------------------------------

    def chat(self, number: int) -> JID:
        """The address of a question's chat."""
        return JID.of(f"{self.jid.localpart}+{number}", self.jid.domainpart)

    def speaker(self, number: int) -> JID:
        """Who speaks in a question's chat: as everywhere in XMPP, something with a resource.

        COMPAT: profanity shows nobody typing who has none.
        """
        return self.chat(number).with_resource(RESOURCE)

    def number_of(self, jid: JID) -> int | None:
        """The number of the question whose chat an address is."""
        name, plus, detail = jid.localpart.partition("+")
        own = jid.domainpart == self.jid.domainpart and name == self.jid.localpart
        return int(detail) if own and plus and detail.isdecimal() and len(detail) < 10 else None

    def nick_of(self, librarian: JID) -> str:
        """What the desk calls a librarian."""
        found = self.librarians.get(librarian)
        return librarian.localpart if found is None else found.nick

    def guest(self, question: Question) -> str:
        """What staff call a patron."""
        return question.guest

    def texts_for(self, question: Question) -> PatronTexts:
        """The sentences for a question's patron."""
        return patron_texts(question.language)

    def is_local(self, jid: JID) -> bool:
        """Whether a bare JID is an account's address here."""
        host = self.core.hosts.get(jid.domainpart)
        return host is not None and host.find(jid.localpart) is None

    def is_elsewhere(self, jid: JID) -> bool:
        """Whether a bare JID belongs to another server, or to a component: they may be away for long."""
        if self.core.hosts.get(jid.domainpart) is not None:
            return False
        service = self.core.hosts.service(jid.domainpart)
        return service is None or isinstance(service, Component)

    def is_live(self, jid: JID) -> bool:
        """Whether what is handed over now arrives: there is a client here."""
        return self.is_reachable(jid) and not self.is_elsewhere(jid)

    def is_reachable(self, jid: JID) -> bool:
        """Whether a message can be handed over now: to a client here, or to another server."""
        here = any(session.priority >= 0 for session in self.core.sessions.of(jid).values())
        return here or not self.is_local(jid)

    def is_present(self, jid: JID) -> bool:
        """Whether somebody is there; of accounts elsewhere we are not told, so we think the best."""
        return bool(self.core.sessions.available(jid)) or not self.is_local(jid)

    # -- Destination -------------------------------------------------------------------

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`."""
        try:
            self._deliver(stanza)
        except StanzaError as error:
            self.core.router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} for a queue could not be processed", kind=stanza.kind)
            self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _deliver(self, stanza: Stanza) -> None:
        assert stanza.to is not None
        if stanza.from_ is not None and stanza.type != "error":
            self.owed.reachable(stanza.from_.domainpart)
        number = self.number_of(stanza.to)
        own = stanza.to.localpart == self.jid.localpart
        if stanza.kind == "message":
            if own:
                self._message(stanza)
            elif number is not None:
                self.staff.message(number, stanza)
            else:
                raise StanzaError(Condition.ITEM_NOT_FOUND)
        elif stanza.kind == "presence":
            if own:
                self.contact.presence(stanza)
            elif number is not None:
                self.entries.presence(number, stanza)
        elif stanza.type in IQ_REQUESTS:
            answer = self.contact.ask(stanza) if own else self._ask_chat(number, stanza)
            self.core.router.route(stanza.result(answer))

    def _message(self, stanza: Stanza) -> None:
        """A librarian's command for the queue is a command; all else is a patron's, whoever it is."""
        assert stanza.from_ is not None
        sender = stanza.from_.bare
        if sender in self.librarians and stanza.body.startswith("!") and stanza.type != "error":
            self.desk.command(parse(stanza.body), sender, partial(self.courier.tell_patron, sender))
        else:
            self.patrons.message(stanza)

    def _ask_chat(self, number: int | None, stanza: Stanza) -> Any:
        assert stanza.from_ is not None
        payload = stanza.payload
        if number is None or stanza.from_.bare not in self.librarians or payload is None:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        if stanza.type == "get" and payload.tag == _INFO and not payload.get("node"):
            return info(("account", "registered", f"#{number}"), FEATURES)
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    # -- handing over what is left --------------------------------------------------------

    async def give_rest_to_patrons(self) -> None:
        """Hand over what a crash has kept from patrons here; it is kept for them while they are away."""
        for rest in await self.core.database.read(recovery.for_patrons, self.record.id, self.address):
            if rest.question.patron is not None and not self.is_elsewhere(rest.question.patron):
                self.courier.carry_rest(rest.question, rest.due, rest.kept)

    async def give_rest_to(self, librarian: JID) -> None:
        """Hand over what has come for a librarian while she was away; elsewhere, what is owed sees to it."""
        elsewhere = self.is_elsewhere(librarian)
        rests = await self.core.database.write(
            recovery.for_librarian, self.record.id, librarian, self.is_live(librarian)
        )
        for rest in rests:
            self.courier.recapitulate(rest.question, rest.doubtful)
            if not elsewhere:
                self.courier.carry_rest(rest.question, rest.due)

    # -- running ----------------------------------------------------------------------------

    def run(self, doing: Coroutine[Deferred[Any], Any, Any]) -> None:
        """Do something that waits for the store; what goes wrong unexpectedly is logged."""
        self.watch(Deferred.fromCoroutine(doing))

    def watch(self, deferred: Deferred[Any]) -> None:
        """Log what goes wrong with something nobody waits for."""
        deferred.addErrback(lambda failure: log.failure("something in a queue failed", failure=failure))
