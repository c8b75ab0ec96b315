"""A question in its librarian's roster: group "Questions", named `#417 first words`, there while it is hers.

For librarians with an account here. The entry is a contact with both subscriptions, so no
client treats the chat as a stranger's; it is present while the patron is. Rosters are
corrected at log-in: what a crash left behind goes, what it kept back comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from refserver import ns
from refserver.features.roster import RosterItem, Rosters
from refserver.jid import JID
from refserver.reference.states import State
from refserver.reference.texts.staff import first_words
from refserver.stanza import Stanza
from refserver.storage import NoSuchAccount
from refserver.storage.questions import Question
from refserver.xml.element import element

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["RosterEntries"]

GROUP: Final = "Questions"
NAME_LENGTH: Final = 40


class RosterEntries:
    """The roster entries of one queue's questions."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._rosters = queue.core.feature(Rosters)

    def show(self, question: Question) -> None:
        """A question has become somebody's."""
        owner = question.owner
        if owner is None:
            return
        if self._queue.is_local(owner):
            set_ = self._rosters.set_item(owner, self._item(question))
            set_.addCallback(lambda _: self.tell(question, owner))
            self._queue.watch(set_.addErrback(lambda failure: failure.trap(NoSuchAccount) and None))
        else:
            self.tell(question, owner)

    def hide(self, question: Question, librarian: JID) -> None:
        """A question is somebody's no more."""
        chat, speaker = self._queue.chat(question.number), self._queue.speaker(question.number)
        self._queue.core.router.route(Stanza.presence(librarian, speaker, "unavailable"))
        if self._queue.is_local(librarian):
            removed = self._rosters.remove_item(librarian, chat)
            self._queue.watch(removed.addErrback(lambda failure: failure.trap(NoSuchAccount) and None))

    def tell(self, question: Question, to: JID) -> None:
        """Send the presence of a question's chat: the patron's, as far as it is known here."""
        present = question.patron is not None and self._queue.is_present(question.patron)
        status = element(ns.CLIENT, "status", text=self._queue.guest(question))
        speaker = self._queue.speaker(question.number)
        self._queue.core.router.route(
            Stanza.presence(to, speaker, "" if present else "unavailable", children=(status,))
        )

    def patron_changed(self, patron: JID) -> None:
        """A patron with an account here has come or gone."""
        question = self._queue.board.of_patron(patron)
        if question is not None and question.owner is not None:
            self.tell(question, question.owner)

    def presence(self, number: int, stanza: Stanza) -> None:
        """A presence for the chat of a question: its owner may ask for it, nobody else learns of it."""
        assert stanza.from_ is not None
        if stanza.type not in ("probe", "subscribe"):
            return
        asker, chat = stanza.from_, self._queue.chat(number)
        question = self._queue.board.numbered(number)
        route = self._queue.core.router.route
        if question is None or question.owner != asker.bare:
            route(Stanza.presence(asker.bare, chat, "unsubscribed"))
            return
        if stanza.type == "subscribe":
            route(Stanza.presence(asker.bare, chat, "subscribed"))
        self.tell(question, asker)

    async def correct(self, librarian: JID) -> None:
        """Make a roster say what is true."""
        roster = self._rosters.in_memory(librarian)
        if roster is None:
            return
        theirs = {self._queue.chat(q.number): q for q in self._queue.board.of_owner(librarian)}
        for jid in list(roster.items):
            if self._queue.number_of(jid) is not None and jid not in theirs:
                await self._rosters.remove_item(librarian, jid)
        for jid, question in theirs.items():
            if jid not in roster.items and question.state == State.CLAIMED:
                self.show(question)

    def _item(self, question: Question) -> RosterItem:
        words = first_words(self._queue.board.words(question), NAME_LENGTH)
        return RosterItem(
            self._queue.chat(question.number),
            name=f"#{question.number} {words}",
            subscription="both",
            groups=(GROUP,),
        )
