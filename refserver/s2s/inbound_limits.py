"""Limits on the stanzas of other servers, for each remote address and each remote domain.

The stream machine checks that a stanza's sender belongs to a proved domain. A flood costs its own domain its
credit, and nobody else's. There are no limits for those whom a library allows (core/hosts.py). The router
stops those whom a library blocks; what they send is counted like anybody's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

from attrs import frozen
from cachetools import LRUCache
from twisted.logger import Logger

from refserver.core.hosts import Hosts, Verdict
from refserver.core.limits import Quota
from refserver.core.router import Router
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID
from refserver.s2s.known_servers import KnownServer
from refserver.stanza import Stanza

log = Logger()

MOST_CONVERSATIONS: Final = 20_000
SHARE_OF_ONE: Final = 0.25
"""Of what a domain may send in a minute, how many bytes may come from one address."""
PER_ELEMENT: Final = 16
"""Bytes that an element's tags are taken for, where it is not known in which bytes it came."""


@frozen
class InboundLimits:
    """How much one remote address, and one remote domain, may send; 0 is no limit.

    Bytes are those of stanzas. A conversation is new if these two bare addresses have not exchanged
    messages lately.
    """

    stanzas_per_minute: int = 600
    domain_stanzas_per_minute: int = 6_000
    bytes_per_minute: int = 983_040
    domain_bytes_per_minute: int = 3_932_160
    subscriptions_per_hour: int = 30
    domain_subscriptions_per_hour: int = 600
    conversations_per_hour: int = 60
    domain_conversations_per_hour: int = 1_200

    @classmethod
    def none(cls) -> Self:
        """Without limits: for benchmarks and trusted networks."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0)

    @classmethod
    def of_streams(cls, bytes_per_second: int, stanza_bytes: int) -> Self:
        """The limits where a stream may bring so many bytes a second, and a stanza may be so large.

        A domain may send what one stream may bring, on however many it comes. 0 bytes a second: no limits.
        """
        if not bytes_per_second:
            return cls.none()
        domain = max(60 * bytes_per_second, stanza_bytes)
        one = max(int(SHARE_OF_ONE * domain), stanza_bytes)
        return cls(bytes_per_minute=one, domain_bytes_per_minute=domain)


@frozen(eq=False)
class _Limit:
    """A quota for each address and one for each domain."""

    address: Quota
    domain: Quota

    def spend(self, sender: JID, amount: float = 1) -> bool:
        """Count `amount` for `sender`; False if it, or its domain, has no credit left."""
        return self.address.spend(sender.bare, amount) and self.domain.spend(sender.domainpart, amount)


class InboundRouter:
    """Gives stanzas of other servers to `router`, within `limits`; `seconds` is a monotonic clock."""

    def __init__(
        self, router: Router, hosts: Hosts, limits: InboundLimits, seconds: Callable[[], float]
    ) -> None:
        self._router = router
        self._hosts = hosts

        def limit(address: int, domain: int, period: float) -> _Limit:
            return _Limit(Quota(address, period, seconds), Quota(domain, period, seconds))

        self._counts_bytes = bool(limits.domain_bytes_per_minute)
        self._stanzas = limit(limits.stanzas_per_minute, limits.domain_stanzas_per_minute, 60)
        self._bytes = limit(limits.bytes_per_minute, limits.domain_bytes_per_minute, 60)
        self._subscriptions = limit(limits.subscriptions_per_hour, limits.domain_subscriptions_per_hour, 3600)
        self._conversations = limit(limits.conversations_per_hour, limits.domain_conversations_per_hour, 3600)
        self._talking: LRUCache[tuple[JID, JID], bool] = LRUCache(MOST_CONVERSATIONS)

    def take(self, stanza: Stanza, remote: KnownServer) -> None:
        """Route a stanza of a proved domain. Raises `StreamError` where that domain lies.

        What goes wrong in here costs this one stanza.
        """
        sender, to = self._addresses(stanza)
        remote.received += 1
        try:
            gate = self._hosts.gate_of(to.domainpart)
            verdict = Verdict.OPEN if gate is None else gate.judge(sender)
            if verdict is not Verdict.ALLOWED:
                self._spend(stanza, sender, to)
            remote.refused += verdict is Verdict.STOPPED
            self._router.route(stanza)
        except StanzaError as error:
            remote.refused += 1
            self._router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} from another server could not be processed", kind=stanza.kind)
            self._router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def may_answer(self, sender: JID) -> bool:
        """Count something that cannot be a stanza; False if `sender` may send no more."""
        return self._stanzas.spend(sender)

    def _addresses(self, stanza: Stanza) -> tuple[JID, JID]:
        """The sender and the recipient.

        Whatever was negotiated: nobody else speaks for us, and nothing is relayed (RFC 6120 8.1.2.2).
        """
        sender, to = stanza.from_, stanza.to
        if sender is None or self._hosts.is_local(sender.domainpart):
            raise StreamError(StreamCondition.INVALID_FROM)
        if to is None:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        if not self._hosts.is_local(to.domainpart):
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        return sender, to

    def _spend(self, stanza: Stanza, sender: JID, to: JID) -> None:
        if not self._stanzas.spend(sender):
            raise _too_much("too many stanzas; try again later")
        if self._counts_bytes and not self._bytes.spend(sender, weight(stanza)):
            raise _too_much("too many bytes; try again later")
        if stanza.kind == "presence":
            if stanza.type == "subscribe" and not self._subscriptions.spend(sender):
                raise _too_much("too many requests; try again later")
        elif stanza.kind == "message" and stanza.type != "error":
            self._converse(sender, to)

    def _converse(self, sender: JID, to: JID) -> None:
        """Count a message as a new conversation if these two are not talking."""
        pair = sender.bare, to.bare
        if self._talking.get(pair):
            return
        if not self._conversations.spend(sender):
            raise _too_much("too many new conversations; try again later")
        self._talking[pair] = True


def weight(stanza: Stanza) -> int:
    """About how many bytes a stanza came in: never less than its texts and values have characters."""
    return stanza.received_bytes or sum(
        PER_ELEMENT
        + len(each.text or "")
        + len(each.tail or "")
        + sum(len(name) + len(value) for name, value in each.attrib.items())
        for each in stanza.element.iter()
    )


def _too_much(text: str) -> StanzaError:
    return StanzaError(Condition.RESOURCE_CONSTRAINT, text)
