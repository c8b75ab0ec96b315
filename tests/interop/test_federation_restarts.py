"""A peer dies in the middle of a conversation and comes back: the patron has every answer once, in order.

In each round the librarian writes numbered lines without a pause while the patron's server is killed
(SIGKILL), stays away for a while, and starts again on its data; the patron's client then logs in again. In
the suite that is a round with no pause and one with five seconds for each peer; `make soak`, which is
`pytest --rounds 20` on this file, goes through pauses of 0, 5 and 90 seconds in turn.

What "once" means. A message between two servers that may die at any moment can be lost, or can come twice:
who was not told that it has arrived must choose. refserver sends it again with the same id, and clients show
what has the same id and sender once. So a line counts by its id here; one that comes again must have the same
text. What refserver is held to is that no line is missing, whatever died when, and that those that come for
the first time come in the order in which they were written.

What is not ours: a message that the peer has confirmed and had only in its memory when it was killed. The
patron's side cannot tell that from a loss of ours, so that a missing line is shown beside what both servers
have logged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from random import random
from xml.etree.ElementTree import Element

import pytest

from tests.interop.peers import Patron, PeerServer, Region, wait_until
from tests.interop.peers.people import CLIENT, Librarian, body
from tests.interop.peers.region import PASSWORD

pytestmark = [pytest.mark.peers, pytest.mark.slow]

IN_THE_SUITE = (0, 5)  # seconds that the peer is away
PAUSES = (0, 5, 90)
PACE = 0.15  # seconds between two lines
LINES = 5  # that are heard before the peer dies, and written when the patron is back
ARRIVAL_SECONDS = 90.0  # for all lines, from when the patron is back: refserver's longest pause, and some

Line = tuple[str, str]  # id and text


class Dictation:
    """A librarian who writes numbered lines in the chat of a question, one after the other, in a thread."""

    def __init__(self, librarian: Librarian, number: int) -> None:
        self.written: dict[str, str] = {}  # text by id, in order
        self._librarian = librarian
        self._number = number
        self._over = threading.Event()

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
        assert not thread.is_alive()

    def goes_on(self, lines: int) -> None:
        """Return when she has written so many more."""
        goal = len(self.written) + lines
        wait_until(lambda: len(self.written) >= goal, f"line {goal}", 30, lambda: str(len(self.written)))

    def _write(self) -> None:
        while not self._over.wait(PACE):
            text = f"Line {len(self.written) + 1}."
            self.written[self._librarian.write(self._number, text)] = text


class Listener:
    """A patron who logs in again and again, and all lines that his clients were given."""

    def __init__(self, region: Region, peer: PeerServer, jid: str) -> None:
        self._region = region
        self._peer = peer
        self._jid = jid
        self._client: Patron | None = None
        self._earlier: list[Line] = []

    def log_in(self) -> Patron:
        """With a client that knows nothing of the one before."""
        self._client = self._region.returning(self._peer, self._jid)
        self._client.connect()
        return self._client

    def log_out(self) -> None:
        """When everything has been read that was sent to the client before its server died."""
        client, self._client = self._client, None
        if client is not None:
            wait_until(lambda: not client.call(client.client.is_connected), "the end", 10, lambda: "")
            self._earlier += map(line, filter(is_line, client.received()))
            client.close()

    def close(self) -> None:
        """Log out if logged in."""
        if self._client is not None:
            self._client.close()

    @property
    def heard(self) -> list[Line]:
        """All lines as they came, doubles included."""
        now = [] if self._client is None else self._client.received()
        return [*self._earlier, *map(line, filter(is_line, now))]

    def hears_more(self, lines: int) -> None:
        """Return when so many more have come."""
        goal = len(self.heard) + lines
        wait_until(lambda: len(self.heard) >= goal, f"{lines} more lines", 30, lambda: str(self.heard[-3:]))


def is_line(stanza: Element) -> bool:
    return stanza.tag == f"{CLIENT}message" and body(stanza).startswith("Line ")


def line(stanza: Element) -> Line:
    return stanza.get("id", ""), body(stanza)


@pytest.fixture
def pauses(request: pytest.FixtureRequest) -> list[int]:
    """For how many seconds the peer is away in each round."""
    rounds: int = request.config.getoption("rounds")
    return list(islice(cycle(PAUSES), rounds)) if rounds else list(IN_THE_SUITE)


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
    dictation = Dictation(mia, number)
    try:
        for at, pause in enumerate(pauses, 1):
            with dictation.going_on():
                listener.hears_more(LINES)
                die_and_come_back(peer, listener, pause)
                dictation.goes_on(LINES)
            check(listener, dictation.written, f"round {at}, {pause} s away", lambda: known(region, peer))
    finally:
        listener.close()


def die_and_come_back(peer: PeerServer, listener: Listener, seconds: float) -> None:
    """At some moment between two lines; the patron's client comes back as soon as it can."""
    let_pass(random() * PACE)
    peer.process.kill()
    listener.log_out()
    let_pass(seconds)
    peer.stop()
    peer.start()
    listener.log_in()


def let_pass(seconds: float) -> None:
    """Time is what this is about: how long the peer is away."""
    threading.Event().wait(seconds)


def check(listener: Listener, written: dict[str, str], where: str, known: Callable[[], str]) -> None:
    """Wait until all lines have come; then they must be what was written, in that order."""

    def missing() -> list[str]:
        heard = dict(listener.heard)
        return [text for id, text in written.items() if id not in heard]

    def said() -> str:
        return f"{where}: missing: {missing()} of {len(written)}\n{known()}"

    wait_until(lambda: not missing(), "all lines", ARRIVAL_SECONDS, said)
    heard = listener.heard
    once = list(dict.fromkeys(heard))
    assert list(written.items()) == once, f"{where}: {order(once, written)}"
    print(f"\n{where}: {len(written)} lines, {len(heard) - len(once)} of them came again with the same id")


def order(once: list[Line], written: dict[str, str]) -> str:
    """Which lines are not where they should be."""
    return str(
        [(there[1], here[1]) for here, there in zip(once, written.items(), strict=False) if here != there]
    )


def known(region: Region, peer: PeerServer) -> str:
    """What both servers say about it."""
    return f"refserver:\n{region.server.log[-3000:]}\n{peer.name}:\n{peer.log[-6000:]}"
