"""The context that every command is given: settings, execution of requests, printing of answers.

A request is executed by the running server if there is one, which has the data locked and listens on a socket
in the data folder. Without one, this process takes the lock, opens the database and executes the same
transaction.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from attrs import NOTHING, fields, frozen

from refserver.app.commands.late import migrations, sqlite
from refserver.app.commands.request import Refused, Request, ServerRequest, encode, read_answer, to_json
from refserver.app.config import SEARCHED, find, load
from refserver.app.data import DATABASE, SOCKET, DataInUse, DataLock, OpenData, UnixPath
from refserver.app.settings import Settings

_ODD: Final = re.compile("[^ -~\n]")  # perhaps not printable


@frozen
class Context:
    """`config` is the file named with -c; None: wherever it is found. `json`: answers are printed as JSON."""

    config: Path | None
    json: bool

    @property
    def settings(self) -> Settings:
        """The settings, read when they are needed. Raises `ConfigurationError`."""
        return load(self.config)

    @property
    def caller(self) -> Caller:
        """Has requests executed.

        Raises `Refused` if nothing says which server is meant: neither -c nor a configuration file that is
        looked for, and no data in ./var.
        """
        caller = Caller(self.settings)
        if self.config is None and find() is None and not caller.has_data:
            looked_for = " and ".join(str(path) for path in SEARCHED)
            raise Refused(
                f"there is no configuration file here ({looked_for} are looked for), and no data of a server "
                f"in {caller.folder}: name the server's configuration with -c FILE"
            )
        return caller

    def change(self, request: Request, address: str) -> None:
        """Have a change executed, and say what was done to `address`, a key of the answer."""
        self.say_done(self.caller.call(request), address)

    def say_done(self, data: Mapping[str, Any], address: str) -> None:
        """Print the answer to a change."""
        if self.json:
            print_json(data)
        else:
            click.echo(f"{data.get(address, address)}: {data['done']}")
        if data.get("note"):
            click.echo(f"note: {data['note']}", err=True)

    def show(self, request: Request, columns: Sequence[str], nothing: str) -> None:
        """Print what was asked for: one object, or a list; `nothing` is said of an empty list."""
        data: Any = self.caller.call(request)
        if self.json:
            print_json(data)
        elif isinstance(data, list):
            print_table(data, columns, nothing)
        else:
            print_one(data)


pass_context = click.make_pass_decorator(Context)

R = TypeVar("R", bound=Request)
DAY: Final = click.DateTime(formats=["%Y-%m-%d"])


def command(
    group: click.Group,
    *options: click.Option,
    done: str = "",
    columns: Sequence[str] = (),
    nothing: str = "",
    sure: str = "",
    make: Callable[..., Request] | None = None,
) -> Callable[[type[R]], type[R]]:
    """Add the command of a request to `group`. Its arguments are the attributes without default, in order.

    The help is the first paragraph of the request's docstring. A list is printed in `columns`, or as the text
    `nothing`; a change as what was done to the key `done` of the answer. The question `sure` comes first.
    `make` makes the request of what was typed, if that is not its attributes.
    """

    def add(request: type[R]) -> type[R]:
        def call(context: Context, /, **given: Any) -> None:
            if sure:
                confirm(sure.format(**given), yes=given.pop("yes"))
            made = (make or request)(**given)
            if done:
                context.change(made, done)
            else:
                context.show(made, columns, nothing.format(**given))

        params: list[click.Parameter] = [
            click.Argument([each.name], type=int if each.type == "int" else str)
            for each in fields(request)
            if each.default is NOTHING
        ]
        params += options
        if sure:
            params.append(click.Option(["--yes"], is_flag=True, help="Do not ask."))
        text = cleandoc(request.__doc__ or "").partition("\n\n")[0]
        name = request.words.split()[-1]
        group.add_command(click.Command(name, params=params, callback=pass_context(call), help=text))
        return request

    return add


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost. Raises `UsageError` if there is no terminal, and no --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for a confirmation: use --yes.")
    click.confirm(question, abort=True)


def print_json(data: Any) -> None:
    """Print data as JSON, indented. Characters that a terminal might obey are escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    click.echo(_ODD.sub(lambda odd: odd[0] if odd[0].isprintable() else json.dumps(odd[0])[1:-1], text))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """Print the `columns` of rows under their names, or the line `nothing` if there are no rows."""
    if not rows:
        click.echo(nothing)
        return
    table = [[column.replace("_", " ") for column in columns]]
    table += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_one(values: Mapping[str, Any]) -> None:
    """Print the values of one object, a line each."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {_cell(value)}".rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(_cell, value)) or "-"
    return f"{value:g}" if isinstance(value, float) else printable(str(value)).replace("\n", " ")


def printable(text: str) -> str:
    """Return text without characters that a terminal might obey: strangers choose some of the words."""
    return _ODD.sub(lambda odd: odd[0] if odd[0].isprintable() else "\N{REPLACEMENT CHARACTER}", text)


# -- execution of requests -----------------------------------------------------------


ANSWER_SECONDS: Final = 60.0  # for one request to a running server
STARTING_SECONDS: Final = 15.0  # a server that starts or stops has the lock and no socket
PAUSE_SECONDS: Final = 0.1


@frozen
class Caller:
    """Has requests executed on the data that `settings` name."""

    settings: Settings

    def call(self, request: Request) -> Any:
        """Return the request's data, as JSON has them. Raises `Refused`."""
        deadline = time.monotonic() + STARTING_SECONDS
        while True:
            line = self._ask_server(request)
            if line is not None:
                return read_answer(line)
            try:
                return self._execute(request)
            except DataInUse:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"a process holds the data in {self.folder} and does not answer: "
                        "is a refserver just starting or ending? Try again, or look for its process"
                    ) from None
                time.sleep(PAUSE_SECONDS)

    def ask_running(self, request: Request) -> Any:
        """Return the request's data from a running server; None if none runs. Raises `Refused`."""
        line = self._ask_server(request)
        return None if line is None else read_answer(line)

    def look(self, request: Request) -> Any:
        """Return the data of a request that only reads, from a running server or the unchanged store.

        None if there is no store yet, or one of another version. Raises `Refused`.
        """
        data = self.ask_running(request)
        if data is not None or not self.database.exists():
            return data
        with _database_errors_refused(f"the database {self.database} cannot be read"):
            engine = sqlite.read_engine(self.database)
            with closing(engine.connect()) as connection:
                if migrations.current(connection) == migrations.head():
                    data = to_json(request.run(connection, time.time()).data)
            engine.dispose()
        return data

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.settings.server.data

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.folder / DATABASE

    @property
    def has_data(self) -> bool:
        """True if there is a database, or the socket of a running server."""
        return self.database.exists() or (self.folder / SOCKET).exists()

    def is_locked(self) -> bool:
        """Return True if some process works on the data."""
        lock = DataLock(self.folder)
        try:
            lock.take()
        except DataInUse:
            return True
        except OSError:
            return False
        lock.release()
        return False

    def open_data(self) -> OpenData:
        """Open and lock the data for this process alone. Raises `DataInUse` or `Refused`."""
        with _database_errors_refused(f"the database in {self.folder} cannot be used"):
            try:
                return OpenData.at(self.folder)
            except OSError as error:
                raise Refused(
                    f"the data in {self.folder} cannot be opened ({error.strerror}): "
                    "run refserverctl as the user whose server it is, or as root"
                ) from error

    def _execute(self, request: Request) -> Any:
        """Execute a request in this process. Raises `DataInUse` or `Refused`."""
        if isinstance(request, ServerRequest):
            if self.is_locked():
                raise DataInUse
            raise Refused(f"{request.words} needs a running server, and none runs: start it, and ask again")
        with closing(self.open_data()) as data, _database_errors_refused("this failed in the database"):
            work = data.database.write_now if request.writes else data.database.read_now
            return to_json(work(request.run, time.time()).data)

    def _ask_server(self, request: Request) -> bytes | None:
        """Return the line that a running server answers; None if none is there. Raises `Refused`."""
        path = self.folder / SOCKET
        with closing(UnixPath(path)) as address, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            try:
                connection.connect(address.name)
            except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
                return None
            except OSError as error:
                raise Refused(
                    f"the server cannot be reached through {path} ({error.strerror}): "
                    "run refserverctl as the user whose server it is, or as root"
                ) from error
            try:
                connection.sendall(encode(request))
                return _read_line(connection)
            except OSError as error:
                raise Refused(
                    f"the server did not answer ({error.strerror or error}): "
                    "ask it for its status, and look into its log, before you try again"
                ) from error


def _read_line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("it went away")
    return line


@contextmanager
def _database_errors_refused(what: str) -> Iterator[None]:
    """Turn the database's errors into refusals, with the driver's own words on one line."""
    import sqlite3

    from sqlalchemy.exc import SQLAlchemyError  # late: it takes long to import

    from refserver.storage.errors import StorageError

    try:
        yield
    except (StorageError, SQLAlchemyError, sqlite3.Error) as error:
        raise Refused(f"{what}: {getattr(error, 'orig', None) or error}") from error
