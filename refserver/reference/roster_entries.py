"""A question in its librarian's roster: group "Questions", named `#417 first words`, while it is hers.

For librarians with an account here. It stands there from the offer on. The entry is a contact with both
subscriptions, so no client treats the chat as a stranger's; it is present while the patron is. It comes
before the first line of the chat. Rosters are corrected at log-in: what a crash left behind goes, what it
kept back comes.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.features.roster import RosterItem, Rosters
from refserver.jid import JID
from refserver.reference import events
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.people import Reach
from refserver.reference.profile import QueueProfile
from refserver.reference.states import State
from refserver.reference.texts import first_words
from refserver.stanza import Stanza
from refserver.storage import NoSuchAccount
from refserver.storage.questions import Question
from refserver.xml.element import element

log = Logger()

GROUP: Final = "Questions"
NAME_LENGTH: Final = 40


@define(eq=False, slots=False)
class RosterEntries:
    """The roster entries of one queue's questions."""

    _core: Core
    _profile: QueueProfile
    _open: OpenQuestions
    _reach: Reach

    def __attrs_post_init__(self) -> None:
        self._rosters = self._core.feature(Rosters)
        self._shown: dict[int, set[JID]] = {}  # by the question's number

    def show_new(self, event: events.QuestionEvent) -> Deferred[None] | None:
        """React to an event: who gets a question gets the entry, before anything is said in the chat."""
        question = event.question
        match event:
            case events.OfferPlanned():
                return self._show(question, event.librarian)
            case events.HandedOver() if question.handed_to is not None:
                return self._show(question, question.handed_to)
            case _ if question.owner is not None and question.state == State.CLAIMED:
                return self._show(question, question.owner)
        return None

    def hide_old(self, event: events.QuestionEvent) -> None:
        """React to an event: who has a question no more loses the entry, after the last line in the chat."""
        question = event.question
        if isinstance(event, events.OfferPlanned):
            return
        current = self._open.numbered(question.number) or question
        over = set(self._shown.get(question.number, ()))
        if question.state == State.OFFERED and question.offered_to is None:
            over.clear()  # she to whom it was offered may still take it
        if isinstance(event, events.Closed | events.Released | events.Returned):
            over.add(event.librarian)
        elif isinstance(event, events.Ended) and event.owner is not None:
            over.add(event.owner)
        planned = self._open.offered_to(current)
        for librarian in over.difference(self._watchers(question), self._watchers(current), {planned}):
            self._hide(question, librarian)

    # -- showing and hiding --------------------------------------------------------------

    def _show(self, question: Question, librarian: JID) -> Deferred[None] | None:
        shown = self._shown.setdefault(question.number, set())
        if librarian in shown:
            return None
        shown.add(librarian)
        if not self._reach.is_local(librarian):
            self.tell(question, librarian)
            return None
        set_ = self._rosters.set_item(librarian, self._item(question))
        set_.addCallback(lambda _: self.tell(question, librarian))
        return set_.addErrback(_without_account)

    def _hide(self, question: Question, librarian: JID) -> None:
        shown = self._shown.get(question.number, set())
        shown.discard(librarian)
        if not shown:
            self._shown.pop(question.number, None)
        chat, speaker = self._profile.chat(question.number), self._profile.speaker(question.number)
        self._core.router.route(Stanza.presence(librarian, speaker, "unavailable"))
        if self._reach.is_local(librarian):
            self._rosters.remove_item(librarian, chat).addErrback(_without_account)

    def tell(self, question: Question, to: JID) -> None:
        """Send the presence of a question's chat: the patron's, as far as it is known here."""
        present = question.patron is not None and self._reach.is_present(question.patron)
        status = element(ns.CLIENT, "status", text=question.guest)
        speaker = self._profile.speaker(question.number)
        self._core.router.route(
            Stanza.presence(to, speaker, "" if present else "unavailable", children=(status,))
        )

    def _item(self, question: Question) -> RosterItem:
        words = first_words(self._open.words(question), NAME_LENGTH)
        return RosterItem(
            self._profile.chat(question.number),
            name=f"#{question.number} {words}",
            subscription="both",
            groups=(GROUP,),
        )

    # -- presence --------------------------------------------------------------------------

    def patron_changed(self, patron: JID) -> None:
        """A patron with an account here has come or gone."""
        question = self._open.of_patron(self._profile.id, patron)
        if question is not None:
            for librarian in self._watchers(question):
                self.tell(question, librarian)

    def presence(self, number: int, stanza: Stanza) -> None:
        """A presence for the chat of a question: who has it may ask for it, nobody else learns of it."""
        assert stanza.from_ is not None
        if stanza.type not in ("probe", "subscribe"):
            return
        asker, chat = stanza.from_, self._profile.chat(number)
        question = self._open.numbered(number)
        route = self._core.router.route
        if question is None or asker.bare not in self._watchers(question):
            route(Stanza.presence(asker.bare, chat, "unsubscribed"))
            return
        if stanza.type == "subscribe":
            route(Stanza.presence(asker.bare, chat, "subscribed"))
        self.tell(question, asker)

    @staticmethod
    def _watchers(question: Question) -> list[JID]:
        """In whose roster a question stands: the owner, and who is asked to take it."""
        if question.state == State.OFFERED:
            found = [question.offered_to]
        elif question.state == State.CLAIMED:
            found = [question.owner, question.handed_to]
        else:
            found = []
        return [jid for jid in found if jid is not None]

    async def correct(self, librarian: JID) -> None:
        """Make a roster say what is true."""
        roster = self._rosters.in_memory(librarian)
        if roster is None:
            return
        mine = (q for q in self._open.of_queue(self._profile.id) if librarian in self._watchers(q))
        theirs = {self._profile.chat(q.number): q for q in mine}
        for jid in list(roster.items):
            if self._profile.number_of(jid) is not None and jid not in theirs:
                await self._rosters.remove_item(librarian, jid)
        for jid, question in theirs.items():
            if jid not in roster.items:
                self._shown.get(question.number, set()).discard(librarian)
                waiting = self._show(question, librarian)
                if waiting is not None:
                    await waiting
            else:
                self._shown.setdefault(question.number, set()).add(librarian)


def _without_account(failure: Any) -> None:
    """A librarian without an account has no roster; whatever else goes wrong is logged."""
    if failure.check(NoSuchAccount) is None:
        log.failure("a roster entry could not be stored", failure=failure)
