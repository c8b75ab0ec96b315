"""A queue on the wire: the destination of `ask` and every `ask+…` of a library. Wires the queue's parts.

A new subscriber of events, or a new way to call verbs, is one file and one line in `Queue.__init__`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver.core.core import Core
from refserver.core.iqs import Request, Target, disco_info
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.payloads.disco import Identity, Info
from refserver.reference.commands import Say, parse
from refserver.reference.desk_room import DeskRoom
from refserver.reference.duty import OnDuty, Waits
from refserver.reference.librarian_chat import LibrarianChat
from refserver.reference.offers import Offers
from refserver.reference.outbox import Outbox
from refserver.reference.patron_chat import PatronChat, PositionUpdates
from refserver.reference.profile import QueueProfile, Stored
from refserver.reference.queue_presence import FEATURES, QueuePresence
from refserver.reference.relay import MessageRelay, RateLimits
from refserver.reference.roster_entries import RosterEntries
from refserver.reference.staff_commands import Line, StaffCommands
from refserver.stanza import IQ_REQUESTS, Stanza

if TYPE_CHECKING:
    from refserver.reference.library import Library

log = Logger()


class Queue:
    """One queue of a library. Implements `Destination`."""

    def __init__(
        self,
        core: Core,
        library: Library,
        rooms: RoomService,
        stored: Stored,
        hourly_limit: int,
        limits: RateLimits,
    ) -> None:
        self._core = core
        self._library = library
        opened, events, service = library.open_questions, library.events, library.service
        reach, absences = library.reach, library.absences
        profile = self.profile = QueueProfile(stored)
        self.on_duty = OnDuty(profile, opened, core.clock)
        waits = Waits(profile, opened, self.on_duty)
        self.relay = MessageRelay(core, profile, limits)
        self.outbox = Outbox(core, profile, opened, reach, self.relay, service)
        self.commands = StaffCommands(service, core.database, profile, self.on_duty, self._say_at_desk)
        self.desk = DeskRoom(core, profile, opened, rooms, self.on_duty, absences, self.commands, self.update)
        self.librarian_chat = LibrarianChat(
            core, profile, opened, reach, self.relay, self.outbox, self.commands, absences.wrote
        )
        self.patron_chat = PatronChat(
            core,
            profile,
            opened,
            self.on_duty,
            waits,
            absences,
            self.relay,
            self.outbox,
            service,
            hourly_limit,
        )
        self.roster_entries = RosterEntries(core, profile, opened, reach)
        self.offers = Offers(core, profile, opened, self.on_duty, service, events)
        self.positions = PositionUpdates(core.clock, profile, opened, self.on_duty, waits, self.relay)
        self.presence = QueuePresence(core, profile, opened, self.on_duty, waits)
        of_this_queue = (
            self.roster_entries.show_new,
            self.librarian_chat.handle,
            self.patron_chat.handle,
            self.desk.handle,
            waits.handle,
            self.roster_entries.hide_old,
        )
        of_all_queues = (self.offers.handle, self.positions.handle, self.presence.handle)
        for handler in of_this_queue:
            events.subscribe(handler, profile.id)
        for handler in of_all_queues:
            events.subscribe(handler)
        self._handlers = (*of_this_queue, *of_all_queues)
        self.presence.subscribers.update(stored.subscribers)
        self._left = stored.left
        self._starting: IDelayedCall | None = None

    @property
    def jid(self) -> JID:
        """The queue's address."""
        return self.profile.jid

    @property
    def librarians(self) -> list[JID]:
        """Those who work here (bare JIDs)."""
        return list(self.profile.librarians)

    # -- life ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to answer, and deliver what a stop or a crash left behind."""
        self.desk.set_up()
        self._library.host.addresses[self.jid.localpart] = self
        self.presence.update()
        if self._left:
            self.outbox.hold()
            self._starting = self._core.clock.callLater(0, self._deliver_what_is_left)

    def _deliver_what_is_left(self) -> None:
        self._starting = None
        self._core.run(self.outbox.start(), "something in a queue failed")

    def stop(self) -> None:
        """The server ends: no more offers, no more news; every question stays as it is."""
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        self.offers.stop()
        self.positions.stop()
        self.presence.stop()
        self.outbox.stop()

    def remove(self) -> None:
        """The queue is no more."""
        self.stop()
        self.presence.leave()
        self._library.events.unsubscribe(self._handlers)
        self._library.host.addresses.pop(self.jid.localpart, None)
        self.desk.close()

    def refresh(self, stored: Stored) -> None:
        """Settings or staff were changed from outside."""
        staff_before = set(self.profile.librarians)
        self.profile.update(stored)
        self.desk.set_up()
        for librarian in staff_before | set(self.profile.librarians):
            self.correct_roster(librarian)

    def correct_roster(self, librarian: JID) -> None:
        """Make a librarian's roster show the questions that she has, and no others."""
        self._core.run(self.roster_entries.correct(librarian), "something in a queue failed")

    def update(self) -> None:
        """Look at what depends on duty and on the questions that wait."""
        self.offers.update()
        self.positions.update()
        self.presence.update()

    def _say_at_desk(self, text: str) -> None:
        self.desk.say(text)

    # -- Destination -------------------------------------------------------------------

    def deliver(self, stanza: Stanza) -> None:
        try:
            self._deliver(stanza)
        except StanzaError as error:
            self._core.router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} for a queue could not be processed", kind=stanza.kind)
            self._core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _deliver(self, stanza: Stanza) -> None:
        assert stanza.to is not None
        if stanza.from_ is not None and stanza.type != "error":
            self._library.heard_of(stanza.from_.domainpart)
        number = self.profile.number_of(stanza.to)
        own = stanza.to.localpart == self.jid.localpart
        if stanza.kind == "message":
            if own:
                self._message(stanza)
            elif number is not None:
                self._library.queue_of(number, self).librarian_chat.message(number, stanza)
            else:
                raise StanzaError(Condition.ITEM_NOT_FOUND)
        elif stanza.kind == "presence":
            if own:
                self.presence.receive(stanza)
            elif number is not None:
                self._library.queue_of(number, self).roster_entries.presence(number, stanza)
        elif stanza.type in IQ_REQUESTS:
            self._ask(stanza, None if own else number, own)
        else:
            self._library.remote_clients.answered(stanza)

    def _message(self, stanza: Stanza) -> None:
        """A librarian's line with a leading `!` is a command; all else is a patron's, whoever it is."""
        assert stanza.from_ is not None
        sender = stanza.from_.bare
        if sender in self.profile.librarians and stanza.type != "error" and stanza.body:
            self._library.remote_clients.watch(stanza.from_, self.jid)
            command = parse(stanza.body)
            answer = partial(self.relay.tell_patron, sender)
            if not isinstance(command, Say):
                self.commands.do(command, Line(sender, answer))
                return
            if command.text != stanza.body:  # `!!`: text for a patron, and there is none here
                answer(self.profile.staff_texts.only_in_chat())
                return
        self.patron_chat.message(stanza)

    def _ask(self, stanza: Stanza, number: int | None, own: bool) -> None:
        iqs, host = self._core.iqs, self._library.host
        if own:
            iqs.answer(stanza, host, Target.QUEUE, self.presence)
        elif number is None:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        else:
            iqs.answer(stanza, host, Target.QUESTION, self._library.queue_of(number, self))

    @disco_info(to=Target.QUESTION)
    def question_info(self, request: Request) -> Info:
        """Describe a question's chat, to librarians only."""
        if request.sender.bare not in self.profile.librarians:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        detail = request.address.localpart.partition("+")[2]
        return Info((Identity("account", "registered", f"#{detail}"),), FEATURES)

    # -- people ------------------------------------------------------------------------------

    def librarian_changed(self, librarian: JID) -> None:
        """A client of a librarian has come, gone, left us without an answer, or answers again."""
        self._library.absences.look_at(librarian)
        self.desk.look_at(librarian)
