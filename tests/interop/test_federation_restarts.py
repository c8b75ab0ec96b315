"""A peer dies in the middle of a conversation and comes back: the patron has every answer once, in order.

In each round the librarian writes numbered lines without a pause while the patron's server is killed
(SIGKILL), stays away for a while, and starts again on its data; the patron's client then logs in again. In
the suite that is a round with no pause and one with five seconds for each peer; `make soak`, which is
`pytest --rounds 20` on this file, goes through pauses of 0, 5 and 90 seconds in turn.

What "once" means. A message between two servers that may die at any moment can be lost, or can come twice:
who was not told that it has arrived must choose. refserver sends it again with the same id, and clients show
what has the same id and sender once. So a line counts by its id here; one that comes again must have the same
text. What refserver is held to is that no line is missing, whenever the peer died, and that those that come
for the first time come in the order in which they were written.

What is not ours: a line that the other server has confirmed. At ejabberd several processes deal with it, and
what becomes of it then depends on which of them comes first. The test keeps out of the way of that:

- What ejabberd had only in its memory when it was killed is lost. It answers the ping behind a line as soon
  as it has passed the line on to the process of the session, which archives it before it goes out. So what it
  says to the library takes a while here (relay.py), as from far away: when the library hears that a line has
  arrived, the patron has it.
- What it stored before the patron logged in can be overtaken by what comes while he does. The process of his
  session first has his presence known (ejabberd_c2s, update_priority), then reads what was stored and sends
  it to itself (mod_offline, route_offline_messages). From the first of these steps on, the process of
  refserver's stream sends new lines to the session directly, in front of all that was stored.
- What it is just storing when he logs in stays until his next log-in, or is lost: what was stored is read and
  deleted in one transaction (mod_offline_mnesia, pop_messages), but written outside of any (store_message),
  so that a line that comes between the two is deleted unread.

So at ejabberd he logs in when it has confirmed all that was written, and the librarian waits for him. Prosody
has the presence known and sends what was stored in one step (mod_presence): there she goes on all the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from random import random
from xml.etree.ElementTree import Element

import pytest
from attrs import define, evolve, field, frozen

from tests.interop.peers import EJABBERD, LIBRARY, PROSODY, Patron, PeerServer, Region, wait_until
from tests.interop.peers.people import CLIENT, DELAY, Librarian, body
from tests.interop.peers.region import PASSWORD
from tests.interop.peers.relay import Relay

pytestmark = [pytest.mark.peers, pytest.mark.slow]

IN_THE_SUITE = (0, 5)  # seconds that the peer is away
PAUSES = (0, 5, 90)
PACE = 0.15  # seconds between two lines
LINES = 5  # that are heard before the peer dies, and written when the patron is back
FAR_SECONDS = 0.3  # that what ejabberd says takes to arrive
ARRIVAL_SECONDS = 90.0  # for all lines, from when the patron is back: refserver's longest pause, and some


class Dictation:
    """A librarian who writes numbered lines in the chat of a question, one after the other, in a thread."""

    def __init__(self, librarian: Librarian, number: int) -> None:
        self.written: dict[str, str] = {}  # text by id, in order
        self._librarian = librarian
        self._number = number
        self._over = threading.Event()
        self._pen = threading.Lock()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """She writes inside."""
        self._over.clear()
        thread = threading.Thread(target=self._write, name="dictation", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(10)
        assert not thread.is_alive(), "she is still writing"
        self._librarian.catch_up()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """She writes nothing inside; the library has been given all that she wrote before."""
        with self._pen:
            self._librarian.catch_up()
            yield

    def goes_on(self, lines: int) -> None:
        """Return when she has written so many more."""
        goal = len(self.written) + lines
        wait_until(lambda: len(self.written) >= goal, f"line {goal}", 30, lambda: str(len(self.written)))

    def _write(self) -> None:
        while not self._over.wait(PACE):
            with self._pen:
                text = f"Line {len(self.written) + 1}."
                self.written[self._librarian.write(self._number, text)] = text


@frozen
class Line:
    """A numbered line as the patron's client got it.

    `log_in` counts his log-ins. `delays` are all its stamps (XEP-0203): one from his server says that it was
    stored there.
    """

    id: str
    text: str
    log_in: int = field(eq=False)
    delays: tuple[str, ...] = field(eq=False)


class Listener:
    """A patron who logs in again and again, and all lines that his clients were given."""

    def __init__(self, region: Region, peer: PeerServer, jid: str) -> None:
        self._region = region
        self._peer = peer
        self._jid = jid
        self._client: Patron | None = None
        self._log_ins = 0
        self._earlier: list[Line] = []

    def log_in(self) -> Patron:
        """With a client that knows nothing of the one before."""
        self._client = self._region.returning(self._peer, self._jid)
        self._client.connect()
        self._log_ins += 1
        return self._client

    def is_thrown_out(self) -> None:
        """His server has died: return when everything has been read that it had sent."""
        client = self._client
        assert client is not None
        wait_until(lambda: not client.call(client.client.is_connected), "the end", 10, lambda: "connected")
        self._leave()

    def close(self) -> None:
        """Log out if logged in."""
        if self._client is not None:
            self._leave()

    @property
    def heard(self) -> list[Line]:
        """All lines as they came, doubles included."""
        now = [] if self._client is None else self._client.received()
        return [*self._earlier, *self._lines(now)]

    def hears_more(self, lines: int) -> None:
        """Return when so many more have come."""
        goal = len(self.heard) + lines
        wait_until(lambda: len(self.heard) >= goal, f"{lines} more lines", 30, lambda: str(self.heard[-3:]))

    def catch_up(self) -> None:
        """Return when everything has come that his server has sent."""
        assert self._client is not None
        self._client.catch_up()

    def _leave(self) -> None:
        client, self._client = self._client, None
        assert client is not None
        self._earlier += self._lines(client.received())
        client.close()

    def _lines(self, stanzas: list[Element]) -> list[Line]:
        return [
            self._line(stanza)
            for stanza in stanzas
            if stanza.tag == f"{CLIENT}message" and body(stanza).startswith("Line ")
        ]

    def _line(self, stanza: Element) -> Line:
        delays = tuple(f"{delay.get('stamp')} from {delay.get('from')}" for delay in stanza.iter(DELAY))
        return Line(stanza.get("id", ""), body(stanza), self._log_ins, delays)


@define
class Conversation:
    """One question that a patron elsewhere and a librarian of the house talk about."""

    region: Region
    peer: PeerServer
    dictation: Dictation
    listener: Listener

    def goes_on_over_a_restart(self, seconds: float) -> None:
        """The peer dies at some moment between two lines; the patron comes back as soon as he can."""
        with self.dictation.going_on():
            self.listener.hears_more(LINES)
            let_pass(random() * PACE)
            self.peer.kill()
            self.listener.is_thrown_out()
            let_pass(seconds)
            self.peer.start()
            self.patron_is_back()
            self.dictation.goes_on(LINES)

    def patron_is_back(self) -> None:
        """See the docstring of the module. Until ejabberd has confirmed all, the last line is long stored."""
        if self.peer.name != "ejabberd":
            self.listener.log_in()
            return
        with self.dictation.interrupted():
            self.region.wait_until_confirmed(self.peer, ARRIVAL_SECONDS)
            self.listener.log_in().catch_up()

    def check(self, where: str) -> None:
        """Wait until all lines have come; then they must be what was written, in that order."""
        written = self.dictation.written
        wait_until(lambda: not self.missing, f"{where}, all lines", ARRIVAL_SECONDS, self.said)
        self.listener.catch_up()
        heard = self.listener.heard
        once = list(dict.fromkeys(heard))
        assert written == {line.id: line.text for line in once}, where
        assert list(written) == [line.id for line in once], f"{where}, as they came:\n{as_they_came(heard)}"
        again, kept = len(heard) - len(once), self.given_out_twice
        print(
            f"\n{where}: {len(written)} lines; with the same id came again {again - kept} that refserver has"
        )
        print(f"sent again, and {kept} which {self.peer.name} gave out again from its own store.")

    @property
    def given_out_twice(self) -> int:
        """How many the peer gave out once more from its store: the time of storing is the same."""
        mark = f" from {self.peer.domain}"
        stored = [line for line in self.listener.heard if any(each.endswith(mark) for each in line.delays)]
        return len(stored) - len({(line.id, line.delays) for line in stored})

    @property
    def missing(self) -> list[str]:
        """The lines that have not come."""
        heard = {line.id for line in self.listener.heard}
        return [text for id, text in self.dictation.written.items() if id not in heard]

    def said(self) -> str:
        """What is missing, and what both servers say about it."""
        refserver, peer = self.region.server.log[-3000:], self.peer.log[-6000:]
        came = f"missing: {self.missing}, and this came:\n{as_they_came(self.listener.heard)}"
        return f"{came}\nrefserver:\n{refserver}\n{self.peer.name}:\n{peer}"


def as_they_came(lines: list[Line]) -> str:
    """One in a row, with all that is known of each: for who looks for what has gone wrong."""
    seen: set[str] = set()
    rows = []
    for line in lines:
        signs = [*["again"] * (line.id in seen), *line.delays]
        seen.add(line.id)
        rows.append(f"log-in {line.log_in}: {line.id} {', '.join(signs)}")
    return "\n".join(rows)


def let_pass(seconds: float) -> None:
    """Time is what this is about: how long the peer is away."""
    threading.Event().wait(seconds)


@pytest.fixture
def pauses(request: pytest.FixtureRequest) -> list[int]:
    """For how many seconds the peer is away in each round."""
    rounds: int = request.config.getoption("rounds")
    return list(islice(cycle(PAUSES), rounds)) if rounds else list(IN_THE_SUITE)


@pytest.fixture(params=[PROSODY, EJABBERD], ids=["prosody", "ejabberd"])
def peer(request: pytest.FixtureRequest, region: Region, started: Callable[[Relay], Relay]) -> PeerServer:
    """Each of the other servers in turn; ejabberd is far away, see the docstring of the module."""
    if request.param == PROSODY:
        return region.start(request.getfixturevalue("start_prosody"), PROSODY)
    far = started(Relay(region.places[LIBRARY], FAR_SECONDS)).address
    places = region.places | {LIBRARY: far, f"rooms.{LIBRARY}": far}
    return evolve(region, places=places).start(request.getfixturevalue("start_ejabberd"), EJABBERD)


@pytest.mark.timeout(0)  # by hand it takes its time; each wait has its deadline
def test_every_answer_arrives_in_order_though_the_peer_is_killed(region, peer, pauses):
    """In the same conversation, as many rounds as there are pauses."""
    mia = region.library.librarian("mia")
    listener = Listener(region, peer, peer.add_account("patricia", PASSWORD))
    patricia = listener.log_in()
    patricia.ask("Would you dictate to me?")
    number = mia.announced("Would you dictate to me?")
    mia.take(number)
    patricia.hears("mia is with you now.")
    peer.wait_until_stored("patricia")
    conversation = Conversation(region, peer, Dictation(mia, number), listener)
    try:
        for at, pause in enumerate(pauses, 1):
            conversation.goes_on_over_a_restart(pause)
            conversation.check(f"round {at}, {pause} s away")
    finally:
        listener.close()
