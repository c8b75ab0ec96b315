"""A library of a running refserver, with the queue `ask`, and the people who ask and answer there.

What an operator sets up goes through the same door as `refserverctl`, within this process: a library of its
own for each test then costs milliseconds. What is about the command line itself calls `RefserverProcess.ctl`.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from types import TracebackType
from typing import Any, Self

from refserver.app.commands import Request
from refserver.app.commands.accounts import AddAccount
from refserver.app.commands.context import Caller
from refserver.app.commands.librarians import AddLibrarian
from refserver.app.commands.libraries import AddLibrary
from refserver.app.commands.questions import ListQuestions, MakeReport, ShowQuestion
from refserver.app.commands.queues import AddQueue, QueueOptions, SetQueue
from refserver.app.config import load
from refserver.sasl.verifier import LEAST_ITERATIONS, Hashing, Verifier, make_verifiers
from tests.interop.peers.people import Librarian, Patron
from tests.interop.peers.refserver_process import RefserverProcess

PASSWORD = "everybody's word"


class Library:
    """One library. Who logged in through it is logged out when it is left, as a context manager."""

    def __init__(self, server: RefserverProcess, domain: str) -> None:
        self.server = server
        self.domain = domain
        self.queue = f"ask@{domain}"
        self.desk = f"ask@rooms.{domain}"
        self._people = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._people.close()

    # -- the operator --------------------------------------------------------------

    def set_up(self, librarians: tuple[str, ...] = (), patrons: tuple[str, ...] = (), **wishes: Any) -> Self:
        """Make the library, its queue (`wishes` as for `QueueOptions`), and accounts for these people."""
        self.server.authority.certify(self.domain)
        self.call(AddLibrary(self.domain, None))
        self.call(AddQueue(self.queue, QueueOptions(**wishes)))
        for name in (*patrons, *librarians):
            self.call(AddAccount(self.jid(name), _verifiers()))
        for name in librarians:
            self.employ(name)
        return self

    def employ(self, name: str, max_chats: int = 3) -> None:
        """Make somebody a librarian, or change how many questions she takes."""
        self.call(AddLibrarian(self.queue, self.jid(name), max_chats=max_chats))

    def change(self, **wishes: Any) -> None:
        """Change how the queue is set up."""
        self.call(SetQueue(self.queue, QueueOptions(**wishes)))

    def question(self, number: int) -> dict[str, Any]:
        """The output of `refserverctl --json question show`."""
        shown: dict[str, Any] = self.call(ShowQuestion(number, self.queue))
        return shown

    def questions(self, state: str = "open") -> list[dict[str, Any]]:
        """The output of `refserverctl --json question list`."""
        listed: list[dict[str, Any]] = self.call(ListQuestions(self.queue, state))
        return listed

    def report(self) -> dict[str, Any]:
        """The output of `refserverctl report --format json` for the queue."""
        (made,) = self.call(MakeReport(self.queue))
        return dict(made)

    def call(self, verb: Request) -> Any:
        """Get a verb done by the running server."""
        return Caller(load(self.server.config)).call(verb)

    # -- people --------------------------------------------------------------------

    def jid(self, name: str) -> str:
        """The account of that name."""
        return f"{name}@{self.domain}"

    def patron(self, name: str = "pat") -> Patron:
        """Log a patron in."""
        return self._people.enter_context(
            Patron(self.jid(name), PASSWORD, self.server.authority.ca, self.server.port, self.queue)
        )

    def librarian(self, name: str = "mia", at_desk: bool = True) -> Librarian:
        """Log a librarian in; she goes to the desk unless told otherwise."""
        librarian = self._people.enter_context(
            Librarian(
                self.jid(name), PASSWORD, self.server.authority.ca, self.server.port, self.queue, self.desk
            )
        )
        if at_desk:
            librarian.enter_desk()
        return librarian


@cache
def _verifiers() -> dict[str, Verifier]:
    return make_verifiers(PASSWORD, Hashing(iterations=LEAST_ITERATIONS))
