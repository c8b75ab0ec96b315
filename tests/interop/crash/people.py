"""Patrons and librarians who work without a pause and remember what they were told.

Each has a client of a few lines. Where a connection is lost, they log in again and send once more, under its
id, what they have no receipt for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from random import Random
from xml.etree.ElementTree import Element

from attrs import define, field

from tests.interop.crash.ledger import Deed, Doing, Ledger
from tests.interop.crash.said import Record
from tests.interop.crash.store import Stored
from tests.interop.peers.people import DELAY, RECEIPTS, body
from tests.interop.peers.wire_client import WireClient

_REQUEST = "<request xmlns='urn:xmpp:receipts'/>"
_ROOM = "http://jabber.org/protocol/muc"
MOST_WITHOUT_RECEIPT = 3


@define(eq=False)
class Floor:
    """The library in which all of them work."""

    domain: str
    address: tuple[str, int]
    password: str
    chance: Random
    said: Record = field(factory=Record)
    ledger: Ledger = field(factory=Ledger)
    answers: int = 0
    """How often somebody was told something that counts."""
    heard: asyncio.Event = field(factory=asyncio.Event)

    @property
    def queue(self) -> str:
        """The queue's address."""
        return f"ask@{self.domain}"

    @property
    def desk(self) -> str:
        """The desk room's."""
        return f"ask@rooms.{self.domain}"

    def told(self) -> None:
        """Somebody was told something that counts."""
        self.answers += 1
        self.heard.set()


class Person:
    """Somebody with one client at a time."""

    def __init__(self, name: str, floor: Floor) -> None:
        self.name = name
        self.floor = floor
        self.client: WireClient | None = None
        self.tidying = False
        """True if she begins nothing new any more."""
        self._count = 0

    async def work(self) -> None:
        """Log in, send again what has no receipt, go on. Ends with the connection."""
        raise AssertionError("each kind of person does")

    async def log_in(self) -> None:
        """Log in anew. Raises ConnectionError."""
        self.client = WireClient(f"{self.name}@{self.floor.domain}", self.taken)
        await self.client.log_in(self.floor.address, self.floor.password, f"run{self.floor.said.run}")
        self.send("<presence/>")

    def send(self, xml: str) -> None:
        """Send by the client there is."""
        assert self.client is not None
        self.client.send(xml)

    def message(self, to: str, id: str, words: str, kind: str = "chat", more: str = "") -> None:
        """Send words."""
        self.send(f"<message to='{to}' type='{kind}' id='{id}'><body>{words}</body>{more}</message>")

    def new_id(self) -> str:
        """An id that nobody has used."""
        self._count += 1
        return f"{self.name}-{self._count}"

    def taken(self, stanza: Element) -> None:
        """A stanza has come."""
        raise AssertionError("each kind of person does")


class Patron(Person):
    """Asks, and says more, without end; confirms what comes."""

    def __init__(self, name: str, floor: Floor) -> None:
        super().__init__(name, floor)
        self.unconfirmed: list[str] = []

    async def work(self) -> None:
        """Log in, send again what has no receipt, go on. Ends with the connection."""
        await self.log_in()
        for id in self.unconfirmed:
            self._send(id)
        while True:
            await asyncio.sleep(self.floor.chance.uniform(0.01, 0.05))  # she thinks
            if not self.tidying and len(self.unconfirmed) < MOST_WITHOUT_RECEIPT:
                id = self.new_id()
                self.floor.said.say(id, "patron")
                self.unconfirmed.append(id)
                self._send(id)

    def _send(self, id: str) -> None:
        self.message(self.floor.queue, id, f"{id} it is what I ask", more=_REQUEST)

    def taken(self, stanza: Element) -> None:
        """A receipt, or words of a librarian."""
        confirmed = stanza.find(f"{RECEIPTS}received")
        if confirmed is not None:
            id = confirmed.get("id", "")
            self.floor.said.receipt(id)
            if id in self.unconfirmed:
                self.unconfirmed.remove(id)
            self.floor.told()
        elif body(stanza) and stanza.get("id", "") in self.floor.said.by_id:
            id = stanza.get("id", "")
            assert body(stanza).startswith(f"{id} "), "an id and the words of another"
            self.floor.said.see(id, stanza.find(DELAY) is not None, self.name)
            received = f"<received xmlns='urn:xmpp:receipts' id='{id}'/>"
            self.send(f"<message to='{self.floor.queue}' type='chat'>{received}</message>")
            self.floor.told()


