"""The destination for a library's own domain and its accounts.

IQs for the server and for bare JIDs go to the features' handlers here; messages and
presences go through the hooks, where the features that know RFC 6121's rules wait for them.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.core.feature import Request, Target
from refserver.core.hooks import Handler, Hooks, IqDelivering, MessageDelivering, PresenceReceived
from refserver.core.hosts import Host
from refserver.core.router import Router
from refserver.core.sessions import Sessions
from refserver.errors import Condition, StanzaError
from refserver.stanza import IQ_REQUESTS, Stanza
from refserver.xml.element import Element

__all__ = ["Accounts"]

log = Logger()


class Accounts:
    """Implements `Destination` for `domain`, `user@domain` and `user@domain/resource`."""

    def __init__(self, router: Router, sessions: Sessions, hooks: Hooks) -> None:
        self._router = router
        self._sessions = sessions
        self._hooks = hooks
        self._iqs: Mapping[tuple[str, str, Target], Handler] = {}

    def freeze(self, iqs: Mapping[tuple[str, str, Target], Handler]) -> None:
        """Set the iq handlers, once, at start."""
        self._iqs = iqs

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`."""
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
            self._hooks.run(PresenceReceived(stanza, host, to.bare))

    # -- iq ------------------------------------------------------------------

    def _iq(self, stanza: Stanza, host: Host) -> None:
        to = stanza.to
        assert to is not None
        if to.localpart and not to.is_bare:
            session = self._sessions.get(to)
            if session is None:
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)  # RFC 6121 8.5.3.2.3
            if stanza.type not in IQ_REQUESTS or not self._hooks.run(IqDelivering(stanza, host, to.bare)):
                session.deliver(stanza)
            return
        payload = stanza.payload
        if stanza.type not in IQ_REQUESTS or payload is None:
            return  # an answer that nobody here waits for
        request = self._request(stanza, payload, host)
        answer = self._handler(request)(request)
        if isinstance(answer, Coroutine):
            self._answer_later(stanza, answer)
        else:
            self._answer(answer, stanza)

    def _request(self, stanza: Stanza, payload: Element, host: Host) -> Request:
        assert stanza.to is not None
        assert stanza.from_ is not None
        return Request(stanza, payload, host, stanza.to.bare, self._sessions.get(stanza.from_))

    def _handler(self, request: Request) -> Handler:
        key = (request.stanza.type, request.payload.tag)
        if not request.account.localpart:
            found = self._iqs.get((*key, Target.SERVER))
        else:
            own = self._iqs.get((*key, Target.OWN))
            found = self._iqs.get((*key, Target.ACCOUNT)) or own
            if own is not None:
                if request.is_own:
                    found = own
                elif found is own:
                    raise StanzaError(Condition.FORBIDDEN)
        if found is None:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)  # RFC 6120 8.4
        return found

    def _answer_later(self, stanza: Stanza, waiting: Coroutine[Deferred[Any], Any, Any]) -> None:
        answered: Deferred[Any] = Deferred.fromCoroutine(waiting)
        answered.addCallback(self._answer, stanza)
        answered.addErrback(self._refuse, stanza)

    def _answer(self, payload: Element | None, stanza: Stanza) -> None:
        self._router.route(stanza.result(payload))

    def _refuse(self, failure: Failure, stanza: Stanza) -> None:
        error = failure.value
        if not isinstance(error, StanzaError):
            log.failure("an iq could not be processed", failure=failure)
            error = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        self._router.bounce(stanza, error)
