"""Dialback keys that were shown to us: asking the server they claim to come from (XEP-0220 2.3).

Every key costs a connection that a stranger makes us open. So each has a deadline, the same key is asked
about once, and there are bounds on how many are under way: in all, of one domain, and from one address.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.errors import Cause, Condition, StanzaError, StreamFault
from refserver.s2s.attempts import Shares
from refserver.s2s.outbound_queue import Pool
from refserver.s2s.outgoing import OutgoingConnection, Unreachable
from refserver.stream.events import KeyToVerify, Verdict

log = Logger()

VERIFY_SECONDS: Final = 20.0
MOST_KEYS: Final = 128
MOST_KEYS_OF_ONE: Final = 8
MOST_KEYS_FROM_ONE: Final = 32


@define(eq=False)
class _Question:
    """A question that is under way: the address it came from, and who waits for the verdict."""

    source: str
    waiting: list[Deferred[Verdict]]
    asking: Deferred[Verdict] | None = None

    def give_up(self) -> None:
        """End the question: its place is needed for somebody who has fewer."""
        if self.asking is not None:
            self.asking.cancel()


@define(eq=False)
class DialbackVerifier:
    """The keys that are being verified."""

    _pool: Pool
    _asking: dict[KeyToVerify, _Question] = field(factory=dict, init=False)
    _by_domain: Counter[str] = field(factory=Counter, init=False)
    _by_source: Shares = field(factory=lambda: Shares(MOST_KEYS, MOST_KEYS_FROM_ONE), init=False)

    def verify(self, asked: KeyToVerify, source: str) -> Deferred[Verdict]:
        """The word of the authoritative server, or why there is none. Never fails.

        `source` is the address that the key came from.
        """
        verdict: Deferred[Verdict] = Deferred()
        question = self._asking.get(asked)
        if question is not None:
            question.waiting.append(verdict)
        elif self._is_too_much(asked.from_, source):
            verdict.callback(StanzaError(Condition.RESOURCE_CONSTRAINT))
        else:
            question = self._asking[asked] = _Question(source, [verdict])
            self._by_domain[asked.from_] += 1
            self._by_source.take(source, question.give_up)
            self._begin(asked, question)
        return verdict

    def _is_too_much(self, domain: str, source: str) -> bool:
        return self._by_domain[domain] >= MOST_KEYS_OF_ONE or not self._by_source.may_take(source)

    def _begin(self, asked: KeyToVerify, question: _Question) -> None:
        asking: Deferred[Verdict] = Deferred.fromCoroutine(self._ask(asked))
        question.asking = asking
        asking.addTimeout(VERIFY_SECONDS, self._pool.clock)
        asking.addErrback(self._failed, asked).addCallback(self._answer, asked)
        asking.addErrback(lambda failure: log.failure("a verdict was not taken", failure=failure))

    async def _ask(self, asked: KeyToVerify) -> Verdict:
        """Over the open stream if there is one, else over a new connection for that alone."""
        known = self._pool.connection(asked.to, asked.from_)
        if known is not None:
            verdict = await known.verify(asked)
            if isinstance(verdict, bool):
                return verdict

        async def use(connection: OutgoingConnection) -> Verdict:
            try:
                verdict = await connection.verify(asked)
            finally:
                connection.close()
            if isinstance(verdict, StanzaError):
                raise Unreachable(Cause.KEY_NOT_VERIFIED, verdict.condition)
            return verdict

        return await self._pool.connector.connect(asked.to, asked.from_, use, verify_only=True)

    def _failed(self, failure: Failure, asked: KeyToVerify) -> Verdict:
        error = failure.value
        fault = StreamFault(Cause.TOO_SLOW)
        condition = Condition.REMOTE_SERVER_TIMEOUT
        if isinstance(error, Unreachable):
            fault, condition = error.fault, error.condition
        elif isinstance(error, CancelledError):
            return StanzaError(Condition.RESOURCE_CONSTRAINT)
        elif not isinstance(error, TimedOut):
            log.failure("a dialback key could not be verified", failure=failure)
            condition = Condition.INTERNAL_SERVER_ERROR
        self._pool.known_servers.get(asked.from_).failed(fault)
        return StanzaError(condition)

    def _answer(self, verdict: Verdict, asked: KeyToVerify) -> None:
        question = self._asking.pop(asked)
        self._by_source.release(question.source, question.give_up)
        self._by_domain[asked.from_] -= 1
        if not self._by_domain[asked.from_]:
            del self._by_domain[asked.from_]
        for waiting in question.waiting:
            waiting.callback(verdict)
