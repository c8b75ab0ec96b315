"""Sends each stanza on. Knows only the shapes of addresses and who answers for them.

`submit` is the way in for clients' stanzas, `route` the way on for everybody's. Whom a library does not
let in is stopped here, before any feature or queue sees the stanza.
"""

from __future__ import annotations

from twisted.logger import Logger

from refserver.core.hooks import Hooks, MessageSent, PresenceSent
from refserver.core.hosts import Hosts, Verdict
from refserver.core.ports import Destination
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.stanza import Stanza

log = Logger()


class Nowhere:
    """The destination of all domains that are not ours, while there is no federation."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def deliver(self, stanza: Stanza) -> None:
        """Send it back (RFC 6120 10.4)."""
        self._router.bounce(stanza, StanzaError(Condition.REMOTE_SERVER_NOT_FOUND))


class Router:
    """Sends each stanza to the destination that owns its address.

    `accounts` (set once, at start) takes what is for a library's domain or its accounts,
    `remote` what is for other servers.
    """

    accounts: Destination
    remote: Destination

    def __init__(self, hosts: Hosts, hooks: Hooks) -> None:
        self.hosts = hosts
        self._hooks = hooks
        self.remote = Nowhere(self)
        self._message_sent = hooks.of(MessageSent)

    def freeze(self) -> None:
        """Look the hot path's handlers up, once the hooks are frozen."""
        self._message_sent = self._hooks.of(MessageSent)

    def submit(self, stanza: Stanza, session: Session) -> None:
        """Take a stanza from the client of `session`. Never raises.

        `from` becomes the session's full JID (RFC 6120 8.1.2.1). What goes wrong in here
        costs this one stanza.
        """
        stanza.from_ = session.jid
        try:
            kind = stanza.kind
            if kind == "message":
                if self._message_sent:
                    event = MessageSent(stanza, session)
                    for handler in self._message_sent:
                        if handler(event) is True:
                            return
                if stanza.to is None:
                    stanza.to = session.account  # RFC 6120 10.3.1
                self.route(stanza)
            elif kind == "presence":
                if not self._hooks.run(PresenceSent(stanza, session)) and stanza.to is not None:
                    self.route(stanza)
            else:
                if stanza.to is None:
                    stanza.to = session.account  # RFC 6120 10.3.3
                self.route(stanza)
        except StanzaError as error:
            self.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} could not be processed", kind=stanza.kind)
            self.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def route(self, stanza: Stanza) -> None:
        """Pass a stanza to the owner of its `to`."""
        to = stanza.to
        assert to is not None
        if self.hosts.gates and self._stopped(stanza, to):
            self._refuse(stanza)
            return
        host = self.hosts.get(to.domainpart)
        if host is None:
            service = self.hosts.service(to.domainpart)
            destination = self.remote if service is None else service
        elif to.localpart and host.addresses:
            owner = host.find(to.localpart)
            destination = self.accounts if owner is None else owner
        else:
            destination = self.accounts
        destination.deliver(stanza)

    def _stopped(self, stanza: Stanza, to: JID) -> bool:
        """True if the library that a stanza is for does not let its sender in.

        That is for senders outside of the library; for its own accounts only if they write to a queue.
        """
        sender, gate = stanza.from_, self.hosts.gate_of(to.domainpart)
        if sender is None or gate is None:
            return False
        host = self.hosts.get(to.domainpart)
        library = to.domainpart.partition(".")[2] if host is None else host.domain
        if sender.domainpart == library and (host is None or host.find(to.localpart) is None):
            return False
        return gate.judge(sender) is Verdict.STOPPED

    def _refuse(self, stanza: Stanza) -> None:
        """The answer is that of an account that is not there (RFC 6121 8.5.1)."""
        if stanza.kind != "presence" and stanza.type != "headline":
            self.bounce(stanza, StanzaError(Condition.SERVICE_UNAVAILABLE))

    def bounce(self, stanza: Stanza, error: StanzaError) -> None:
        """Answer a stanza with an error; errors, results and unavailable presence are never answered.

        Who tracks a stanza of our own is told in person instead (`Tracked`).
        """
        if stanza.settle(error):
            return
        if stanza.type in ("error", "result", "unavailable") or stanza.from_ is None:
            return
        self.route(stanza.error(error))
