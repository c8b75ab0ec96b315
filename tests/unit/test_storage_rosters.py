"""Rosters: items, subscription state, versions (RFC 6121 2.6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.storage import NoSuchAccount, accounts, libraries, rosters, schema, sqlite
from refserver.storage.rosters import Removed, RosterItem

PAT = JID.parse("pat@library.example")
MIA = JID.parse("mia@library.example")
CREATED = 1_700_000_000


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A database with the account `PAT`."""
    engine = sqlite.memory_engine()
    schema.metadata.create_all(engine)
    with engine.begin() as connection:
        libraries.add(connection, "library.example", "A Library")
        accounts.add(connection, PAT, {}, CREATED + 0.5)
        yield connection
    engine.dispose()


def test_an_item_is_loaded_as_it_was_saved(connection: Connection) -> None:
    item = RosterItem(
        MIA,
        name="Mia ✓",
        subscription="from",
        ask=True,
        approved=True,
        groups=("Desk", "ämter"),
        pending_in=b"<presence type='subscribe'/>",
    )
    version = rosters.save(connection, PAT, item)
    assert rosters.load(connection, PAT) == rosters.Roster(version, {MIA: item})


def test_groups_are_kept_sorted(connection: Connection) -> None:
    rosters.save(connection, PAT, RosterItem(MIA, groups=("b", "a")))
    assert rosters.load(connection, PAT).items[MIA].groups == ("a", "b")


def test_saving_again_replaces_the_item(connection: Connection) -> None:
    rosters.save(connection, PAT, RosterItem(MIA, name="old", pending_in=b"x", groups=("a",)))
    rosters.save(connection, PAT, RosterItem(MIA, name="new"))
    assert rosters.load(connection, PAT).items == {MIA: RosterItem(MIA, name="new")}


def test_each_visible_change_has_a_version_of_its_own(connection: Connection) -> None:
    before = rosters.load(connection, PAT).version
    saved = rosters.save(connection, PAT, RosterItem(MIA))
    changed = rosters.save(connection, PAT, RosterItem(MIA, name="Mia"))
    removed = rosters.delete(connection, PAT, MIA)
    assert before < saved < changed < removed == rosters.load(connection, PAT).version


def test_removing_what_is_not_there_changes_no_version(connection: Connection) -> None:
    before = rosters.load(connection, PAT).version
    assert rosters.delete(connection, PAT, MIA) == before


def test_a_client_gets_what_changed_since_its_version(connection: Connection) -> None:
    other = JID.parse("other@x.example")
    old = JID.parse("old@x.example")
    rosters.save(connection, PAT, RosterItem(old))
    first = rosters.save(connection, PAT, RosterItem(other))
    rosters.save(connection, PAT, RosterItem(MIA))
    rosters.save(connection, PAT, RosterItem(MIA, name="Mia"))
    rosters.delete(connection, PAT, old)
    assert rosters.changes_since(connection, PAT, first) == [Removed(old), RosterItem(MIA, name="Mia")]
    assert rosters.changes_since(connection, PAT, rosters.load(connection, PAT).version) == []


def test_a_contact_removed_and_added_again_is_not_also_removed(connection: Connection) -> None:
    first = rosters.save(connection, PAT, RosterItem(MIA))
    rosters.delete(connection, PAT, MIA)
    rosters.save(connection, PAT, RosterItem(MIA, name="back"))
    assert rosters.changes_since(connection, PAT, first) == [RosterItem(MIA, name="back")]


def test_an_unknown_version_gets_the_whole_roster(connection: Connection) -> None:
    version = rosters.load(connection, PAT).version
    assert rosters.changes_since(connection, PAT, version + 1) is None
    assert rosters.changes_since(connection, PAT, 0) is None


def test_a_version_of_an_earlier_account_of_this_address_is_unknown(connection: Connection) -> None:
    seen = rosters.save(connection, PAT, RosterItem(MIA))
    accounts.remove(connection, PAT)
    accounts.add(connection, PAT, {}, CREATED + 3600.0)
    for number in range(5):
        rosters.save(connection, PAT, RosterItem(JID.parse(f"c{number}@x.example")))
    assert rosters.changes_since(connection, PAT, seen) is None


def test_removals_are_forgotten_after_so_many_versions(connection: Connection) -> None:
    first = rosters.save(connection, PAT, RosterItem(MIA))
    rosters.delete(connection, PAT, MIA)
    for _ in range(rosters.KEPT_VERSIONS // 2 + 1):
        rosters.save(connection, PAT, RosterItem(MIA))
        last = rosters.delete(connection, PAT, MIA)
    other = JID.parse("other@x.example")
    rosters.save(connection, PAT, RosterItem(other))
    rosters.delete(connection, PAT, other)
    assert rosters.changes_since(connection, PAT, first) is None
    assert rosters.changes_since(connection, PAT, last) == [Removed(other)]
    for number in range(rosters.KEPT_VERSIONS):
        rosters.save(connection, PAT, RosterItem(JID.parse(f"c{number}@x.example")))
        rosters.delete(connection, PAT, JID.parse(f"c{number}@x.example"))
    kept = connection.exec_driver_sql("SELECT count(*) FROM roster_removals").scalar_one()
    assert kept <= rosters.KEPT_VERSIONS


def test_a_request_of_a_stranger_is_kept_without_being_listed(connection: Connection) -> None:
    before = rosters.load(connection, PAT).version
    item = RosterItem(MIA, pending_in=b"<presence/>", listed=False)
    assert rosters.save(connection, PAT, item) == before
    assert rosters.load(connection, PAT).items == {MIA: item}
    assert rosters.changes_since(connection, PAT, before) == []
    assert rosters.delete(connection, PAT, MIA) == before
    assert rosters.load(connection, PAT).items == {}


def test_an_item_that_is_no_longer_listed_is_removed_for_the_client(connection: Connection) -> None:
    first = rosters.save(connection, PAT, RosterItem(MIA, name="Mia"))
    rosters.save(connection, PAT, RosterItem(MIA, approved=True, listed=False))
    assert rosters.changes_since(connection, PAT, first) == [Removed(MIA)]
    assert rosters.load(connection, PAT).items[MIA].approved


def test_an_account_that_is_not_there_has_no_roster(connection: Connection) -> None:
    assert rosters.load(connection, MIA) == rosters.Roster(0, {})
    with pytest.raises(NoSuchAccount):
        rosters.save(connection, MIA, RosterItem(PAT))
    with pytest.raises(NoSuchAccount):
        rosters.delete(connection, MIA, PAT)
