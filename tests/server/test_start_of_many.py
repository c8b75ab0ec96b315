"""A server with many libraries starts quickly: what is stored of them is not asked for one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from refserver.app.parts import Libraries, LibraryCertificates
from refserver.features.library_access import LibraryAccess
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.reference.feature import Reference
from refserver.storage import Database, libraries, queues
from tests.server.harness import Harness

FOR_EACH = (
    3  # prepared statements, a few microseconds each: rooms, who belongs to them, how long questions took
)


def stored(count: int) -> Database:
    """That many libraries with a queue and a librarian each."""
    database = Database.memory()

    def fill(connection: Connection) -> None:
        for number in range(count):
            domain = f"library{number}.example"
            libraries.add(connection, domain, "")
            made = queues.add(connection, JID.parse(f"ask@{domain}"))
            librarian = queues.Librarian(JID.parse(f"mia@{domain}"), "mia", 3)
            queues.put_librarian(connection, made.id, librarian)

    database.write_now(fill)
    return database


def started(database: Database, folder: Path) -> Harness:
    """A server that has just started, and the turn of the reactor after that."""
    server = Harness([LibraryAccess, Reference], domains=(), database=database)
    certificates = LibraryCertificates(folder)
    Libraries(server.core, certificates).start()
    server.clock.advance(0)
    return server


def statements(count: int, folder: Path) -> int:
    """How many the start of a server with that many libraries takes."""
    database = stored(count)
    seen: list[str] = []

    def trace(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(seen.append)

    database.read_now(trace)
    started(database, folder)
    database.close_now()
    return len(seen)


def test_a_library_more_costs_a_few_prepared_statements(tmp_path: Path) -> None:
    assert statements(25, tmp_path) - statements(5, tmp_path) <= 20 * FOR_EACH


def test_all_of_them_are_served_with_their_desks(tmp_path: Path) -> None:
    database = stored(3)
    server = started(database, tmp_path)
    for number in range(3):
        domain = f"library{number}.example"
        host = server.core.hosts.get(domain)
        assert host is not None
        assert list(host.staff()) == [JID.parse(f"mia@{domain}")]
        rooms = server.core.hosts.service(f"rooms.{domain}")
        assert isinstance(rooms, RoomService)
        assert rooms.room(JID.parse(f"ask@rooms.{domain}")) is not None
    database.close_now()
