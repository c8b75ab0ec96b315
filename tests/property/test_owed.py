"""Whatever happens to streams and servers, a patron elsewhere gets everything, once and in order."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from refserver.errors import Condition, StanzaError
from refserver.reference import outbox
from refserver.stanza import Stanza
from refserver.storage import outbox as store
from tests.server.elsewhere import Home, ask, wait
from tests.server.library import Library, chat, write


class Peer(Home):
    """A server that takes what it is sent, and confirms it later or never."""

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`. What has no words does not matter here."""
        if stanza.body:
            super().deliver(stanza)


class Owing(RuleBasedStateMachine):
    """A librarian answers; streams end, servers die, time passes. A stream confirms in its order."""

    @initialize()
    def begin(self) -> None:
        self.library = Library()
        self.peer = Peer(self.library)
        self.said: list[str] = []
        self.heard: list[str] = []
        ask(self.library)
        self.on_duty()
        self.say()
        self.look()

    def on_duty(self) -> None:
        self.mia = self.library.on_duty("mia")

    def look(self) -> None:
        """Clients show what they have had before, by its id, only once."""
        for stanza in self.peer.taken():
            if stanza.id.startswith("answer") and stanza.id not in self.heard:
                self.heard.append(stanza.id)

    @rule()
    def say(self) -> None:
        id = f"answer{len(self.said)}"
        write(self.mia, chat(), f"This is {id}.", id)
        self.said.append(id)
        self.library.clock.advance(0.01)

    @rule()
    def slow(self) -> None:
        self.peer.confirms = False

    @rule(number=st.integers(1, 5))
    def confirm(self, number: int) -> None:
        for _ in range(min(number, len(self.peer.unconfirmed))):
            self.peer.unconfirmed.pop(0).settle(None)

    @rule(arrived=st.integers(0, 5), away=st.booleans())
    def lose_stream(self, arrived: int, away: bool) -> None:
        """What is unconfirmed comes back; only the first few have arrived."""
        lost, self.peer.unconfirmed = self.peer.unconfirmed, []
        missing = {id(stanza) for stanza in lost[arrived:]}
        self.peer._taken = [stanza for stanza in self.peer._taken if id(stanza) not in missing]
        self.look()
        self.peer.away = Condition.REMOTE_SERVER_TIMEOUT if away else None
        for stanza in lost:
            stanza.settle(StanzaError(Condition.REMOTE_SERVER_TIMEOUT))

    @rule()
    def come_back(self) -> None:
        self.peer.confirms = True
        self.confirm(len(self.peer.unconfirmed))
        self.peer.back()

    @rule(seconds=st.sampled_from([1, 10, 100, 1000]))
    def time_passes(self, seconds: int) -> None:
        wait(self.library, seconds, seconds / 4)

    @rule(arrived=st.integers(0, 5))
    def die(self, arrived: int) -> None:
        """kill -9: of what is unconfirmed some has arrived, and nobody will say so."""
        missing = {id(stanza) for stanza in self.peer.unconfirmed[arrived:]}
        self.peer._taken = [stanza for stanza in self.peer._taken if id(stanza) not in missing]
        self.look()
        before = self.peer
        self.library.clock.advance(0)
        again = Library(self.library.database)
        again._answers = self.library._answers
        self.peer = Peer(again)
        self.peer.away, self.peer.confirms = before.away, before.confirms
        again.clock.advance(self.library.clock.seconds())
        self.library = again
        self.on_duty()

    @invariant()
    def nothing_overtakes(self) -> None:
        """What has arrived is a beginning of what was said."""
        if not self.peer.unconfirmed:
            self.look()
            assert self.said[: len(self.heard)] == self.heard

    def teardown(self) -> None:
        """In the end everything is there."""
        self.come_back()
        wait(self.library, 2 * outbox.UNSETTLED_SECONDS, 5)
        self.look()
        assert self.said == self.heard
        assert {} == self.library.queue.outbox._recipients
        assert 0 == self.library.database.read_now(store.count)


def test_everything_owed_arrives_once_and_in_order() -> None:
    run_state_machine_as_test(
        Owing,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
