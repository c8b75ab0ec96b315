"""The desk: a room for the librarians of a queue. Being there, neither away nor busy, is being on duty.

Owns the room (members-only, without history: patrons' words must not stay behind), duty,
and the commands that are understood in the room. Questions are offered by offers.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from refserver import ns
from refserver.jid import JID
from refserver.muc.occupants import Occupant
from refserver.muc.presence import Departure, expel
from refserver.muc.room import Room, RoomConfig
from refserver.muc.service import RoomService
from refserver.reference.commands import (
    Canned,
    Command,
    Fault,
    Faulty,
    Help,
    Say,
    Spam,
    Take,
    Unknown,
    Unspam,
    Who,
    parse,
)
from refserver.reference.dispatch import Duty
from refserver.stanza import Stanza
from refserver.storage.questions import Question
from refserver.storage.queues import Librarian
from refserver.storage.rooms import Affiliate, Affiliation
from refserver.xml.element import child_text

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["DeskRoom"]

READY: Final = ("", "chat")
"""The values of show (RFC 6121 4.7.2.1) that mean duty."""
UNHEARD_KEPT: Final = 100
NO_MEMBER: Final = "321"  # status code: left because of a change of affiliation


class DeskRoom:
    """Implements the room's `Watcher`."""

    def __init__(self, queue: Queue, rooms: RoomService) -> None:
        self._queue = queue
        self._rooms = rooms
        self.nick = queue.jid.localpart
        self._since: dict[JID, float] = {}
        self._unheard: deque[str] = deque(maxlen=UNHEARD_KEPT)
        self._room = self._manage()

    def _manage(self) -> Room:
        title = self._queue.record.title or self._queue.jid.localpart
        config = RoomConfig(
            name=title, public=False, members_only=True, non_anonymous=True, change_subject=True, history=0
        )
        room = self._rooms.manage(self._queue.jid.localpart, config, self.nick)
        room.watcher = self
        return room

    @property
    def jid(self) -> JID:
        """The room's address."""
        return self._room.jid

    def set_up(self) -> None:
        """Take over what has changed in the queue's title or staff: who is no member any more must leave."""
        self._room = self._manage()
        staff = self._queue.librarians
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
        self._queue.watch(self._rooms.end_managed(self._room))

    # -- duty ------------------------------------------------------------------------

    def duties(self) -> list[Duty]:
        """Who is on duty, by nick."""
        found = [self._duty(self._queue.librarians[jid], since) for jid, since in self._since.items()]
        return sorted(found, key=lambda duty: duty.nick)

    def _duty(self, librarian: Librarian, since: float) -> Duty:
        load = self._queue.board.load(librarian.jid) + self._queue.offers.under_way_to(librarian.jid)
        idle_since = max(since, self._queue.offers.last_busy(librarian.jid))
        return Duty(librarian.jid, self.called(librarian.jid), load, librarian.max_chats, idle_since)

    def is_on_duty(self, jid: JID) -> bool:
        """Whether a librarian takes offers."""
        return jid in self._since

    def called(self, jid: JID) -> str:
        """The nickname by which a librarian is mentioned: hers in the room, if she is there."""
        occupants = self._room.occupants.of_account(jid)
        return occupants[0].nick if occupants else self._queue.nick_of(jid)

    def occupant_present(self, room: Room, occupant: Occupant, session: JID) -> None:
        """See `Watcher`."""
        self._look_at(occupant.account, session)

    def occupant_left(self, room: Room, occupant: Occupant, session: JID) -> None:
        """See `Watcher`."""
        self._look_at(occupant.account, None)

    def _look_at(self, account: JID, session: JID | None) -> None:
        if account not in self._queue.librarians and account not in self._since:
            return
        ready = account in self._queue.librarians and any(
            child_text(presence.element, ns.CLIENT, "show") in READY
            for occupant in self._room.occupants.of_account(account)
            for presence in occupant.sessions.values()
        )
        if ready == (account in self._since):
            return
        if ready:
            self._since[account] = self._queue.core.now()
            self._welcome(session)
        else:
            del self._since[account]
        self._queue.changed()

    def _welcome(self, session: JID | None) -> None:
        """Tell who comes on duty what waits, and what nobody was there to hear."""
        while self._unheard:
            self.say(self._unheard.popleft())
        line = self._queue.board.line()
        if session is not None and line:
            texts = self._queue.staff_texts
            self._room.tell(session, texts.waiting([self.describe(question) for question in line]), self.nick)

    # -- speaking ------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line for everybody at the desk."""
        if len(self._room.occupants) > 1:
            self._room.say(text, self.nick)

    def tell(self, text: str) -> None:
        """A line that somebody at the desk must hear: if nobody is there, whoever comes on duty."""
        if self._since:
            self.say(text)
        else:
            self._unheard.append(text)

    def announce(self, question: Question, mentioned: Iterable[JID]) -> None:
        """The line of a question, with the nicks of those it is offered to."""
        self.say(self.describe(question, ", ".join(self.called(jid) for jid in mentioned)))

    def describe(self, question: Question, nicks: str = "") -> str:
        """A question on one line. No patron's identity."""
        return self._queue.staff_texts.announced(
            question.number,
            self._queue.jid.localpart,
            question.language,
            question.channel,
            self._queue.core.now() - question.asked_at,
            self._queue.board.words(question),
            nicks,
        )

    # -- listening -----------------------------------------------------------------

    def message_sent(self, room: Room, occupant: Occupant, session: JID, stanza: Stanza) -> None:
        """See `Watcher`. Commands are done after everybody has seen the line."""
        if occupant.account in self._queue.librarians and stanza.body:
            answer = partial(self._answer, session)
            self.command(parse(stanza.body), occupant.account, answer)

    def _answer(self, session: JID, text: str) -> None:
        self._room.tell(session, text, self.nick)

    def command(self, command: Command, librarian: JID, answer: Callable[[str], None]) -> None:
        """Do what a librarian asks for outside the chat of a question."""
        texts = self._queue.staff_texts
        match command:
            case Say():
                pass
            case Take():
                self._queue.staff.take(command.number, librarian, answer)
            case Spam(number=None):
                answer(texts.faulty(Faulty("spam", Fault.NUMBER)))
            case Unspam(number=None):
                answer(texts.faulty(Faulty("unspam", Fault.NUMBER)))
            case Spam(number=int(number)):
                self._queue.staff.spam(number, librarian, answer)
            case Unspam(number=int(number)):
                self._queue.staff.unspam(number, librarian, answer)
            case Who():
                answer(texts.who(self.duties()))
            case Help():
                answer(texts.help(command.word))
            case Canned(name=""):
                self._queue.staff.list_canned(answer)
            case Unknown():
                answer(texts.unknown(command))
            case Faulty():
                answer(texts.faulty(command))
            case _:
                answer(texts.only_in_chat())
