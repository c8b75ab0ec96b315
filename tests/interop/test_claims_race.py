"""Two librarians who claim the same question at the same moment, over two sockets: exactly one gets it."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter

import pytest
from attrs import frozen

from tests.interop.peers import Librarian, Library, Patron
from tests.interop.peers.people import body

RACES = 200
SEED = 20260214

_OUTCOME = re.compile(
    r"#(\d+) is yours\.|(\w+) was first: #(\d+) is taken\.( What you wrote was not delivered\.)?"
)


@frozen
class Attempt:
    """What a librarian does to get a question: `!417` at the desk, or a first plain reply in its chat."""

    librarian: Librarian
    number: int
    by_reply: bool

    @property
    def words(self) -> str:
        """Her reply, if she replies; nobody else says that, and she not in another race."""
        return f"{self.librarian.nick} answers question {self.number}" if self.by_reply else ""

    def make(self, start: threading.Barrier) -> None:
        """Wait for the other, then send."""
        librarian, number = self.librarian, self.number
        address, kind, text = librarian.desk, "groupchat", f"!{number}"
        if self.by_reply:
            address, kind, text = librarian.chat(number), "chat", self.words
        stanza = f"<message to='{address}' type='{kind}' id='r{number}'><body>{text}</body></message>"
        start.wait(10)
        librarian.send_raw(stanza)

    def outcome(self) -> re.Match[str]:
        """What she is told of it."""
        told = self.librarian.wait_for_message_that(
            lambda e: (
                (found := _OUTCOME.search(body(e))) is not None and str(self.number) in found.group(1, 3)
            )
        )
        found = _OUTCOME.search(body(told))
        assert found is not None
        return found


@pytest.mark.slow
def test_of_two_who_claim_at_once_exactly_one_wins(library):
    """200 times, by number and by first reply: one has it, the other learns who, and her words go nowhere."""
    library.set_up(librarians=("mia", "ben"), patrons=("pat",))
    rivals = library.librarian("mia"), library.librarian("ben")
    pat = library.patron("pat")
    chance = random.Random(SEED)
    won = Counter(race(library, pat, rivals, chance) for _ in range(RACES))

    report = library.report()
    assert (RACES, 0) == (report["questions"], report["open"])
    assert {"answered": RACES} == report["by_outcome"]
    assert (0, 0) == (report["transfers"], report["releases"])
    print(f"seed {SEED}; won: {dict(won)}")
    assert min(won["mia"], won["ben"]) >= RACES // 20, "it was no race"


def race(library: Library, pat: Patron, rivals: tuple[Librarian, Librarian], chance: random.Random) -> str:
    """One question, claimed by both at once; who got it."""
    words = f"Question of {chance.random()}?"
    pat.ask(words)
    number, same = (librarian.announced(words) for librarian in rivals)
    assert number == same
    attempts = [Attempt(librarian, number, chance.random() < 0.5) for librarian in rivals]
    make_at_once(attempts, chance)
    outcomes = {attempt: attempt.outcome() for attempt in attempts}
    winners = [attempt for attempt, outcome in outcomes.items() if outcome[1]]
    assert 1 == len(winners), {attempt.librarian.nick: found[0] for attempt, found in outcomes.items()}
    (winner,) = winners
    (loser,) = set(attempts) - {winner}
    assert winner.librarian.nick == outcomes[loser][2]
    assert loser.by_reply == bool(outcomes[loser][4])

    check_record(library, winner)
    heard = ["Thank you, your question is here. A librarian will answer in a moment."]
    heard += [f"{winner.librarian.nick} is with you now.", *filter(None, [winner.words])]
    assert heard == pat.take_words(library.queue)
    for librarian in rivals:
        librarian.at_desk(f"#{number} is with {winner.librarian.nick}.")
    close(pat, winner.librarian, number)
    for librarian in rivals:
        librarian.take_words()
    return winner.librarian.nick


def make_at_once(attempts: list[Attempt], chance: random.Random) -> None:
    """Each in a thread of its own, started in random order, sent at the same moment."""
    start = threading.Barrier(len(attempts))
    threads = [threading.Thread(target=attempt.make, args=(start,)) for attempt in attempts]
    chance.shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check_record(library: Library, winner: Attempt) -> None:
    """The store knows one owner, and no words but hers."""
    question = library.question(winner.number)
    assert ("claimed", winner.librarian.nick) == (question["state"], question["librarian"])
    assert int(winner.by_reply) == question["messages"]["staff"]


def close(pat: Patron, librarian: Librarian, number: int) -> None:
    """End it."""
    librarian.write(number, "!close 1")
    librarian.hears(number, f"#{number} is closed.")
    pat.hears("Thank you for asking.")
