"""What was said: whether its sender has a receipt, and how often its recipients were given it."""

from __future__ import annotations

from itertools import pairwise

from attrs import define, field, frozen

from tests.interop.crash.store import Snapshot


@frozen
class Sight:
    """A client was given a message under its id: whose, in which run, and whether marked as late."""

    run: int
    late: bool
    by: str


@define(eq=False)
class Said:
    """A message. `receipt` is the run in which its sender got the receipt, 0: not yet."""

    id: str
    direction: str
    receipt: int = 0
    refused: bool = False
    seen: list[Sight] = field(factory=list)
    retold: bool = False

    def wrong_sights(self) -> list[str]:
        """Everything a recipient should not have seen, or should have."""
        wrong = []
        if self.refused and (self.seen or self.retold):
            wrong.append(f"{self.id} was refused, and seen all the same")
        for by in {sight.by for sight in self.seen}:
            seen = [sight for sight in self.seen if sight.by == by]
            for first, again in pairwise(seen):
                received = self.direction == "staff" and 0 < self.receipt <= first.run
                if again.run == first.run or received:
                    wrong.append(f"{self.id} was seen twice: {seen}, receipt in run {self.receipt}")
                elif self.direction == "staff" and not again.late:
                    wrong.append(f"{self.id} was seen again and not marked as late: {seen}")
        return wrong


class Record:
    """Everything said during a test."""

    def __init__(self) -> None:
        self.by_id: dict[str, Said] = {}
        self.run = 0

    def say(self, id: str, direction: str) -> None:
        """Somebody says something for the first time."""
        self.by_id[id] = Said(id, direction)

    def receipt(self, id: str) -> None:
        """Its sender got the receipt."""
        said = self.by_id[id]
        said.receipt = said.receipt or self.run

    def see(self, id: str, late: bool, by: str) -> None:
        """A recipient was given it."""
        self.by_id[id].seen.append(Sight(self.run, late, by))

    def check(self, snapshot: Snapshot) -> list[str]:
        """What the store lacks, has twice or should not have, and what recipients saw twice."""
        wrong = []
        for said in self.by_id.values():
            stored = snapshot.messages[said.direction, said.id]
            if stored > 1 or stored < bool(said.receipt) or (said.refused and stored):
                wrong.append(f"{said} is {stored} times in the store")
            wrong += said.wrong_sights()
        return wrong

    def unseen(self) -> list[str]:
        """Messages with a receipt that nobody ever saw."""
        return [said.id for said in self.by_id.values() if said.receipt and not said.seen and not said.retold]
