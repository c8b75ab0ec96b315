"""kill -9 at random moments, while questions wait, are offered, are claimed, and messages go both ways.

What is promised without stream management (XEP-0198), and shown here:

- When the server is back, a question is in the last state that a librarian or an operator was told of; what
  was sent and not answered may have happened or not, but then wholly.
- A message whose sender has a receipt is in the store exactly once, and its recipient gets it: a patron's
  words the librarian who has the question or takes it later, a librarian's words the patron. (The server
  sends the patron's receipt once the message is stored; the librarian's comes from the patron's client.)
- A message whose sender has no receipt is in the store once or not at all; sent again under its id, it is
  there once. A text that was refused is nowhere.
- A recipient's client is given a message under its id a second time only if the kill fell before the server
  knew that it had arrived: in a later run. An answer is then marked as late (XEP-0203).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from attrs import define, field

from refserver.app.commands import Refused
from refserver.app.commands.context import Caller
from refserver.app.commands.questions import ListQuestions
from refserver.app.config import load
from tests.interop.conftest import UNLIMITED, complaints
from tests.interop.crash.ledger import Ledger, State
from tests.interop.crash.people import Floor, Librarian, Patron, Person
from tests.interop.crash.store import Snapshot, Stored
from tests.interop.peers import Library
from tests.interop.peers.library import PASSWORD

KILLS = int(os.environ.get("REFSERVER_KILLS", "50"))
SEED = int(os.environ.get("REFSERVER_SEED", "20260214"))
LIBRARIANS = ("mia", "ben", "zoe")
PATRONS = ("pat", "sue", "tom", "ida", "leo", "uma")
LONGEST_RUN = 0.7  # seconds from the start of the server to its end
MOST_ANSWERS = 80
SETTINGS = {**UNLIMITED, "c2s": {"require_tls": False, "plain_without_tls": True}}


@define(eq=False)
class Desk:
    """A library under load, its server, and what is known of both."""

    library: Library
    floor: Floor
    librarians: list[Librarian]
    patrons: list[Patron]
    snapshot: Snapshot = field(factory=lambda: Snapshot({}, Counter()))
    states: Counter[str] = field(factory=Counter)
    """How many questions were in each state when the server was killed."""

    @classmethod
    def of(cls, library: Library) -> Desk:
        """Everybody at her place."""
        floor = Floor(library.domain, (library.server.host, library.server.port), PASSWORD, Random(SEED))
        librarians = [Librarian(name, floor, LIBRARIANS) for name in LIBRARIANS]
        return cls(library, floor, librarians, [Patron(name, floor) for name in PATRONS])

    @property
    def people(self) -> list[Person]:
        """Everybody."""
        return [*self.librarians, *self.patrons]

    # -- working -------------------------------------------------------------------

    async def work(self, until: Callable[[], bool], seconds: float) -> bool:
        """Have everybody work until it is time, then kill the server and read what is left of each stream.

        False if it was not time after `seconds`.
        """
        working = [asyncio.create_task(person.work()) for person in self.people]
        looking = asyncio.create_task(self._look())
        in_time = await self._wait(until, seconds)
        self.library.server.kill()
        for task in working:
            task.cancel()
        streams = [person.client.ended for person in self.people if person.client and person.client.ended]
        for ended in await asyncio.gather(*working, *streams, looking, return_exceptions=True):
            if ended is not None and not isinstance(ended, ConnectionError | asyncio.CancelledError):
                raise ended
        return in_time

    async def _wait(self, until: Callable[[], bool], seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while not until():
                    await self.floor.heard.wait()
                    self.floor.heard.clear()
        except TimeoutError:
            return False
        return True

    async def _look(self) -> None:
        """Ask the running server again and again where the open questions are, as an operator may."""
        while True:
            sent = self.floor.ledger.now()
            rows = await asyncio.to_thread(self.listed, "open")
            if rows is None:
                return
            for number, state in rows.items():
                self.floor.ledger.looked(sent, number, state)

    def listed(self, state: str) -> dict[int, State] | None:
        """The questions as the running server lists them; None if it is gone."""
        caller = Caller(load(self.library.server.config))
        try:
            rows = caller.ask_running(ListQuestions(self.library.queue, state))
        except Refused:  # it went away while it was answering
            return None
        if rows is None:
            return None
        return {row["number"]: State.of(Stored(row["state"], row["librarian"] or "")) for row in rows}

    # -- looking at what is left ---------------------------------------------------

    def check(self) -> None:
        """The store must agree with everything that anybody was told."""
        before, self.snapshot = self.snapshot, Snapshot.of(self.library.server.folder / "data")
        wrong = self.floor.ledger.check(before.questions, self.snapshot.questions)
        wrong += self.floor.said.check(self.snapshot)
        assert not wrong, "\n".join(wrong)
        self.states.update(question.state for question in self.snapshot.questions.values())
        self.states["without receipt"] += sum(len(person.unconfirmed) for person in self.patrons)
        self.states["being handed over"] += sum(bool(q.handed_to) for q in self.snapshot.questions.values())

    def start_again(self) -> None:
        """Start the server: it must know every question as it was stored."""
        self.library.server.start()
        stored = {n: State.of(q) for n, q in self.snapshot.questions.items()}
        assert {n: State(s.name, s.owner) for n, s in stored.items()} == self.listed("all")
        self.floor.said.run += 1
        self.floor.ledger = Ledger()
        for librarian in self.librarians:
            librarian.remember(self.snapshot.questions)

    def is_tidy(self) -> bool:
        """True if everything said has a receipt, was seen, and no question waits."""
        confirmed = not any(patron.unconfirmed for patron in self.patrons)
        return confirmed and not self.floor.said.unseen()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_that_was_acknowledged_is_lost(start_refserver, authority):
    """See the module's docstring."""
    server = start_refserver(settings=SETTINGS)
    library = Library(server, "library.example").set_up(
        LIBRARIANS, PATRONS, settings={"offer_seconds": 600.0}
    )
    for name in LIBRARIANS:
        library.employ(name, max_chats=100)
    desk = Desk.of(library)
    asyncio.run(kill_again_and_again(desk))
    print(f"seed {SEED}, {KILLS} kills: {dict(desk.states)}, {len(desk.floor.said.by_id)} messages")
    assert [] == complaints(server.log)
    if KILLS >= 50:
        assert all(desk.states[state] for state in ("waiting", "offered", "claimed", "closed")), desk.states
        assert all(desk.states[what] for what in ("without receipt", "being handed over")), desk.states


async def kill_again_and_again(desk: Desk) -> None:
    """KILLS times; then once more until everything is tidy."""
    chance = Random(SEED + 1)
    desk.floor.said.run = 1
    for _ in range(KILLS):
        await desk.work(random_moment(desk.floor, chance), chance.uniform(0.05, LONGEST_RUN))
        desk.check()
        desk.start_again()
    for person in desk.people:
        person.tidying = True
    tidy = await desk.work(desk.is_tidy, 90)
    assert tidy, f"lost: {desk.floor.said.unseen()}, without receipt: {[p.unconfirmed for p in desk.patrons]}"
    desk.check()


def random_moment(floor: Floor, chance: Random) -> Callable[[], bool]:
    """In every second run the moment at which somebody has just been told something; else any."""
    if chance.random() < 0.5:
        return lambda: False
    last = floor.answers + chance.randrange(1, MOST_ANSWERS)
    return lambda: floor.answers >= last
