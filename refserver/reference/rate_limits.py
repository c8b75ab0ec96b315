"""What keeps the queues out of storms: how often they repeat themselves, and what other servers may bring.

Shared by all queues of this server, and bounded in memory. How many questions one patron may ask is
counted in the store (asking.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from refserver.core.limits import Quota
from refserver.jid import JID

REPEATED: Final = 3
REPEATED_SECONDS: Final = 60.0
HOUR: Final = 3600.0


@define(eq=False)
class RateLimits:
    """`domain_questions` is how many questions another server may bring to one library in an hour, 0 for
    any number; `seconds` a clock that never goes back.

    To a patron a queue says the same line three times, and then once in twenty seconds: to two that answer
    each other by themselves that is an end, for people it is no loss.
    """

    domain_questions: int
    seconds: Callable[[], float]
    _lines: Quota = field(init=False)
    _questions: Quota = field(init=False)

    @_lines.default
    def _make_lines(self) -> Quota:
        return Quota(REPEATED, REPEATED_SECONDS, self.seconds)

    @_questions.default
    def _make_questions(self) -> Quota:
        return Quota(self.domain_questions, HOUR, self.seconds)

    def may_tell(self, patron: JID, line: str) -> bool:
        """Whether a line that nobody wrote may go to a patron now; counts it."""
        return self._lines.spend((patron, hash(line)))

    def may_ask(self, library: str, domain: str) -> bool:
        """Whether another server may bring one more question to a library; counts it."""
        return self._questions.spend((library, domain))
