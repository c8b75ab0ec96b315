"""Another server around a library in memory: it takes what the queue owes its people, or is away."""

from __future__ import annotations

from refserver import ns
from refserver.core.hooks import RemoteReachable
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import outbox
from refserver.stanza import Stanza
from refserver.storage import outbox as store
from refserver.storage.conversations import Relay
from refserver.storage.conversations import of as history
from tests.server.harness import Client
from tests.server.library import ASK, Library, chat, write

HOME = "home.example"
PAT = JID.parse(f"pat@{HOME}")
MINUTE, HOUR, DAY = 60, 3600, 86400
KEPT = "* (The patron cannot be reached now. What you write is kept, and delivered as soon as possible.)"


class Home:
    """The destination of all that is sent to other servers: takes it, or is away."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.away: Condition | None = None
        self.confirms = True
        self.refuses: dict[str, Condition] = {}
        self.attempts: list[float] = []
        self.unconfirmed: list[Stanza] = []
        self._taken: list[Stanza] = []
        library.core.router.remote = self
        library.queue.outbox._random = lambda: 0.5

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`."""
        condition = self.refuses.get(stanza.body, self.away)
        if condition is not None:
            self.attempts.append(self._library.clock.seconds())
            self._library.core.router.bounce(stanza, StanzaError(condition))
            return
        if stanza.body:
            self._taken.append(stanza)
        if self.confirms:
            stanza.settle(None)
        else:
            self.unconfirmed.append(stanza)

    def back(self) -> None:
        """It is there again, and a stream shows it."""
        self.away = None
        self._library.core.hooks.tell(RemoteReachable(HOME))
        self._library.clock.pump([outbox.SOONEST_SECONDS, 1])

    def taken(self) -> list[Stanza]:
        """The messages with words that it took since the last look."""
        taken, self._taken = self._taken, []
        return taken

    def words(self) -> list[str]:
        return [stanza.body for stanza in self.taken()]


def restarted(library: Library, away: Condition | None = None) -> tuple[Library, Home]:
    """kill -9, and another server on the same database; the other server is `away` or not."""
    library.clock.advance(0)
    again = Library(library.database)
    again._answers = library._answers
    home = Home(again)
    home.away = away
    again.clock.advance(library.clock.seconds())
    return again, home


def ask(library: Library, body: str = "Maps?", patron: JID = PAT, id: str = "m1") -> None:
    library.arrive(
        f"<message from='{patron}/x' to='{ASK}' type='chat' id='{id}'><body>{body}</body></message>"
    )


def claimed(library: Library, home: Home) -> Client:
    """A librarian who has a question of a patron elsewhere."""
    mia = library.on_duty("mia")
    ask(library)
    write(mia, chat(), "Hello.", "a0")
    home.taken()
    mia.received()
    return mia


def answered_in_vain(library: Library, home: Home, closing: str = "") -> Client:
    """A librarian who says "Upstairs.", with the id a1, while the patron's server is away; then `closing`."""
    mia = claimed(library, home)
    home.away = Condition.REMOTE_SERVER_TIMEOUT
    write(mia, chat(), "Upstairs.", "a1")
    if closing:
        write(mia, chat(), closing)
    return mia


def wait(library: Library, seconds: float, step: float = 60.0) -> None:
    """Let time pass, with whatever falls due on the way."""
    library.clock.pump([step] * round(seconds / step))


def delays(stanzas: list[Stanza]) -> list[str]:
    found = [stanza.child(ns.DELAY, "delay") for stanza in stanzas]
    return ["" if delay is None else delay.get("stamp", "") for delay in found]


def send_back(
    library: Library, id: str, condition: str, type: str = "cancel", sender: str = PAT.text
) -> None:
    """The patron's own server answers with an error."""
    error = f"<error type='{type}'><{condition} xmlns='{ns.STANZAS}'/></error>"
    library.arrive(f"<message from='{sender}' to='{ASK}/queue' type='error' id='{id}'>{error}</message>")


def relays(library: Library, number: int = 1) -> dict[str, Relay]:
    stored = library.database.read_now(history, library.question(number).id)
    return {message.body: message.relay for message in stored}


def owing(library: Library) -> int:
    return library.database.read_now(store.count)
