"""One client's connection: bytes into the stream machine, its events to the core, answers back.

Owns no rule of the protocol: what may come when is the machine's business (stream/), what a
stanza means the core's. The path of a stanza through `received` is the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.c2s.resumption import Hibernating
from refserver.core.hooks import SessionBinding, SessionBound, SessionCut
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID
from refserver.net.connection import Connection
from refserver.sasl import Credentials, SaslCondition, SaslFailure, Verifier, check_password
from refserver.stanza import Stanza
from refserver.stream import events
from refserver.stream.client import ClientStream
from refserver.stream.policy import TLSInfo

if TYPE_CHECKING:
    from refserver.c2s.service import ClientService

log = Logger()

EXPORTER_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 4.1
EXPORTER_BYTES = 32


class ClientConnection:
    """Implements `Receiver` for the socket and `Transport` for the session."""

    __slots__ = ("_connection", "_ip", "_router", "_service", "_stream", "account", "send", "session")

    def __init__(
        self, service: ClientService, connection: Connection, source: str, *, direct_tls: bool
    ) -> None:
        self._service = service
        self._connection = connection
        self._router = service.core.router
        self._ip = source
        self.send = connection.send
        self.session: Session | None = None
        self.account: JID | None = None
        """The account that the client logs in to, or has logged in to."""
        self._stream: ClientStream
        if not direct_tls:
            self._stream = self._new_stream(None)

    def _new_stream(self, tls: TLSInfo | None) -> ClientStream:
        service = self._service
        return ClientStream(self._serves, service.stream_policy, service.fakes, tls=tls)

    def _serves(self, domain: str) -> bool:
        return self._service.core.hosts.get(domain) is not None

    # -- Receiver -------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._go_on(self._stream.receive(data))

    def secured(self) -> None:
        """The TLS handshake is finished: the one asked for, or the one that direct TLS begins with."""
        tls = self._connection.tls
        assert tls is not None
        exporter = tls.exporter(EXPORTER_LABEL, EXPORTER_BYTES) if tls.version == "TLSv1.3" else None
        info = TLSInfo(tls.version, exporter, tls.server_end_point() or None)
        if hasattr(self, "_stream"):
            self._stream.tls_started(info)
        else:
            self._stream = self._new_stream(info)

    def lost(self, reason: str) -> None:
        """The connection is gone: the session waits for its client if it may (XEP-0198 5)."""
        self._service.gone(self, self._ip)
        session = self.session
        if session is None or session.ended:
            return
        if session.outbox is not None and session.outbox.resume_id:
            self._service.resumption.hibernate(session, self._service.policy.resume_seconds)
            self._service.core.hooks.tell(SessionCut(session))
        else:
            self._end_session()

    def expired(self) -> None:
        """The client has not logged in in time."""
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT))

    # -- Transport ------------------------------------------------------------

    @property
    def unsent(self) -> int:
        return self._connection.queued

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, and the session with it."""
        if not hasattr(self, "_stream"):
            self._connection.abort("no TLS handshake in time")
            return
        if error is None:
            self._stream.close()
        else:
            self._stream.fail(error)
        self._flush()
        self._connection.close()
        self._end_session()

    def replaced(self) -> None:
        """The client goes on with its session on another connection: only this stream ends (XEP-0198 5)."""
        self.session = None
        self._stream.management = None
        self.close(StreamError(StreamCondition.CONFLICT, "the session was resumed on another connection"))

    # -- events ---------------------------------------------------------------

    def _go_on(self, happened: Iterable[events.Event]) -> None:
        """Deal with events one by one: the machine goes on when the next is asked for."""
        submit = self._router.submit
        for event in happened:
            if type(event) is Stanza:
                submit(event, self.session)  # type: ignore[arg-type]  # stanzas come when it is bound
            else:
                self._flush()
                handler = _HANDLERS.get(type(event))
                if handler is not None:
                    handler(self, event)
        self._flush()

    def _flush(self) -> None:
        output = self._stream.take_output()
        if output:
            self._connection.send(output)

    def _start_tls(self, event: events.StartTLS) -> None:
        self._flush()
        self._connection.start_tls(self._service.contexts.context_for(event.host))

    def _credentials_wanted(self, event: events.CredentialsWanted) -> None:
        self.account = event.account
        wait = self._service.throttle.wait(self._ip, event.account)
        if wait:
            self._service.core.clock.callLater(wait, self._look_up, event.account)
        else:
            self._look_up(event.account)

    def _look_up(self, account: JID) -> None:
        if (account, self._ip) in self._service.known_clients:
            verifiers = self._service.verifiers.known(account)
            if verifiers is not None:
                self._found(verifiers)
                return
        found = self._service.verifiers.find(account)
        found.addCallbacks(self._found, self._not_found)
        self._owned(found)

    def _found(self, verifiers: Mapping[str, Verifier] | None) -> None:
        self._answer(lambda: self._stream.credentials(None if verifiers is None else Credentials(verifiers)))

    def _not_found(self, failure: Failure) -> None:
        log.failure("credentials could not be read", failure=failure)
        self._answer(lambda: self._stream.credentials(SaslFailure(SaslCondition.TEMPORARY_AUTH_FAILURE)))

    def _password_check_wanted(self, event: events.PasswordCheckWanted) -> None:
        checked = self._service.core.offload(check_password, event.verifier, event.password)
        checked.addCallback(self._password_checked, event)
        self._owned(checked)

    def _password_checked(self, right: bool, event: events.PasswordCheckWanted) -> None:
        self._answer(lambda: self._stream.password_checked(right))
        if right:
            self._service.verifiers.renew(event.account, event.verifier, event.password)

    def _authenticated(self, event: events.Authenticated) -> None:
        self._service.throttle.succeeded(event.account)
        self._service.known_clients[event.account, self._ip] = None

    def _authentication_failed(self, event: events.AuthenticationFailed) -> None:
        if event.condition is SaslCondition.TEMPORARY_AUTH_FAILURE:
            return  # our failure, not the client's
        keys = (self._ip,) if event.account is None else (self._ip, event.account)
        self._service.throttle.failed(*keys)
        # For fail2ban (docs/installing.md); an account's name may be a patron's.
        domain = "no library" if event.account is None else event.account.domainpart
        reason = event.condition.value
        ip = self._connection.peer.host  # a /64, as limits have it, is no address that can be banned
        log.warn("log-in refused from {ip} to {domain}: {reason}", ip=ip, domain=domain, reason=reason)

    def _registration_request(self, event: events.RegistrationRequest) -> None:
        registered: Deferred[Stanza] = Deferred.fromCoroutine(self._register(event))
        registered.addCallback(lambda reply: self._answer(lambda: self._stream.registration_answered(reply)))
        self._owned(registered)

    async def _register(self, event: events.RegistrationRequest) -> Stanza:
        request = event.stanza
        query = request.payload
        try:
            if request.type == "get" or query is None:
                return request.result(self._service.registrar.form())
            if query.find(f"{{{ns.REGISTER}}}remove") is not None:
                raise StanzaError(Condition.NOT_AUTHORIZED)
            if not self._service.registrations.spend(self._ip):
                raise StanzaError(
                    Condition.RESOURCE_CONSTRAINT, "too many accounts from this address", "wait"
                )
            await self._service.registrar.register(self._service.open_host(event.host), query)
        except StanzaError as error:
            return request.error(error)
        return request.result()

    # -- binding --------------------------------------------------------------

    def _bind_requested(self, event: events.BindRequested) -> None:
        bound: Deferred[None] = Deferred.fromCoroutine(self._bind(event.jid))
        self._owned(bound)

    async def _bind(self, jid: JID) -> None:
        core = self._service.core
        host = self._service.open_host(jid.domainpart)
        await self._service.prepare(SessionBinding(jid.bare, host))
        await self._service.check(jid.bare)
        if self._connection.closed:
            return
        sessions = core.sessions.of(jid.bare)
        old = sessions.get(jid.resourcepart)
        if old is not None:  # RFC 6120 7.7.2.2: the newer one wins, a dead connection is not in the way
            old.close(StreamError(StreamCondition.CONFLICT, "replaced by a new connection"))
        elif len(sessions) >= self._service.policy.sessions_per_account and not _end_one_that_waits(sessions):
            refusal = StanzaError(Condition.RESOURCE_CONSTRAINT, "too many sessions of this account")
            self._answer(lambda: self._stream.bind_refused(refusal))
            return
        secure = self._connection.tls is not None
        self.session = session = Session(jid, host, self, core.liveness, self._ip, core.now(), secure)
        core.sessions.add(session)
        self._service.mux.unexpire(self)
        happened = self._stream.bound(jid)
        self._flush()  # the client has its address before anything else reaches it
        core.hooks.tell(SessionBound(session))
        self._go_on(happened)

    def _end_session(self) -> None:
        if self.session is not None:
            self._service.resumption.end(self.session)

    # -- stream management ----------------------------------------------------

    def _enable_requested(self, event: events.EnableRequested) -> None:
        session = self.session
        assert session is not None
        outbox, seconds = session.acknowledges(), self._service.policy.resume_seconds
        if event.resumable and seconds:
            outbox.resume_id = self._service.resumption.allow(session)
        self._stream.enable(outbox.management, outbox.resume_id, seconds)
        self._flush()  # the client counts from here on

    def _confirmed(self, event: events.Confirmed) -> None:
        assert self.session is not None
        self.session.acknowledged(event.number)

    def _reply(self, event: events.Reply) -> None:
        assert self.session is not None
        self.session.deliver(event.stanza)

    def _count_wanted(self, event: events.CountWanted) -> None:
        self._service.commits.then(lambda: self._tell_count(event.handled))

    def _tell_count(self, handled: int) -> None:
        if not self._connection.closed:
            self._stream.tell_count(handled)
            self._flush()

    def tell_count(self) -> None:
        """Tell a client with XEP-0198 what was handled, though it has not asked."""
        if self.session is not None and self._stream.management is not None:
            self._count_wanted(events.CountWanted(self._stream.management.handled))

    def _resume_requested(self, event: events.ResumeRequested) -> None:
        resumed: Deferred[None] = Deferred.fromCoroutine(self._resume(event))
        self._owned(resumed)

    async def _resume(self, event: events.ResumeRequested) -> None:
        """Take a session over from its last connection. The count that the client is told is durable."""
        service, name, account = self._service, event.resume_id, self._stream.account
        assert account is not None
        await service.check(account)
        session = service.resumption.find(name, account)
        if session is None or session.outbox is None:
            self._refuse_to_resume(name, account)
            return
        management = session.outbox.management
        management.acknowledged(event.request)
        old = session.transport
        waiting = service.resumption.hibernate(session, service.policy.resume_seconds)
        waiting.claimant = self
        if isinstance(old, ClientConnection):
            old.replaced()
        session.acknowledged(management.confirmed)
        await service.committed()
        if session.ended:
            self._refuse_to_resume(name, account)
        elif waiting.claimant is not self:
            raise StreamError(StreamCondition.CONFLICT, "the session was resumed on another connection")
        elif self._connection.closed:
            service.core.hooks.tell(SessionCut(session))
        else:
            self._go_on_with(session, waiting, name)

    def _go_on_with(self, session: Session, waiting: Hibernating, name: str) -> None:
        self._service.resumption.wake(waiting)
        self._service.mux.unexpire(self)
        self.session = session
        session.address, session.secure = self._ip, self._connection.tls is not None
        assert session.outbox is not None
        happened = self._stream.resumed(session.jid, session.outbox.management, name)
        self._flush()  # the client learns that the stream goes on before anything else reaches it
        session.resume(self)
        self._go_on(happened)

    def _refuse_to_resume(self, name: str, account: JID) -> None:
        handled = self._service.resumption.handled(name, account)
        self._answer(lambda: self._stream.resume_refused(Condition.ITEM_NOT_FOUND, handled))

    # -- the end --------------------------------------------------------------

    def _closed(self, event: events.StreamClosed | events.StreamFailed) -> None:
        self._flush()
        self._connection.close()
        self._end_session()

    def _answer(self, answer: Callable[[], Any]) -> None:
        """Answer what the machine asked for, unless the connection has gone meanwhile."""
        if not self._connection.closed:
            self._go_on(answer())

    def _owned(self, waiting: Deferred[Any]) -> None:
        """A failure of what goes on in the background costs this connection, nothing else."""
        waiting.addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, StreamError):
            log.failure("a client's stream failed", failure=failure)
            error = StreamError(StreamCondition.INTERNAL_SERVER_ERROR)
        if not self._connection.closed:
            self.close(error)


def _end_one_that_waits(sessions: Mapping[str, Session]) -> bool:
    """Make room for a new session of the account: end one whose client is away, if there is any."""
    waiting = next((each for each in sessions.values() if isinstance(each.transport, Hibernating)), None)
    if waiting is not None:
        waiting.close()
    return waiting is not None


_HANDLERS: dict[type, Callable[[ClientConnection, Any], None]] = {
    events.StartTLS: ClientConnection._start_tls,
    events.CredentialsWanted: ClientConnection._credentials_wanted,
    events.PasswordCheckWanted: ClientConnection._password_check_wanted,
    events.Authenticated: ClientConnection._authenticated,
    events.AuthenticationFailed: ClientConnection._authentication_failed,
    events.RegistrationRequest: ClientConnection._registration_request,
    events.BindRequested: ClientConnection._bind_requested,
    events.EnableRequested: ClientConnection._enable_requested,
    events.ResumeRequested: ClientConnection._resume_requested,
    events.Confirmed: ClientConnection._confirmed,
    events.CountWanted: ClientConnection._count_wanted,
    events.Reply: ClientConnection._reply,
    events.StreamClosed: ClientConnection._closed,
    events.StreamFailed: ClientConnection._closed,
}
