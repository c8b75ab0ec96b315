"""Libraries, accounts, vCards, private data, secrets: what is kept is what was given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from refserver.jid import JID
from refserver.sasl.verifier import Verifier
from refserver.storage import (
    AccountExists,
    Database,
    LibraryExists,
    NoSuchAccount,
    NoSuchLibrary,
    account_data,
    accounts,
    libraries,
    offline,
    rooms,
    rosters,
    schema,
    secrets,
    sqlite,
)

PAT = JID.parse("pat@library.example")
MIA = JID.parse("mia@library.example")
VERIFIERS = {
    "SHA-1": Verifier("SHA-1", b"salt one", 4096, b"stored one", b"server one"),
    "SHA-256": Verifier("SHA-256", b"salt two", 10_000, b"stored two", b"server two"),
}


@pytest.fixture
def connection() -> Iterator[Connection]:
    """An empty database with the library of `PAT` and `MIA`."""
    engine = sqlite.memory_engine()
    schema.metadata.create_all(engine)
    with engine.begin() as connection:
        libraries.add(connection, "library.example", "A Library")
        yield connection
    engine.dispose()


def test_libraries_are_listed_by_domain(connection: Connection) -> None:
    libraries.add(connection, "branch.example", "Branch")
    expected = [
        libraries.Library("branch.example", "Branch"),
        libraries.Library("library.example", "A Library"),
    ]
    assert expected == libraries.list(connection)
    assert libraries.get(connection, "branch.example") == expected[0]
    assert libraries.get(connection, "other.example") is None


def test_a_library_cannot_be_added_twice(connection: Connection) -> None:
    with pytest.raises(LibraryExists):
        libraries.add(connection, "library.example", "again")


def test_a_library_gets_another_name(connection: Connection) -> None:
    libraries.rename(connection, "library.example", "Other")
    assert libraries.list(connection) == [libraries.Library("library.example", "Other")]
    with pytest.raises(NoSuchLibrary):
        libraries.rename(connection, "other.example", "Other")


def test_an_account_has_the_verifiers_it_was_given(connection: Connection) -> None:
    accounts.add(connection, PAT, VERIFIERS, 1_700_000_000.25)
    assert accounts.verifiers(connection, PAT) == VERIFIERS
    assert accounts.get(connection, PAT) == accounts.Account(PAT, disabled=False, created=1_700_000_000.25)
    assert accounts.exists(connection, PAT)


def test_an_unknown_account_has_no_verifiers(connection: Connection) -> None:
    assert accounts.verifiers(connection, PAT) is None
    assert accounts.get(connection, PAT) is None
    assert not accounts.exists(connection, PAT)


def test_a_second_account_of_the_same_address_is_refused_and_changes_nothing(connection: Connection) -> None:
    accounts.add(connection, PAT, VERIFIERS, 1.0)
    with pytest.raises(AccountExists):
        accounts.add(connection, PAT, {"SHA-1": evolve(VERIFIERS["SHA-1"], salt=b"other")}, 2.0)
    assert accounts.verifiers(connection, PAT) == VERIFIERS


def test_an_account_needs_its_library(connection: Connection) -> None:
    with pytest.raises(NoSuchLibrary):
        accounts.add(connection, JID.parse("pat@other.example"), VERIFIERS, 1.0)


def test_the_same_name_in_two_libraries_is_two_accounts(connection: Connection) -> None:
    libraries.add(connection, "other.example", "Other")
    other = JID.parse("pat@other.example")
    accounts.add(connection, PAT, VERIFIERS, 1.0)
    accounts.add(connection, other, {"SHA-1": VERIFIERS["SHA-1"]}, 2.0)
    assert [account.jid for account in accounts.list(connection, "library.example")] == [PAT]
    assert [account.jid for account in accounts.list(connection, "other.example")] == [other]
    accounts.remove(connection, other)
    assert accounts.verifiers(connection, PAT) == VERIFIERS


def test_a_new_password_replaces_every_verifier(connection: Connection) -> None:
    accounts.add(connection, PAT, VERIFIERS, 1.0)
    changed = {"SHA-256": evolve(VERIFIERS["SHA-256"], stored_key=b"new")}
    accounts.set_verifiers(connection, PAT, changed)
    assert accounts.verifiers(connection, PAT) == changed
    with pytest.raises(NoSuchAccount):
        accounts.set_verifiers(connection, MIA, changed)


def test_a_disabled_account_cannot_log_in_until_it_is_enabled(connection: Connection) -> None:
    accounts.add(connection, PAT, VERIFIERS, 1.0)
    accounts.set_disabled(connection, PAT, True)
    assert accounts.verifiers(connection, PAT) is None
    assert accounts.exists(connection, PAT)
    assert [account.disabled for account in accounts.list(connection, "library.example")] == [True]
    accounts.set_disabled(connection, PAT, False)
    assert accounts.verifiers(connection, PAT) == VERIFIERS


def test_what_is_not_there_cannot_be_changed(connection: Connection) -> None:
    with pytest.raises(NoSuchAccount):
        accounts.remove(connection, PAT)
    for disabled in (True, False):
        with pytest.raises(NoSuchAccount):
            accounts.set_disabled(connection, PAT, disabled)


def test_the_last_activity_is_the_last_one(connection: Connection) -> None:
    accounts.add(connection, PAT, VERIFIERS, 1.0)
    assert accounts.last_activity(connection, PAT) is None
    accounts.logged_out(connection, PAT, 5.5, "lunch")
    accounts.logged_out(connection, PAT, 9.5, "home")
    assert accounts.last_activity(connection, PAT) == accounts.LastActivity(9.5, "home")


def test_a_log_out_after_the_account_was_removed_is_no_error(connection: Connection) -> None:
    accounts.logged_out(connection, PAT, 5.5, "gone")
    assert accounts.last_activity(connection, PAT) is None


def _fill(connection: Connection, account: JID) -> None:
    accounts.add(connection, account, VERIFIERS, 1.0)
    rosters.save(connection, account, rosters.RosterItem(JID.parse("a@x.example")))
    rosters.save(connection, account, rosters.RosterItem(JID.parse("b@x.example")))
    rosters.delete(connection, account, JID.parse("b@x.example"))
    offline.store(connection, account, b"<message/>", 1.0, 0)
    account_data.set_vcard(connection, account, b"<vCard/>")
    account_data.set_private(connection, account, "urn:x", "y", b"<y/>")


def _rows_by_table(connection: Connection) -> dict[str, int]:
    return {
        name: len(connection.execute(table.select()).fetchall())
        for name, table in schema.metadata.tables.items()
    }


def test_removing_an_account_leaves_nothing_of_it(connection: Connection) -> None:
    before = _rows_by_table(connection)
    _fill(connection, PAT)
    filled = _rows_by_table(connection)
    assert all(
        filled[name] > before[name]
        for name in ("verifiers", "roster_items", "roster_removals", "offline_messages", "vcards")
    )
    accounts.remove(connection, PAT)
    assert _rows_by_table(connection) == before


def test_removing_an_account_leaves_the_others_alone(connection: Connection) -> None:
    _fill(connection, PAT)
    before = _rows_by_table(connection)
    _fill(connection, MIA)
    accounts.remove(connection, MIA)
    assert _rows_by_table(connection) == before


def test_removing_a_library_leaves_nothing_of_it_and_everything_of_others(connection: Connection) -> None:
    _fill(connection, PAT)
    rooms.save_room(connection, JID.parse("ask@rooms.library.example"), {})
    before = _rows_by_table(connection)
    libraries.add(connection, "sub.library.example", "Other")
    _fill(connection, JID.parse("pat@sub.library.example"))
    room = JID.parse("ask@rooms.sub.library.example")
    rooms.save_room(connection, room, {"title": "desk"})
    rooms.append_history(connection, room, 1.0, b"<message/>", 100)
    libraries.remove(connection, "sub.library.example")
    assert _rows_by_table(connection) == before
    with pytest.raises(NoSuchLibrary):
        libraries.remove(connection, "sub.library.example")


def test_a_vcard_is_replaced(connection: Connection) -> None:
    accounts.add(connection, PAT, VERIFIERS, 1.0)
    assert account_data.vcard(connection, PAT) is None
    account_data.set_vcard(connection, PAT, b"<vCard>1</vCard>")
    account_data.set_vcard(connection, PAT, b"<vCard>2</vCard>")
    assert account_data.vcard(connection, PAT) == b"<vCard>2</vCard>"
    with pytest.raises(NoSuchAccount):
        account_data.set_vcard(connection, MIA, b"<vCard/>")


def test_private_elements_are_kept_by_namespace_and_name(connection: Connection) -> None:
    accounts.add(connection, PAT, VERIFIERS, 1.0)
    account_data.set_private(connection, PAT, "urn:one", "a", b"<a>1</a>")
    account_data.set_private(connection, PAT, "urn:two", "a", b"<a>two</a>")
    account_data.set_private(connection, PAT, "urn:one", "a", b"<a>2</a>")
    assert account_data.private(connection, PAT, "urn:one", "a") == b"<a>2</a>"
    assert account_data.private(connection, PAT, "urn:two", "a") == b"<a>two</a>"
    assert account_data.private(connection, PAT, "urn:one", "b") is None
    assert account_data.private_size(connection, PAT) == (2, 18)


def test_a_secret_is_made_once(connection: Connection) -> None:
    made = secrets.get_or_create(connection, "salt", 32)
    assert len(made) == 32
    assert secrets.get_or_create(connection, "salt", 32) == made
    assert secrets.get_or_create(connection, "other", 32) != made


def test_a_destroyed_secret_does_not_come_back(connection: Connection) -> None:
    made = secrets.get_or_create(connection, "salt", 32)
    secrets.delete(connection, "salt")
    secrets.delete(connection, "salt")
    assert secrets.get_or_create(connection, "salt", 32) != made


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_errors_show_no_value_that_was_to_be_stored(kind: str, tmp_path: Path) -> None:
    database = Database.memory() if kind == "memory" else Database.open(tmp_path / "refserver.sqlite")
    table = schema.metadata.tables["accounts"]
    row = {"library": 77, "jid": "private@library.example", "created": 1.0, "roster_version": 1}
    with pytest.raises(IntegrityError) as raised:
        database.write_now(lambda connection: connection.execute(table.insert().values(row)))
    database.close_now()
    assert "private" not in str(raised.value)
