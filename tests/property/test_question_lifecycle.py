"""The life of questions against a model: whatever patrons and librarians do, in whatever order."""

from __future__ import annotations

from collections import Counter

from attrs import define, field
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from refserver.jid import JID
from refserver.reference import answering, asking, closing
from refserver.reference.asking import Asker, Utterance
from refserver.reference.states import (
    FINISHED,
    OPEN,
    TABLE,
    UNCLAIMED,
    AlreadyClaimed,
    NotYours,
    Outcome,
    PatronBusy,
    Refusal,
    State,
    Verb,
    WrongState,
)
from refserver.storage import Database, conversations, libraries, questions, queues, statistics
from refserver.storage.conversations import Direction

PATRONS = [JID.parse(f"patron{number}@home.example") for number in range(3)]
STAFF = [JID.parse(f"{name}@library.example") for name in ("mia", "noa", "lou")]
NICKS = {jid: jid.localpart for jid in STAFF}

patrons = st.sampled_from(PATRONS)
staff = st.sampled_from(STAFF)
outcomes = st.sampled_from([Outcome.ANSWERED, Outcome.REFERRED, Outcome.FOLLOW_UP, Outcome.SPAM])


@define
class Expected:
    """The model of one question."""

    patron: JID
    asked_at: float
    state: State = State.WAITING
    owner: JID | None = None
    handed_to: JID | None = None
    first_claim: float | None = None
    said: Counter[Direction] = field(factory=Counter)
    transfers: int = 0
    releases: int = 0
    outcome: str = ""
    level: int | None = None


