"""Migrations: they make the schema of the code, once, and never touch a newer database."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from refserver.storage import (
    Database,
    DatabaseTooNew,
    UnsupportedDatabase,
    libraries,
    migrations,
    schema,
    sqlite,
)


def test_migrating_an_empty_database_gives_exactly_the_schema_of_the_code() -> None:
    with sqlite.memory_engine().begin() as connection:
        migrations.upgrade(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []


def test_the_newest_revision_is_known_without_alembic() -> None:
    with sqlite.memory_engine().connect() as connection:
        scripts = ScriptDirectory.from_config(migrations.configuration(connection))
    assert [migrations.head()] == scripts.get_heads()


def test_opening_makes_a_database_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "refserver.sqlite"
    Database.open(path).close_now()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_opening_again_finds_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "refserver.sqlite"
    database = Database.open(f"sqlite:///{path}")
    database.write_now(libraries.add, "library.example", "A Library")
    database.close_now()
    database = Database.open(path)
    assert database.read_now(libraries.list) == [libraries.Library("library.example", "A Library")]
    database.close_now()


def test_an_up_to_date_database_is_opened_without_loading_alembic(tmp_path: Path) -> None:
    path = tmp_path / "refserver.sqlite"
    Database.open(path).close_now()
    program = (
        "import sys; from refserver.storage import Database; "
        "Database.open(sys.argv[1]); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 0


def test_a_database_of_a_newer_refserver_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "refserver.sqlite"
    Database.open(path).close_now()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match="9999"):
        Database.open(path)
    assert sqlite3.connect(path).execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(UnsupportedDatabase, match="no support for mysql databases"):
        Database.open("mysql://someone:secret@host/name")


def test_two_openings_at_once_migrate_once(tmp_path: Path) -> None:
    path = tmp_path / "refserver.sqlite"
    gate = threading.Barrier(3)
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            gate.wait()
            Database.open(path).close_now()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert sqlite3.connect(path).execute("SELECT version_num FROM alembic_version").fetchall() == [
        (migrations.head(),)
    ]


def test_a_failed_migration_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "refserver.sqlite"

    def refuse(connection: Connection) -> None:
        raise sqlite3.IntegrityError("rows without owner")

    monkeypatch.setattr(sqlite, "check_references", refuse)
    with pytest.raises(sqlite3.IntegrityError):
        Database.open(path)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


def test_rows_without_owner_stop_a_migration() -> None:
    with sqlite.memory_engine().connect() as connection:
        connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
        schema.metadata.create_all(connection)
        sqlite.check_references(connection)
        connection.execute(schema.metadata.tables["vcards"].insert().values(account=1, element=b""))
        with pytest.raises(sqlite3.IntegrityError, match="vcards"):
            sqlite.check_references(connection)
