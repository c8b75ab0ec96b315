"""What is tracked arrives in order between two addresses, however many streams die under it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from attrs import define, field

from refserver.errors import StanzaError
from refserver.jid import JID
from refserver.s2s.outbound_queue import FIRST_RETRY
from refserver.stanza import Stanza, Tracked
from tests.unit.outbound_queue_bench import HERE, MIA, NOT_FOUND, PAT, THERE, TIMEOUT, Bench, Stream

TOM = JID.parse(f"tom@{THERE}")
CHANCES = range(40)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def after_one_that_died(bench: Bench, *ids: str) -> tuple[Stream, list[list[StanzaError | None]]]:
    """A second stream, on which these go out again; and what became of each."""
    told = [bench.track(id) for id in ids]
    bench.open().end()
    return bench.open(), told


def test_nothing_tracked_goes_ahead_of_what_has_ended_two_streams(bench):
    second, (first, other) = after_one_that_died(bench, "1", "2")
    third = bench.track("3")
    second.confirm(1)
    second.end()
    assert [None] == first
    assert [True, True] == [_is_lost(told) for told in (other, third)]
    assert 2 == len(bench.attempts), "nothing is left to be sent"


def test_it_comes_back_in_order(bench):
    second, _ = after_one_that_died(bench, "1")
    came: list[str] = []

    def send(id: str) -> None:
        bench.router.route(Tracked(Stanza.message(PAT, MIA, id=id), lambda error: came.append(id)))

    send("2")
    send("3")
    second.end()
    assert ["2", "3"] == came


def test_what_is_between_others_goes_out(bench):
    second, _ = after_one_that_died(bench, "1")
    bench.track("2")
    told = bench.track("3", to=TOM)
    bench.send("4")
    second.end()
    third = bench.open()
    assert ["3", "4"] == third.ids
    third.confirm()
    assert [None] == told


def test_what_a_dying_stream_is_given_does_not_overtake_what_comes_back(bench):
    second, (first,) = after_one_that_died(bench, "1")
    second.usable = False  # aborted, but not told yet
    told = bench.track("2")
    assert [True, True] == [_is_lost(each) for each in (first, told)]


def test_what_a_dying_stream_is_given_has_been_on_no_stream(bench):
    bench.send("1")
    bench.open().usable = False
    bench.send("2")
    second = bench.open()
    assert ["1", "2"] == second.ids
    second.end()
    assert ["1"] == [id for id, _ in bench.errors()]
    assert ["2"] == bench.open().ids


def test_what_waited_for_room_has_been_on_no_stream(bench):
    queue = bench.pool._new_queue((HERE, THERE))
    assert queue is not None
    queue._acknowledgements.window._most_stanzas = 1
    bench.send("1")
    bench.send("2")
    bench.open().end()
    second = bench.open()
    second.confirm()
    assert ["1", "2"] == second.ids
    second.end()
    assert ["2"] == bench.open().ids


def test_without_its_bytes_it_holds_back_what_is_behind_it(bench):
    bench.track("0")
    stream = bench.open()
    stream.confirm()
    bench.pool.budget.left = 0
    first = bench.track("1")
    bench.pool.budget.left = 1 << 30
    second = bench.track("2")
    stream.end()
    assert [True, True] == [_is_lost(told) for told in (first, second)]


# -- by chance ------------------------------------------------------------------------


@define
class Sender:
    """Numbers its messages, and tries again what comes back as the desk does: all of it, from the oldest."""

    bench: Bench
    to: JID
    written: int = 0
    owed: list[int] = field(factory=list)  # not confirmed
    flying: set[int] = field(factory=set)
    waits: bool = False  # something has come back

    def write(self) -> None:
        """One more; behind what waits."""
        self.written += 1
        self.owed.append(self.written)
        if not self.waits:
            self._send(self.written)

    def try_again(self) -> None:
        """As soon as nothing is under way."""
        if self.waits and not self.flying:
            self.waits = False
            for number in list(self.owed):
                if not self.waits:
                    self._send(number)

    def _send(self, number: int) -> None:
        self.flying.add(number)
        stanza = Stanza.message(self.to, MIA, id=f"{self.to.localpart}-{number}")
        self.bench.router.route(Tracked(stanza, partial(self._settled, number)))

    def _settled(self, number: int, error: StanzaError | None) -> None:
        self.flying.discard(number)
        if error is None:
            self.owed.remove(number)
        else:
            self.waits = True


class Peer:
    """The other server: what it has taken, over all streams; it dies, and confirms, when it likes."""

    def __init__(self, bench: Bench, chance: Random) -> None:
        self._bench = bench
        self._chance = chance
        self._stream: Stream | None = None
        self._confirmed = 0
        self._taken: list[str] = []  # ids

    @property
    def stream(self) -> Stream | None:
        """The one that is alive."""
        return self._stream if self._stream is not None and self._stream.usable else None

    def accepts(self) -> None:
        """Answer an attempt, if there is one."""
        if self._is_tried:
            self._confirmed = 0
            self._stream = self._bench.open()

    def refuses(self) -> None:
        """The same, with an error."""
        if self._is_tried:
            self._bench.fail(self._chance.choice([TIMEOUT, NOT_FOUND]))

    def confirms(self) -> None:
        """Some of what was sent."""
        self._confirms_up_to(self._chance.random())

    def confirms_all(self) -> None:
        """All of it."""
        self._confirms_up_to(1)

    def dies(self) -> None:
        """With it, what it has not taken."""
        stream = self.stream
        if stream is not None:
            self._ends(stream)
            stream.end()

    def dies_unnoticed(self) -> None:
        """Nobody has told the queue yet."""
        if self.stream is not None:
            self._ends(self.stream)
            self.stream.usable = False

    def is_known_to_be_dead(self) -> None:
        """Now the queue is told, if it still goes by that stream."""
        if self._stream is not None and not self._stream.usable:
            self._stream.end()

    def got(self, to: JID) -> list[int]:
        """The numbers of what came for somebody, when each came for the first time."""
        now = [] if self.stream is None else self.stream.ids
        names = [id.partition("-") for id in dict.fromkeys([*self._taken, *now])]
        return [int(number) for name, _, number in names if name == to.localpart]

    @property
    def _is_tried(self) -> bool:
        return bool(self._bench.attempts) and not self._bench.attempts[-1].called

    def _confirms_up_to(self, share: float) -> None:
        if self.stream is not None:
            sent = len(self.stream.sent)
            self._confirmed += round((sent - self._confirmed) * share)
            self.stream.confirm(self._confirmed)

    def _ends(self, stream: Stream) -> None:
        """It may have taken more than it has confirmed."""
        self._taken += stream.ids[: self._chance.randint(self._confirmed, len(stream.ids))]


@pytest.mark.parametrize("seed", CHANCES)
def test_each_address_gets_all_in_order_whatever_dies_when(bench, seed):
    chance = Random(seed)
    peer = Peer(bench, chance)
    senders = [Sender(bench, to) for to in (PAT, TOM)]
    steps: list[Callable[[], None]] = [
        *(sender.write for sender in senders * 3),
        *(sender.try_again for sender in senders),
        *[peer.accepts] * 3,
        peer.refuses,
        peer.confirms,
        peer.dies,
        peer.dies_unnoticed,
        peer.is_known_to_be_dead,
        lambda: bench.advance(FIRST_RETRY),
    ]
    for _ in range(300):
        chance.choice(steps)()
    for _ in range(100):
        peer.is_known_to_be_dead()
        bench.advance(1)
        peer.accepts()
        peer.confirms_all()
        for sender in senders:
            sender.try_again()
    for sender in senders:
        assert sender.written > 10
        assert list(range(1, sender.written + 1)) == peer.got(sender.to)
        assert [] == sender.owed


def _is_lost(told: list[StanzaError | None]) -> bool:
    return [error is not None and error.condition.value for error in told] == ["remote-server-timeout"]