class Lifecycle(RuleBasedStateMachine):
    """Verbs in any order; the store and the model must agree after each."""

    @initialize()
    def open_library(self) -> None:
        self.database = Database.memory()
        self.now = 1_700_000_000.0
        self.expected: dict[int, Expected] = {}
        self.database.write_now(libraries.add, "library.example", "Library")
        self.queue = self.database.write_now(queues.add, JID.parse("ask@library.example")).id
        for jid in STAFF:
            librarian = queues.Librarian(jid, NICKS[jid], 3)
            self.database.write_now(queues.put_librarian, self.queue, librarian)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close_now()

    # -- what is compared ------------------------------------------------------

    def one(self, data: st.DataObject) -> tuple[int, Expected]:
        number = data.draw(st.sampled_from(sorted(self.expected)))
        return number, self.expected[number]

    def id_of(self, number: int) -> int:
        found = self.database.read_now(questions.find, "library.example", number)
        assert found is not None
        return found.id

    def allowed(self, expected: Expected, verb: Verb) -> bool:
        return (expected.state, verb) in TABLE

    def attempt(self, function, *args, **kwargs):
        """The refusal's type, or None if it was done."""
        self.now += 1.5
        try:
            self.database.write_now(function, *args, **kwargs)
        except Refusal as refusal:
            return type(refusal)
        return None

    # -- the patron ------------------------------------------------------------

    @rule(patron=patrons)
    def patron_writes(self, patron: JID) -> None:
        self.now += 1.5
        said = self.database.write_now(
            asking.say, self.queue, Asker(patron), Utterance("words", f"id{self.now}"), now=self.now
        )
        open_ones = [n for n, e in self.expected.items() if e.patron == patron and e.state in OPEN]
        assert said.new == (not open_ones)
        if said.new:
            assert said.question.number == len(self.expected) + 1
            self.expected[said.question.number] = Expected(patron, self.now)
        else:
            assert open_ones == [said.question.number]
            expected = self.expected[said.question.number]
            expected.state = TABLE[expected.state, Verb.ADD]
        self.expected[said.question.number].said[Direction.PATRON] += 1

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def same_message_again(self, data: st.DataObject) -> None:
        number, expected = self.one(data)
        message = self.database.read_now(conversations.of, self.id_of(number))[0]
        assume(expected.state in OPEN and message.sent_at > self.now - 600)
        said = self.database.write_now(
            asking.say,
            self.queue,
            Asker(expected.patron),
            Utterance("words", message.origin_id),
            now=self.now,
        )
        assert said.again
        assert said.message == message

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def patron_gives_up(self, data: st.DataObject) -> None:
        number, expected = self.one(data)
        refusal = self.attempt(closing.abandon, self.id_of(number), now=self.now)
        assert refusal is (None if expected.state in UNCLAIMED else WrongState)
        if refusal is None:
            expected.state, expected.outcome = State.ABANDONED, "abandoned"

    # -- the dispatcher ----------------------------------------------------------

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=st.none() | staff)
    def offered(self, data: st.DataObject, librarian: JID | None) -> None:
        number, expected = self.one(data)
        done = self.database.write_now(answering.offer, self.id_of(number), librarian, self.now)
        assert (done is not None) == (expected.state in UNCLAIMED)
        if done is not None:
            expected.state = State.OFFERED

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), verb=st.sampled_from([answering.widen, answering.withdraw]))
    def offer_ends(self, data: st.DataObject, verb) -> None:
        number, expected = self.one(data)
        done = self.database.write_now(verb, self.id_of(number))
        assert (done is not None) == (expected.state is State.OFFERED)
        if done is not None and verb is answering.withdraw:
            expected.state = State.WAITING

    # -- the librarians ------------------------------------------------------------

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), order=st.permutations(STAFF))
    def all_claim(self, data: st.DataObject, order: list[JID]) -> None:
        number, expected = self.one(data)
        claimable = self.allowed(expected, Verb.CLAIM)
        refusals = [self.attempt(answering.claim, self.id_of(number), jid, self.now) for jid in order]
        if claimable:
            assert refusals == [None, AlreadyClaimed, AlreadyClaimed]
            self.taken(expected, order[0], self.now - 3)  # the two losers came later
        else:
            lost = AlreadyClaimed if expected.state is State.CLAIMED else WrongState
            assert refusals == [lost] * 3

    def taken(self, expected: Expected, librarian: JID, at: float) -> None:
        expected.state, expected.owner, expected.outcome = State.CLAIMED, librarian, ""
        if expected.first_claim is None:
            # `attempt` counts 1.5 s before it calls with the time from before
            expected.first_claim = at - 1.5

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=staff)
    def librarian_replies(self, data: st.DataObject, librarian: JID) -> None:
        number, expected = self.one(data)
        words = Utterance("words", f"id{self.now}")
        refusal = self.attempt(answering.reply, self.id_of(number), librarian, words, now=self.now)
        if expected.owner == librarian and expected.state is State.CLAIMED:
            assert refusal is None
        elif expected.handed_to == librarian:
            assert refusal is None
            expected.owner, expected.handed_to = librarian, None
            expected.transfers += 1
        elif self.allowed(expected, Verb.CLAIM):
            assert refusal is None
            self.taken(expected, librarian, self.now)
        else:
            assert refusal in (AlreadyClaimed, WrongState)
            return
        expected.said[Direction.STAFF] += 1

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=staff)
    def librarian_notes(self, data: st.DataObject, librarian: JID) -> None:
        number, expected = self.one(data)
        words = Utterance("words", f"id{self.now}")
        refusal = self.attempt(answering.note, self.id_of(number), librarian, words, now=self.now)
        assert refusal is (None if expected.state in OPEN else WrongState)
        expected.said[Direction.NOTE] += refusal is None

    def owner_only(self, expected: Expected, librarian: JID, verb: Verb):
        if not self.allowed(expected, verb):
            return WrongState
        return None if expected.owner == librarian else NotYours

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=staff)
    def released(self, data: st.DataObject, librarian: JID) -> None:
        number, expected = self.one(data)
        refusal = self.attempt(answering.release, self.id_of(number), librarian)
        assert refusal is self.owner_only(expected, librarian, Verb.RELEASE)
        if refusal is None:
            expected.state, expected.owner, expected.handed_to = State.WAITING, None, None
            expected.releases += 1

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=staff, other=staff)
    def handed_over(self, data: st.DataObject, librarian: JID, other: JID) -> None:
        number, expected = self.one(data)
        refusal = self.attempt(answering.hand_over, self.id_of(number), librarian, NICKS[other])
        if refusal is None:
            assert expected.owner == librarian != other
            expected.handed_to = other
        elif librarian != other:
            assert refusal is self.owner_only(expected, librarian, Verb.HAND_OVER)

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=staff, yes=st.booleans())
    def hand_over_answered(self, data: st.DataObject, librarian: JID, yes: bool) -> None:
        number, expected = self.one(data)
        wanted = expected.handed_to == librarian
        taken_back = not yes and expected.handed_to is not None and expected.owner == librarian
        if yes:
            refusal = self.attempt(answering.accept, self.id_of(number), librarian, self.now)
        else:
            refusal = self.attempt(answering.decline, self.id_of(number), librarian)
        assert (refusal is None) == (wanted or taken_back)
        if refusal is None:
            expected.handed_to = None
            if yes:
                expected.owner = librarian
                expected.transfers += 1

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=staff, outcome=outcomes, level=st.none() | st.integers(1, 6))
    def closed(self, data: st.DataObject, librarian: JID, outcome: Outcome, level: int | None) -> None:
        number, expected = self.one(data)
        refusal = self.attempt(
            closing.close, self.id_of(number), librarian, now=self.now, level=level, outcome=outcome
        )
        assert refusal is self.owner_only(expected, librarian, Verb.CLOSE)
        if refusal is None:
            ends = {Outcome.REFERRED: State.REFERRED, Outcome.FOLLOW_UP: State.PARKED}
            expected.state = ends.get(outcome, State.CLOSED)
            expected.owner = None if expected.state is State.PARKED else librarian
            expected.handed_to = None
            expected.outcome, expected.level = outcome, level

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), librarian=staff)
    def reopened(self, data: st.DataObject, librarian: JID) -> None:
        number, expected = self.one(data)
        busy = any(
            e.state in OPEN and e.patron == expected.patron for n, e in self.expected.items() if n != number
        )
        refusal = self.attempt(closing.reopen, self.id_of(number), librarian, now=self.now)
        if expected.state not in FINISHED:
            assert refusal is WrongState
        elif busy:
            assert refusal is PatronBusy
        else:
            assert refusal is None
            self.taken(expected, librarian, self.now)

    # -- what always holds -----------------------------------------------------------

    @invariant()
    def store_agrees(self) -> None:
        if not hasattr(self, "database"):
            return
        for number, expected in self.expected.items():
            found = self.database.read_now(questions.find, "library.example", number)
            assert found is not None
            assert (found.state, found.owner) == (expected.state, expected.owner)
            assert found.handed_to == expected.handed_to
            assert (found.state == State.CLAIMED) <= (found.owner is not None)
            assert (found.owner is None) >= (found.state in UNCLAIMED)
            assert (found.closed_at is not None) == (found.state in FINISHED)

    @invariant()
    def numbers_have_no_holes(self) -> None:
        if hasattr(self, "database"):
            everything = self.database.read_now(questions.in_states, list(State), self.queue)
            assert sorted(q.number for q in everything) == list(range(1, len(self.expected) + 1))

    @invariant()
    def statistics_count_what_was_done(self) -> None:
        if not hasattr(self, "database"):
            return
        for number, expected in self.expected.items():
            row = self.database.read_now(statistics.of, self.id_of(number))
            assert row is not None
            assert (row.transfers, row.releases) == (expected.transfers, expected.releases)
            assert row.outcome == expected.outcome
            waited = None if expected.first_claim is None else expected.first_claim - expected.asked_at
            assert row.wait == waited
            if expected.state in FINISHED:
                assert row.patron_messages == expected.said[Direction.PATRON]
            if expected.state in (State.CLOSED, State.REFERRED):
                assert row.staff_messages == expected.said[Direction.STAFF]
                assert row.read_level == expected.level

    @invariant()
    def nothing_said_is_lost_or_doubled(self) -> None:
        if not hasattr(self, "database"):
            return
        for number, expected in self.expected.items():
            said = self.database.read_now(conversations.of, self.id_of(number))
            assert Counter(message.direction for message in said) == +expected.said
            assert [message.sequence for message in said] == list(range(1, len(said) + 1))


def test_lifecycle_agrees_with_the_model() -> None:
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