_TOKENS = re.compile(r"(\w+-\d+) it is what I (?:ask|answer)")
_NUMBER = re.compile(r"#(\d+)")
_YES = {
    Doing.TAKE: re.compile(r"\* #\d+ is yours\."),
    Doing.RELEASE: re.compile(r"\* #\d+ is back in the queue\."),
    Doing.HAND_OVER: re.compile(r"\* \w+ was asked to take #\d+\."),
    Doing.DECLINE: re.compile(r"\* #\d+ stays where it is\."),
    Doing.CLOSE: re.compile(r"\* #\d+ is closed\."),
    Doing.REOPEN: re.compile(r"\* #\d+ is open again and yours\."),
}
_NEWS = re.compile(
    r"\(Noted\.|could not be delivered|is no longer offered|was first: #|is back in the queue"
    r"|has left the line"
)
_NO = re.compile(
    r"was first: #\d+ is taken\.|is not yours|Nobody has taken this question yet|This question is closed"
    r"|This question is open and has an owner|Nobody asked you to take over"
    r"|The patron has asked #\d+ meanwhile"
)


class Librarian(Person):
    """Takes what waits, answers, hands over, releases, closes, opens again: a question one deed at a time."""

    def __init__(self, name: str, floor: Floor, colleagues: tuple[str, ...]) -> None:
        super().__init__(name, floor)
        self.colleagues = [colleague for colleague in colleagues if colleague != name]
        self.waiting: set[int] = set()
        self.mine: set[int] = set()
        self.handed: set[int] = set()
        self.asked: set[int] = set()
        self.closed: list[int] = []
        self.unconfirmed: dict[str, int] = {}
        self._deeds: dict[int, Deed] = {}
        self._at_desk: Deed | None = None
        self._replies: dict[int, str] = {}

    def remember(self, questions: Mapping[int, Stored]) -> None:
        """See from the store what is hers: the answers to her last deeds she may have missed."""
        claimed = {number: one for number, one in questions.items() if one.state == "claimed"}
        self.mine = {number for number, one in claimed.items() if one.owner == self.name}
        self.handed = {number for number in self.mine if claimed[number].handed_to}
        self.asked = {number for number, one in claimed.items() if one.handed_to == self.name}
        self.waiting.clear()

    async def work(self) -> None:
        """Log in, go to the desk, send again what has no receipt, go on. Ends with the connection."""
        self._deeds.clear()
        self._replies.clear()
        self._at_desk = None
        await self.log_in()
        self.send(f"<presence to='{self.floor.desk}/{self.name}'><x xmlns='{_ROOM}'/></presence>")
        again, self.unconfirmed = self.unconfirmed, {}
        for id, number in again.items():
            if number in self.mine - self.handed:
                self._answer(number, id)
        self.unconfirmed.clear()  # once is enough: what was handed over before gets no receipt any more
        while True:
            await asyncio.sleep(self.floor.chance.uniform(0.005, 0.03))  # she types
            self._do_something()

    # -- doing ---------------------------------------------------------------------

    def _do_something(self) -> None:
        chance = self.floor.chance
        takeable = [n for n in (*self.waiting, *self.asked) if n not in self._deeds]
        workable = [n for n in self.mine - self.handed if n not in self._deeds]
        if takeable and (self.tidying or not workable or chance.random() < 0.4):
            self._take(chance.choice(takeable))
        elif workable:
            self._work_on(chance.choice(workable), chance.random())
        elif self.closed and not self.tidying and chance.random() < 0.2:
            self._command(self.closed.pop(), Doing.REOPEN, "!reopen")

    def _take(self, number: int) -> None:
        chance = self.floor.chance.random()
        if number in self.asked and chance < 0.2 and not self.tidying:
            self._command(number, Doing.DECLINE, "!decline")
        elif chance < 0.6 or self.tidying:
            if self._at_desk is None:
                self._at_desk = self._deeds[number] = self.floor.ledger.sent(self.name, Doing.TAKE, number)
                self.message(self.floor.desk, self.new_id(), f"!{number}", "groupchat")
        else:
            self._deeds[number] = self.floor.ledger.sent(self.name, Doing.TAKE, number)
            id = self._replies[number] = self.new_id()
            self.floor.said.say(id, "staff")
            self._answer(number, id)

    def _work_on(self, number: int, chance: float) -> None:
        if self.tidying:
            return
        if chance < 0.6:
            id = self.new_id()
            self.floor.said.say(id, "staff")
            self._answer(number, id)
        elif chance < 0.65:
            self.message(self._chat(number), self.new_id(), "!note nothing")
        elif chance < 0.75:
            self._command(number, Doing.RELEASE, "!release")
        elif chance < 0.85:
            colleague = self.floor.chance.choice(self.colleagues)
            self.handed.add(number)
            self._command(number, Doing.HAND_OVER, f"!to {colleague}", colleague)
        else:
            self._command(number, Doing.CLOSE, "!close 3")

    def _command(self, number: int, doing: Doing, words: str, about: str = "") -> None:
        self._deeds[number] = self.floor.ledger.sent(self.name, doing, number, about)
        self.message(self._chat(number), self.new_id(), words)

    def _answer(self, number: int, id: str) -> None:
        self.unconfirmed[id] = number
        self.message(self._chat(number), id, f"{id} it is what I answer", more=_REQUEST)

    def _chat(self, number: int) -> str:
        return f"ask+{number}@{self.floor.domain}"

    # -- hearing -------------------------------------------------------------------

    def taken(self, stanza: Element) -> None:
        """Something at the desk, or in the chat of a question."""
        received = stanza.find(f"{RECEIPTS}received")
        if received is not None:
            self.unconfirmed.pop(received.get("id", ""), None)
            self.floor.said.receipt(received.get("id", ""))
            self.floor.told()
        elif stanza.get("from", "").startswith(self.floor.desk):
            self._at_the_desk(body(stanza))
        elif body(stanza).startswith("* "):
            self._explained(_number(stanza), body(stanza))
        elif body(stanza):
            self._words(stanza)

    def _words(self, stanza: Element) -> None:
        """A patron's words, or words that are told again: then they have no id."""
        id = stanza.get("id", "")
        if id in self.floor.said.by_id:
            assert body(stanza).startswith(f"{id} "), "an id and the words of another"
            self.floor.said.see(id, stanza.find(DELAY) is not None, self.name)
        else:
            self._retold(body(stanza))
        self.floor.told()

    def _retold(self, words: str) -> None:
        """She is told, without its id, what somebody said before."""
        for id in _TOKENS.findall(words):
            self.floor.said.by_id[id].retold = True

    def _at_the_desk(self, words: str) -> None:
        if self._at_desk is not None and (_NO.search(words) or words.startswith("There is no question")):
            number = next(n for n, deed in self._deeds.items() if deed is self._at_desk)
            self._end(number, done=False)
        for line in words.splitlines():
            found = _NUMBER.search(line)
            if found and "to take" in line:
                self.waiting.add(int(found[1]))
            elif found and " is with " in line:
                self.waiting.discard(int(found[1]))
            elif found and " has released " in line:
                self.waiting.add(int(found[1]))

    def _explained(self, number: int, words: str) -> None:
        deed = self._deeds.get(number)
        if words.startswith(f"* New question #{number} "):
            self.floor.ledger.offered(number, self.name)
            self.waiting.add(number)
        elif "asks you to take over" in words:
            self.asked.add(number)
        elif "has taken over" in words:
            self.mine.discard(number)
            self.handed.discard(number)
        elif "; it stays yours" in words:
            self.handed.discard(number)
        elif deed is not None and _YES[deed.doing].match(words):
            self._end(number, done=True)
        elif deed is not None and _NO.search(words):
            self._end(number, done=False)
        else:
            assert _NEWS.search(words), words
        self.floor.told()

    def _end(self, number: int, done: bool) -> None:
        """The answer to a deed has come."""
        deed = self._deeds.pop(number)
        reply = self._replies.pop(number, None)
        self.floor.ledger.answered(deed, done)
        if deed is self._at_desk:
            self._at_desk = None
        self.waiting.discard(number)
        self.asked.discard(number)
        if deed.doing in (Doing.TAKE, Doing.REOPEN) and done:
            self.mine.add(number)
        elif deed.doing in (Doing.RELEASE, Doing.CLOSE) or (not done and deed.doing is not Doing.DECLINE):
            self.mine.discard(number)
            self.handed.discard(number)
        if deed.doing is Doing.CLOSE and done:
            self.closed.append(number)
        if reply is not None and not done:
            self.floor.said.by_id[reply].refused = True
            self.unconfirmed.pop(reply, None)


def _number(stanza: Element) -> int:
    """The question whose chat a message comes from."""
    return int(stanza.get("from", "").partition("+")[2].partition("@")[0])
