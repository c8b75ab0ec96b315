"""The destination for a library's own domain and its accounts.

Iqs for the server and for bare JIDs are answered by the dispatcher (core/iqs.py); messages and presences go
through the hooks to the features that know RFC 6121's rules.
"""

from __future__ import annotations

from twisted.logger import Logger

from refserver.core.hooks import Hooks, IqDelivering, MessageDelivering, PresenceReceived
from refserver.core.hosts import Host
from refserver.core.iqs import Iqs, Target
from refserver.core.router import Router
from refserver.core.sessions import Sessions
from refserver.errors import Condition, StanzaError
from refserver.stanza import IQ_REQUESTS, Stanza

log = Logger()


class Accounts:
    """Implements `Destination` for `domain`, `user@domain` and `user@domain/resource`."""

    def __init__(self, router: Router, sessions: Sessions, hooks: Hooks, iqs: Iqs) -> None:
        self._router = router
        self._sessions = sessions
        self._hooks = hooks
        self._iqs = iqs

    def deliver(self, stanza: Stanza) -> None:
        try:
            self._deliver(stanza)
        except StanzaError as error:
            self._router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} could not be delivered", kind=stanza.kind)
            self._router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _deliver(self, stanza: Stanza) -> None:
        to = stanza.to
        assert to is not None
        host = self._router.hosts.get(to.domainpart)
        assert host is not None
        if stanza.kind == "iq":
            self._iq(stanza, host)
        elif stanza.kind == "message":
            if not self._hooks.run(MessageDelivering(stanza, host, to.bare)):
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        else:
            stanza.settle(None)  # a newer presence makes up for one that is lost
            self._hooks.run(PresenceReceived(stanza, host, to.bare))

    def _iq(self, stanza: Stanza, host: Host) -> None:
        to = stanza.to
        assert to is not None
        if to.localpart and not to.is_bare:
            session = self._sessions.get(to)
            if session is None:
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)  # RFC 6121 8.5.3.2.3
            if stanza.type not in IQ_REQUESTS or not self._hooks.run(IqDelivering(stanza, host, to.bare)):
                session.deliver(stanza)
        elif stanza.type in IQ_REQUESTS:
            self._iqs.answer(stanza, host, Target.ACCOUNT if to.localpart else Target.SERVER)
        elif stanza.from_ is not None:  # nobody else here waits for an answer
            session = self._sessions.get(stanza.from_)
            if session is not None:
                session.answered(stanza)
