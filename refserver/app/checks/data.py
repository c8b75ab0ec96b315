"""Checks of what is stored: the data folder, the database, queues, and the secrets of components."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import twisted.plugins
from sqlalchemy.exc import SQLAlchemyError

from refserver.app.checks import ENTER, READ, WRITE, Finding, ServerUser
from refserver.app.listeners import KEY, SHORTEST, UnusableSecret, is_open, is_short, read_secret
from refserver.storage import migrations, sqlite

LEAST_FREE: Final = 64 * 1024 * 1024  # bytes

_folder_wrong = partial(Finding.wrong, "data")
_database_wrong, _database_note = partial(Finding.wrong, "database"), partial(Finding.note, "database")
_secret_wrong = partial(Finding.wrong, KEY)


def check_data(database: Path, user: ServerUser) -> Iterator[Finding]:
    """Findings on a database's file and its folder, as the server's user finds them."""
    folder = database.parent
    if not folder.exists():
        yield _without_folder(folder, user)
        return
    obstacle = user.obstacle(folder, READ | WRITE | ENTER)
    if obstacle is not None:
        yield _folder_wrong(
            f"{user.name}, who owns {folder}, cannot write to it: {obstacle} does not allow it",
            f"chmod u+rwx {folder}" if obstacle == folder else f"chmod o+x {obstacle}",
        )
        return
    if folder.stat().st_mode & 0o002:
        yield _folder_wrong(f"everybody may write to {folder}", f"chmod o-w {folder}")
    elif not os.access(folder, WRITE) and os.geteuid() == 0:
        yield _folder_wrong(f"the disk under {folder} is read-only", "mount it for writing")
    elif shutil.disk_usage(folder).free < LEAST_FREE:
        yield _folder_wrong(f"the disk under {folder} is full", "make room on it")
    else:
        yield Finding.good("data", f"{user.name} can write to {folder}")
    for file in sorted((folder / "lock", *folder.glob(f"{database.name}*"))):
        if file.exists() and not user.may(file, READ | WRITE):
            yield _folder_wrong(f"{user.name} cannot write to {file}", f"chown {user.name} {file}")
    yield _database(database)


def _without_folder(folder: Path, user: ServerUser) -> Finding:
    above = next(parent for parent in folder.parents if parent.exists())
    if user.may(above, WRITE | ENTER):
        return Finding.note("data", f"{folder} is not there yet: the first start makes it")
    return _folder_wrong(
        f"{folder} is not there, and {user.name} cannot write to {above}",
        f"make {folder} for the user the server runs as, or set server.data to another folder",
    )


def _database(database: Path) -> Finding:
    if not database.exists():
        return _database_note(f"{database} is not there yet: the first start makes it")
    if database.stat().st_mode & 0o077:
        return _database_wrong(f"others than its owner may read {database}", f"chmod 600 {database}")
    if not os.access(database, READ):
        return _database_note(
            f"{database} is not yours to read, so it was not looked at",
            "run this as the user the server runs as, or as root",
        )
    try:
        found, known = _revision(database), migrations.head()
    except SQLAlchemyError:
        return _database_wrong(
            f"{database} cannot be read as a database", "put a backup in its place: refserverctl restore FILE"
        )
    if found is None or found < known:
        return _database_note(f"schema {found or 'none'}, the next start brings it to {known}")
    if found > known:
        return _database_wrong(
            f"schema {found}, written by a newer refserver; this one knows {known}",
            "install the refserver that wrote it, or a newer one",
        )
    return Finding.good("database", f"{database}, schema {found}")


def check_plugins(user: ServerUser) -> Iterator[Finding]:
    """A finding if twistd looks through all its plugins at each start, since it cannot keep its list."""
    for folder in map(Path, twisted.plugins.__path__):
        plugin, cache = folder / "refserver_plugin.py", folder / "dropin.cache"
        is_old = plugin.exists() and not (cache.exists() and cache.stat().st_mtime > plugin.stat().st_mtime)
        if is_old and not user.may(folder, WRITE):
            yield Finding.note(
                "twistd",
                f"its list of plugins {cache} is missing or older than they are, and not {user.name}'s to "
                "write: each start looks through all of them, and the log says so",
                "run `twistd --help` once as the user that installed refserver",
            )


def _revision(database: Path) -> str | None:
    engine = sqlite.read_engine(database)
    try:
        with engine.connect() as connection:
            return migrations.current(connection)
    finally:
        engine.dispose()


def check_desks(
    libraries: Sequence[Mapping[str, Any]], queues: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Findings on libraries and queues, as `library list` and `queue list` have them."""
    if not libraries:
        yield Finding.note("libraries", "there is none yet", "refserverctl library add DOMAIN")
        return
    yield Finding.good("libraries", ", ".join(library["domain"] for library in libraries))
    if not queues:
        yield Finding.note("queues", "there is none yet", "refserverctl queue add ask@DOMAIN")
    for queue in queues:
        if queue["librarians"]:
            yield Finding.good("queues", f"{queue['queue']}: librarians {queue['librarians']}")
        else:
            yield Finding.note(
                "queues",
                f"{queue['queue']}: nobody works there, so every question waits",
                f"refserverctl librarian add {queue['queue']} JID",
            )


_LONGER: Final = "write a long random secret there, and the same at the gateway"
_SERVICES: Final = ("rooms",)  # on a subdomain of each library


def check_components(
    secret_files: Mapping[str, Path], libraries: Collection[str], user: ServerUser
) -> Iterator[Finding]:
    """Findings on each component; `libraries` are the domains that components cannot have."""
    taken = {*libraries, *(f"{service}.{library}" for service in _SERVICES for library in libraries)}
    for domain, file in secret_files.items():
        if domain in taken:
            yield _secret_wrong(
                f"{domain} is a library, or a service of one", "give the component another domain"
            )
        else:
            yield _look_at(domain, file, user)


def _look_at(domain: str, file: Path, user: ServerUser) -> Finding:
    try:
        secret = read_secret(domain, file)
    except UnusableSecret as error:
        return _secret_wrong(str(error), _LONGER)
    if not user.may(file, READ):
        return _secret_wrong(f"{user.name} cannot read the secret of {domain}", f"chown {user.name} the file")
    if is_open(file):
        return _secret_wrong(
            f"everybody on this machine can read the secret of {domain}", "chmod 600 the file"
        )
    if is_short(secret):
        return Finding.note(
            KEY, f"the secret of {domain} has fewer than {SHORTEST} characters: it can be guessed", _LONGER
        )
    return Finding.good(KEY, f"{domain} has a secret")
