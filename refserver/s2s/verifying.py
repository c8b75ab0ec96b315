"""Dialback keys that were shown to us: asking the server they claim to come from (XEP-0220 2.3).

Owns how many questions may be under way. Every key costs a connection that a stranger makes us open, so
there are few at a time for one domain, each with a deadline, and the same key is asked about once.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.errors import Condition, StanzaError
from refserver.s2s.outgoing import OutgoingConnection, Unreachable
from refserver.s2s.pool import Pool
from refserver.stream.federation import KeyToVerify, Verdict

__all__ = ["Verifications"]

log = Logger()

VERIFY_SECONDS: Final = 20.0
MOST_KEYS: Final = 128
MOST_KEYS_OF_ONE: Final = 8


@define(eq=False)
class Verifications:
    """The keys that are being verified."""

    _pool: Pool
    _asking: dict[KeyToVerify, list[Deferred[Verdict]]] = field(factory=dict, init=False)
    _by_domain: Counter[str] = field(factory=Counter, init=False)

    def verify(self, asked: KeyToVerify) -> Deferred[Verdict]:
        """The word of the authoritative server, or why there is none. Never fails."""
        verdict: Deferred[Verdict] = Deferred()
        waiting = self._asking.get(asked)
        if waiting is not None:
            waiting.append(verdict)
        elif len(self._asking) >= MOST_KEYS or self._by_domain[asked.from_] >= MOST_KEYS_OF_ONE:
            verdict.callback(StanzaError(Condition.RESOURCE_CONSTRAINT))
        else:
            self._asking[asked] = [verdict]
            self._by_domain[asked.from_] += 1
            self._begin(asked)
        return verdict

    def _begin(self, asked: KeyToVerify) -> None:
        asking: Deferred[Verdict] = Deferred.fromCoroutine(self._ask(asked))
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
                raise Unreachable("it did not verify its key", verdict.condition)
            return verdict

        return await self._pool.reach.connect(asked.to, asked.from_, use, verify_only=True)

    def _failed(self, failure: Failure, asked: KeyToVerify) -> Verdict:
        error = failure.value
        reason = "it did not answer in time"
        condition = Condition.REMOTE_SERVER_TIMEOUT
        if isinstance(error, Unreachable):
            reason, condition = str(error), error.condition
        elif not isinstance(error, TimedOut):
            log.failure("a dialback key could not be verified", failure=failure)
            condition = Condition.INTERNAL_SERVER_ERROR
        self._pool.remotes.get(asked.from_).failed(f"dialback: {reason}")
        return StanzaError(condition)

    def _answer(self, verdict: Verdict, asked: KeyToVerify) -> None:
        self._by_domain[asked.from_] -= 1
        if not self._by_domain[asked.from_]:
            del self._by_domain[asked.from_]
        for waiting in self._asking.pop(asked):
            waiting.callback(verdict)
