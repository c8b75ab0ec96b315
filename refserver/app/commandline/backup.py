"""refserverctl backup and restore."""

from __future__ import annotations

from pathlib import Path

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.libraries import confirm
from refserver.app.commandline.printing import print_json
from refserver.app.data_folder import give_to_owner
from refserver.app.data_lock import DataInUse, DataLock
from refserver.app.verbs import Refused

__all__ = ["backup", "restore"]

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@pass_context
def backup(context: Context, file: Path) -> None:
    """Write a consistent copy of the database to FILE, of a running server, too."""
    database = context.caller.database
    if not database.exists():
        raise Refused(f"there is no database {database} yet: is this the right configuration file (-c)?")
    from refserver.app.backup import BackupError, back_up  # late: alembic takes long to import

    try:
        size = back_up(database, file)
    except BackupError as error:
        raise Refused(str(error)) from error
    if context.json:
        print_json({"file": str(file), "bytes": size, "done": "backed up"})
    else:
        click.echo(f"{file}: backed up ({size} bytes)")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def restore(context: Context, file: Path, yes: bool) -> None:
    """Put the copy in FILE in the place of the database, which is kept beside it. No server may run."""
    database = context.caller.database
    if database.exists():
        confirm(f"Replace {database} by {file}?", yes=yes)
    kept = _restore(file, database)
    if context.json:
        print_json({"file": str(file), "kept": None if kept is None else str(kept), "done": "restored"})
    else:
        click.echo(f"{file}: restored")
        if kept is not None:
            click.echo(f"The database as it was is {kept}: remove it when you need it no more.")


def _restore(file: Path, database: Path) -> Path | None:
    from refserver.app.backup import BackupError  # late, as above
    from refserver.app.backup import restore as put_back

    folder = database.parent
    lock = DataLock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.take()
        kept = put_back(file, database)
        give_to_owner(folder)
        return kept
    except DataInUse:
        raise Refused("a refserver is running on this data: stop it first") from None
    except BackupError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(
            f"{folder}: {error.strerror}: run refserverctl as the user whose server it is"
        ) from error
    finally:
        lock.release()
