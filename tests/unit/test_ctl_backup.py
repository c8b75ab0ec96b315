"""refserverctl backup and restore: whole, private, and never in the place of something else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from refserver.app.commands.backup import back_up, put_back
from refserver.app.commands.request import Refused
from refserver.app.data import DataLock
from refserver.storage import Database, libraries, migrations
from tests.unit.ctl_runner import Ctl


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    ctl = Ctl(tmp_path)
    ctl.ok("library", "add", "library.example")
    return ctl


@pytest.fixture
def used(ctl: Ctl) -> Iterator[Database]:
    """The database, open elsewhere as a running server has it."""
    database = Database.open(ctl.database)
    yield database
    database.close_now()


def domains(ctl: Ctl) -> list[str]:
    return [row["domain"] for row in ctl.json("library", "list")]


def test_what_was_backed_up_can_be_restored(ctl: Ctl, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert ctl.ok("backup", str(copy)).startswith(f"{copy}: backed up (")
    ctl.ok("library", "add", "later.example")
    assert ctl.ok("restore", str(copy), "--yes").startswith(f"{copy}: restored\n")
    assert domains(ctl) == ["library.example"]


def test_the_database_as_it_was_is_kept(ctl: Ctl, tmp_path: Path) -> None:
    ctl.ok("backup", str(tmp_path / "copy"))
    ctl.ok("library", "add", "later.example")
    kept = Path(ctl.json("restore", str(tmp_path / "copy"), "--yes")["kept"])
    assert kept.parent == ctl.database.parent
    assert kept.stat().st_mode & 0o777 == 0o600
    ctl.ok("restore", str(kept), "--yes")
    assert domains(ctl) == ["later.example", "library.example"]


def test_a_backup_has_what_was_committed_last_while_others_use_the_database(
    ctl: Ctl, used: Database, tmp_path: Path
) -> None:
    used.write_now(libraries.add, "later.example", "")  # it is in the write-ahead log
    ctl.ok("backup", str(tmp_path / "copy"))
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        found = copy.execute("SELECT domain FROM libraries ORDER BY domain").fetchall()
    assert found == [("later.example",), ("library.example",)]


def test_a_backup_holds_nothing_half_done(ctl: Ctl, used: Database, tmp_path: Path) -> None:
    def in_the_middle(connection: object) -> None:
        libraries.add(connection, "half.example", "")  # type: ignore[arg-type]  # a Connection
        back_up(ctl.database, tmp_path / "copy")

    used.write_now(in_the_middle)
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT domain FROM libraries").fetchall() == [("library.example",)]


def test_a_backup_is_its_owners_only(ctl: Ctl, tmp_path: Path) -> None:
    ctl.ok("backup", str(tmp_path / "copy"))
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_a_backup_never_replaces_a_file(ctl: Ctl, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_text("precious")
    assert ctl.refused("backup", str(copy)) == f"{copy} is there already: name a new file"
    assert copy.read_text() == "precious"
    assert ctl.refused("backup", str(ctl.database)).endswith("is there already: name a new file")


def test_a_backup_that_cannot_be_made_leaves_nothing_behind(ctl: Ctl, tmp_path: Path) -> None:
    ctl.database.write_bytes(ctl.database.read_bytes()[:5000])
    folder = tmp_path / "copies"
    folder.mkdir()
    assert "cannot be copied" in ctl.refused("backup", str(folder / "copy"))
    assert list(folder.iterdir()) == []


def test_a_backup_needs_a_folder_and_a_database(ctl: Ctl, tmp_path: Path) -> None:
    refusal = ctl.refused("backup", str(tmp_path / "none" / "copy"))
    assert refusal == f"nothing can be written to {tmp_path / 'none'}: No such file or directory"
    ctl.database.unlink()
    assert ctl.refused("backup", str(tmp_path / "copy")).startswith(
        f"there is no database {ctl.database} yet"
    )


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + bytes(84)])
def test_what_is_no_backup_is_refused_and_nothing_changed(ctl: Ctl, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert ctl.refused("restore", str(file), "--yes").startswith(f"{file} is no backup of refserver")
    assert domains(ctl) == ["library.example"]


def test_another_programs_database_is_refused(ctl: Ctl, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE bees (name)")
    refusal = ctl.refused("restore", str(tmp_path / "other"), "--yes")
    assert refusal == f"{tmp_path / 'other'} is no backup of refserver"


def test_a_file_that_is_not_there_is_refused(ctl: Ctl, tmp_path: Path) -> None:
    assert ctl.refused("restore", str(tmp_path / "none"), "--yes").endswith(
        "cannot be read: No such file or directory"
    )


def test_a_damaged_backup_is_refused_and_nothing_changed(ctl: Ctl, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    ctl.ok("backup", str(copy))
    whole = copy.read_bytes()
    copy.write_bytes(whole[: len(whole) // 2])
    ctl.refused("restore", str(copy), "--yes")
    assert domains(ctl) == ["library.example"]
    names = {path.name for path in ctl.database.parent.iterdir()}
    assert names == {"refserver.sqlite", "lock"}


def test_a_backup_of_a_newer_refserver_is_refused_and_nothing_changed(ctl: Ctl, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    ctl.ok("backup", str(copy))
    with closing(sqlite3.connect(copy, isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert ctl.refused("restore", str(copy), "--yes").startswith(f"{copy}: the database has schema 9999, ")
    assert domains(ctl) == ["library.example"]


def test_a_backup_of_an_older_refserver_is_brought_to_this_ones_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    with closing(sqlite3.connect(first, isolation_level=None)) as database:
        database.execute("CREATE TABLE libraries (id INTEGER PRIMARY KEY)")
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
    brought: list[Path] = []
    monkeypatch.setattr(migrations, "bring_to_head", brought.append)
    assert put_back(first, tmp_path / "database") is None
    (draft,) = brought
    assert draft.parent == tmp_path
    assert (tmp_path / "database").exists()


def test_nothing_is_restored_while_a_server_runs(ctl: Ctl, tmp_path: Path) -> None:
    ctl.ok("backup", str(tmp_path / "copy"))
    lock = DataLock(ctl.database.parent)
    lock.take()
    try:
        assert ctl.refused("restore", str(tmp_path / "copy"), "--yes") == (
            "a refserver is running on this data: stop it first"
        )
    finally:
        lock.release()


def test_a_database_is_restored_where_none_was(ctl: Ctl, tmp_path: Path) -> None:
    ctl.ok("backup", str(tmp_path / "copy"))
    ctl.config.write_text('[server]\ndata = "new/data"\n')
    assert ctl.json("restore", str(tmp_path / "copy"), "--yes")["kept"] is None
    assert domains(ctl) == ["library.example"]
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700


def test_a_draft_in_the_way_is_no_crash(tmp_path: Path, ctl: Ctl) -> None:
    with pytest.raises(Refused, match="nothing can be written"):
        back_up(ctl.database, Path("/proc/copy"))
