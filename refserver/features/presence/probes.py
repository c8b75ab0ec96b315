"""Presence probes (RFC 6121 4.3): asking contacts at log-in, and answering those who ask.

Contacts with an account here are asked without any stanza: what they would answer is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from refserver.core.core import Core
from refserver.core.sessions import Session
from refserver.features.presence.delivery import Delivery
from refserver.features.roster import Roster, Rosters
from refserver.features.roster.presence_stanzas import presences
from refserver.jid import JID
from refserver.stanza import Stanza, new_id


class Probes:
    """Learns contacts' presence for a session, and tells others the presence of accounts here."""

    def __init__(self, core: Core, rosters: Rosters, delivery: Delivery) -> None:
        self._core = core
        self._rosters = rosters
        self._delivery = delivery

    # -- asking --------------------------------------------------------------------

    def ask(self, session: Session, contacts: Iterable[JID]) -> None:
        """Get the presence of contacts for a session that has become available (4.3.1)."""
        for contact in contacts:
            if self._core.sessions.of(contact):
                self._ask_here(session, contact)
            elif not self._delivery.is_account(contact):
                self._core.router.route(Stanza.presence(contact, session.account, "probe", new_id()))

    def _ask_here(self, session: Session, contact: JID) -> None:
        """A contact with an account here: its presence, or that there is no subscription (any more)."""
        roster = self._rosters.in_memory(contact)
        if roster is not None:
            self._tell(roster, session, contact)
        else:
            probe = Stanza.presence(contact, session.account, "probe")
            self._rosters.when_loaded(probe, contact, self._tell, session, contact)

    def _tell(self, roster: Roster | None, session: Session, contact: JID) -> None:
        account = session.account
        if roster is None or not roster.shows_presence_to(account):
            self._core.router.route(Stanza.presence(account, contact, "unsubscribed", new_id()))
            return
        for presence in presences(self._core.sessions, contact, account):
            session.deliver(presence)

    # -- answering -------------------------------------------------------------------

    def answer(self, probe: Stanza, account: JID) -> None:
        """Answer a probe that has come for an account here (4.3.2)."""
        self._rosters.when_loaded(probe, account, self._answer, probe, account)

    def _answer(self, roster: Roster | None, probe: Stanza, account: JID) -> None:
        to, sender = probe.to, probe.from_
        assert to is not None
        assert sender is not None
        if sender.bare == account or (roster is not None and roster.shows_presence_to(sender.bare)):
            answers = self._of_resource(to, sender) if to.resourcepart else self._of_account(probe, account)
        elif self._has_directed(to, sender):
            answers = self._of_resource(to, sender)
        else:
            answers = [Stanza.presence(sender, account, "unsubscribed", probe.id)]
        # Behind an approval of the asker that is not committed yet, and has not been told.
        self._rosters.after_commits(account, partial(self._delivery.route, answers))

    def _of_account(self, probe: Stanza, account: JID) -> list[Stanza]:
        assert probe.from_ is not None
        found = presences(self._core.sessions, account, probe.from_)
        return found or [Stanza.presence(probe.from_, account, "unavailable", probe.id)]

    def _of_resource(self, to: JID, sender: JID) -> list[Stanza]:
        """Of one resource only whether it is available, no more (4.3.2, 4.6.6)."""
        session = self._core.sessions.get(to)
        if session is None:
            return [Stanza.presence(sender, to, "unavailable")]
        available = session.presence is not None or _directed_to(session, sender)
        return [Stanza.presence(sender, to, "" if available else "unavailable")]

    def _has_directed(self, to: JID, sender: JID) -> bool:
        session = self._core.sessions.get(to)
        return session is not None and _directed_to(session, sender)


def _directed_to(session: Session, jid: JID) -> bool:
    """True if a session has sent `jid`, or its bare JID, directed presence."""
    return session.directed is not None and (jid in session.directed or jid.bare in session.directed)
