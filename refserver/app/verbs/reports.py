"""The verb that counts: reports are built from statistics rows, in which nobody is named."""

from __future__ import annotations

from typing import ClassVar

from attrs import asdict, frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import bare_address, domain_of, served_domain
from refserver.app.verbs.verb import Done, Refused, Verb, day_of
from refserver.reference.report import report
from refserver.storage import queues, statistics

__all__ = ["MakeReport"]


@frozen
class MakeReport(Verb):
    """The figures of a queue, or of a library's queues and the library. Days are ISO dates, both included."""

    verb: ClassVar[str] = "report"
    writes: ClassVar[bool] = False
    of: str
    first_day: str = ""
    last_day: str = ""

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`. The data is a list of `reference.report.Report` as objects."""
        domain, queue = self._whose(connection)
        for day in filter(None, (self.first_day, self.last_day)):
            day_of(day)
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise Refused(f"the period ends ({self.last_day}) before it begins ({self.first_day})")
        found = report(connection, domain, queue, self.first_day, self.last_day)
        return Done([asdict(one) for one in found])

    def _whose(self, connection: Connection) -> tuple[str, str]:
        """Domain and queue; a queue that is no more has its statistics still."""
        if "@" not in self.of:
            return served_domain(connection, self.of), ""
        jid = bare_address(self.of)
        domain = domain_of(connection, jid)
        if queues.find(connection, jid) is None and not statistics.rows(connection, domain, jid.localpart):
            raise Refused(f"there is no queue {jid}: `refserverctl queue list` shows those there are")
        return domain, jid.localpart
