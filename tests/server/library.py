"""A library in memory with one queue, `ask@library.example`, two librarians and its desk room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from refserver.core.feature import Feature
from refserver.core.hooks import HostAdded, HostsComing
from refserver.core.hosts import Host
from refserver.features.account_data import PrivateData
from refserver.features.library_access import LibraryAccess
from refserver.features.messages import Messages
from refserver.features.offline import Offline
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.reference.feature import Reference
from refserver.reference.offices import appoint
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.queue import Queue
from refserver.stanza import Stanza
from refserver.storage import Database, conversations, libraries, questions, queues
from refserver.storage.questions import Question
from tests.server.harness import Client, Harness

__all__ = ["ASK", "DOMAIN", "ROOM", "Library", "bodies", "chat", "messages", "write"]

DOMAIN = "library.example"
ASK = JID.parse(f"ask@{DOMAIN}")
ROOM = f"ask@rooms.{DOMAIN}"


class Library(Harness):
    """The harness with a queue in it. `settings` are the queue's."""

    def __init__(
        self,
        database: Database | None = None,
        settings: dict[str, Any] | None = None,
        more_features: tuple[type[Feature], ...] = (),
        at: float = 0.0,
        **queue: Any,
    ) -> None:
        self._patrons: dict[str, Client] = {}
        features: list[type[Feature]] = [
            LibraryAccess,
            Messages,
            Offline,
            PrivateData,
            Reference,
            *more_features,
        ]
        super().__init__(features, domains=(), database=database, at=at)
        if database is None:
            self.database.write_now(libraries.add, DOMAIN, "Library")
            self.account(f"mia@{DOMAIN}")
            self.account(f"noa@{DOMAIN}")
            made = self.database.write_now(queues.add, ASK, title="Ask us", settings=settings, **queue)
            self.appoint("mia", made.id)
            self.appoint("noa", made.id)
        host = Host(DOMAIN, "Library")
        self.core.hosts.add(host)
        RoomService(self.core, host).start()
        if database is not None:
            self.core.hooks.tell(HostsComing(frozenset({DOMAIN})))
        self.core.hooks.tell(HostAdded(host))
        self.clock.advance(0)

    @property
    def queue(self) -> Queue:
        found = self.core.feature(Reference).queue(ASK)
        assert found is not None
        return found

    @property
    def open_questions(self) -> OpenQuestions:
        return self.core.feature(Reference).library(DOMAIN).open_questions

    def open_question(self, patron: JID) -> Question | None:
        return self.open_questions.of_patron(self.queue.profile.id, patron)

    def waiting(self) -> list[Question]:
        return self.open_questions.line(self.queue.profile.id)

    def appoint(self, nick: str, queue: int, max_chats: int = 3) -> None:
        librarian = queues.Librarian(JID.parse(f"{nick}@{DOMAIN}"), nick, max_chats)
        self.database.write_now(appoint, queue, librarian)

    def on_duty(self, nick: str) -> Client:
        """A librarian logged in and in the desk room; what she was told is forgotten."""
        client = self.online(f"{nick}@{DOMAIN}/desk")
        self.enter(client, nick)
        client.received()
        return client

    def enter(self, client: Client, nick: str, show: str = "") -> None:
        child = f"<show>{show}</show>" if show else ""
        client.send(
            f"<presence to='{ROOM}/{nick}'>{child}<x xmlns='http://jabber.org/protocol/muc'/></presence>"
        )

    def patron(self, name: str = "pat") -> Client:
        """A patron's client, logged in if it is not yet."""
        found = self._patrons.get(name)
        if found is None or self.core.sessions.get(found.jid) is not found.session:
            found = self._patrons[name] = self.online(f"{name}@{DOMAIN}/phone")
        return found

    def question(self, number: int = 1) -> Question:
        found = self.database.read_now(questions.find, DOMAIN, number)
        assert found is not None
        return found

    def said(self, number: int = 1) -> list[tuple[str, str]]:
        stored = self.database.read_now(conversations.of, self.question(number).id)
        return [(str(message.direction), message.body) for message in stored]

    @contextmanager
    def dying(self) -> Iterator[None]:
        """What is stored in the block is durable, but the server dies before it learns of it."""
        self._answers.held = []
        try:
            yield
        finally:
            self._answers.held = None

    def restart(self, within_the_turn: bool = False) -> Library:
        """kill -9, and another server on the same database.

        The end comes after the reactor's turn, or within it: then some connections were not yet written to.
        """
        if not within_the_turn:
            self.clock.advance(0)
        again = Library(self.database, at=self.clock.seconds())
        again._answers = self._answers
        return again


def write(client: Client, to: str, body: str, id: str = "", children: str = "") -> None:
    """Send a chat message."""
    given = f" id='{id}'" if id else ""
    client.send(f"<message to='{to}' type='chat'{given}><body>{body}</body>{children}</message>")


def chat(number: int = 1) -> str:
    """The address of a question's chat."""
    return f"ask+{number}@{DOMAIN}"


def bodies(client: Client, sender: str = "") -> list[str]:
    """The texts a client was sent since the last look, from one bare address or all."""
    received = [stanza for stanza in client.received() if stanza.kind == "message" and stanza.body]
    return [s.body for s in received if not sender or (s.from_ is not None and s.from_.bare.text == sender)]


def messages(client: Client, sender: str = "") -> list[Stanza]:
    """The messages a client was sent since the last look."""
    received = [stanza for stanza in client.received() if stanza.kind == "message"]
    return [s for s in received if not sender or (s.from_ is not None and s.from_.bare.text == sender)]
