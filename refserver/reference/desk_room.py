"""The desk: a room for the librarians of a queue. Being there, neither away nor busy, is being on duty.

Owns the room (members-only, without history: patrons' words must not stay behind) and duty. A line that is a
command is heard by everybody, and then done (staff_commands.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from attrs import define
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.jid import JID
from refserver.muc.occupants import Occupant
from refserver.muc.presence import Departure, expel
from refserver.muc.room import Room, RoomConfig
from refserver.muc.service import RoomService
from refserver.reference import events
from refserver.reference.commands import Say, parse
from refserver.reference.duty import OnDuty
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.people import Absences
from refserver.reference.profile import QueueProfile
from refserver.reference.staff_commands import Line, StaffCommands
from refserver.reference.states import State
from refserver.stanza import Stanza
from refserver.storage.questions import Question
from refserver.storage.rooms import Affiliate, Affiliation
from refserver.xml.element import child_text, element

log = Logger()

READY: Final = ("", "chat")
"""The values of show (RFC 6121 4.7.2.1) that mean duty."""
UNHEARD_KEPT: Final = 100
NO_MEMBER: Final = "321"  # status code: left because of a change of affiliation


@define(eq=False, slots=False)
class DeskRoom:
    """The desk of one queue. Implements the room's `Watcher`. `duty_changed` is called when it has."""

    _core: Core
    _profile: QueueProfile
    _open: OpenQuestions
    _rooms: RoomService
    _on_duty: OnDuty
    _absences: Absences
    _commands: StaffCommands
    _duty_changed: Callable[[], None]

    def __attrs_post_init__(self) -> None:
        self.nick = self._profile.jid.localpart
        self._here: set[JID] = set()
        self._unheard: deque[str] = deque(maxlen=UNHEARD_KEPT)
        self._room = self._manage()

    def _manage(self) -> Room:
        config = RoomConfig(
            name=self._profile.title,
            public=False,
            members_only=True,
            non_anonymous=True,
            change_subject=True,
            history=0,
        )
        room = self._rooms.manage(self._profile.jid.localpart, config, self.nick)
        room.watcher = self
        return room

    def set_up(self) -> None:
        """Take over what has changed in the queue's title or staff: who is no member any more must leave."""
        self._room = self._manage()
        staff = self._profile.librarians
        self._room.set_affiliates(
            {jid: Affiliate(Affiliation.MEMBER, librarian.nick) for jid, librarian in staff.items()}
        )
        for occupant in self._room.occupants:
            if not occupant.virtual and occupant.account not in staff:
                expel(self._room, occupant, Departure((NO_MEMBER,)))

    def close(self) -> None:
        """The queue is no more: everybody leaves."""
        self._room.watcher = None
        for occupant in self._room.occupants:
            if not occupant.virtual:
                expel(self._room, occupant, Departure((NO_MEMBER,)))
        deleted = self._rooms.end_managed(self._room)
        deleted.addErrback(lambda failure: log.failure("a desk room could not be deleted", failure=failure))

    # -- duty ------------------------------------------------------------------------

    def occupant_present(self, room: Room, occupant: Occupant, session: JID) -> None:
        if occupant.account in self._profile.librarians:
            self._absences.remote_clients.watch(session, self._profile.jid)
        self.look_at(occupant.account, session)

    def occupant_left(self, room: Room, occupant: Occupant, session: JID) -> None:
        self._absences.remote_clients.unwatch(session)
        self.look_at(occupant.account)

    def look_at(self, account: JID, session: JID | None = None) -> None:
        """Note if somebody is at the desk and on duty; `session` is who has just come or has changed."""
        is_librarian = account in self._profile.librarians
        occupants = self._room.occupants.of_account(account)
        here = is_librarian and bool(occupants)
        if here != (account in self._here):
            (self._here.add if here else self._here.discard)(account)
            self._absences.at_desk(account, here)
        ready = is_librarian and any(
            child_text(presence.element, ns.CLIENT, "show") in READY and self._answers(client)
            for occupant in occupants
            for client, presence in occupant.sessions.items()
        )
        was_ready = account in self._on_duty
        if ready:
            self._on_duty.add(account, occupants[0].nick)
            if not was_ready:
                self._welcome(session)
        elif was_ready:
            self._on_duty.remove(account)
        if ready != was_ready:
            self._duty_changed()

    def _answers(self, client: JID) -> bool:
        """False if a client has left us without an answer for a minute."""
        session = self._core.sessions.get(client)
        return not self._absences.remote_clients.is_silent(client) if session is None else session.answering

    def _welcome(self, session: JID | None) -> None:
        """Tell who comes on duty what waits, and what nobody was there to hear."""
        while self._unheard:
            self.say(self._unheard.popleft())
        line = self._open.line(self._profile.id)
        if session is not None and line:
            texts = self._profile.staff_texts
            self._answer(session, texts.waiting([self._describe(question) for question in line]))

    # -- speaking ------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line for everybody at the desk."""
        if len(self._room.occupants) > 1:
            self._room.say(text, self.nick)

    def tell(self, text: str) -> None:
        """A line that somebody at the desk must hear: if nobody is there, whoever comes on duty."""
        if self._on_duty:
            self.say(text)
        else:
            self._unheard.append(text)

    def handle(self, event: events.QuestionEvent) -> None:
        question, texts, nick_of = event.question, self._profile.staff_texts, self._profile.nick_of
        number, owner = question.number, "" if question.owner is None else nick_of(question.owner)
        match event:
            case events.Offered() if question.offered_to is None:
                self._announce(question, [duty.jid for duty in self._on_duty.duties()])
            case events.Offered():
                self._announce(question, [question.offered_to])
            case events.AllBusy():
                self._announce(question, ())
            case events.Claimed() | events.Accepted():
                self.say(texts.claimed(number, owner))
            case events.TakenOver():
                self.say(texts.taken_from_absent(number, owner, nick_of(event.before)))
            case events.Released():
                self.say(texts.released(number, nick_of(event.librarian), event.reason))
            case events.Returned(cause=events.ReturnCause.UNDELIVERED) if event.condition is not None:
                reason = texts.why_undelivered(event.condition)
                self.say(texts.released(number, nick_of(event.librarian), reason))
            case events.Returned():
                self.tell(texts.returned(number, nick_of(event.librarian)))
            case events.OwnerAway():
                self.tell(texts.owner_away(number, owner))
            case events.Abandoned() | events.Ended():
                self.say(texts.abandoned(number))
            case events.MarkedAsSpam():
                self.say(texts.blocked(number, nick_of(event.librarian)))
            case events.SpamLifted():
                self.say(texts.unblocked(number, nick_of(event.librarian)))
            case events.DeliveryFailed() if question.owner is None or question.state != State.CLAIMED:
                if event.to_staff:
                    self.tell(texts.not_heard(number, owner, event.condition))
                else:
                    self.tell(texts.undelivered(number, event.condition))
            case events.DeliveryFailed():
                pass  # its owner is told

    def _announce(self, question: Question, mentioned: Iterable[JID | None]) -> None:
        """The line of a question, with the nicks of those it is offered to."""
        self.say(self._describe(question, ", ".join(self._called(jid) for jid in mentioned if jid)))

    def _called(self, jid: JID) -> str:
        """The nickname by which a librarian is mentioned: hers in the room, if she is there."""
        occupants = self._room.occupants.of_account(jid)
        return occupants[0].nick if occupants else self._profile.nick_of(jid)

    def _describe(self, question: Question, nicks: str = "") -> str:
        """A question on one line. No patron's identity."""
        return self._profile.staff_texts.announced(
            question.number,
            self._profile.jid.localpart,
            question.language,
            question.channel,
            self._core.now() - question.asked_at,
            self._open.words(question),
            nicks,
        )

    # -- listening -----------------------------------------------------------------

    def message_sent(self, room: Room, occupant: Occupant, session: JID, stanza: Stanza) -> None:
        if occupant.account not in self._profile.librarians or not stanza.body:
            return
        command = parse(stanza.body)
        if not isinstance(command, Say):
            answer, help = partial(self._answer, session), partial(self._answer_alone, session)
            self._commands.do(command, Line(occupant.account, answer, help=help))

    def _answer(self, session: JID, text: str) -> None:
        self._room.tell(session, text, self.nick)

    def _answer_alone(self, session: JID, text: str) -> None:
        """A private message (XEP-0045 7.5): what is long stays out of the room."""
        mark = element(ns.MUC_USER, "x")
        sender = self._room.jid.with_resource(self.nick)
        self._core.router.route(Stanza.message(session, sender, "chat", body=text, children=(mark,)))
