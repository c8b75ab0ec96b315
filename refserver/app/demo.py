"""The demonstration that `make run` starts: one library on this machine, a queue, a librarian, a patron.

Owns the folder var/ of the working directory: made at the first start, found as it was left at later ones.
Prints what to type into two clients to see a question answered, and then becomes the server itself.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final, NoReturn

from attrs import frozen
from OpenSSL import crypto
from sqlalchemy import Connection

from refserver.app.certificates import Certificate, ensure, write
from refserver.app.checks.ports import bind_error
from refserver.app.commands import Refused
from refserver.app.commands.accounts import AddAccount, SetPassword
from refserver.app.commands.context import Caller
from refserver.app.commands.librarians import AddLibrarian
from refserver.app.commands.libraries import AddLibrary
from refserver.app.commands.queues import AddQueue, QueueOptions
from refserver.app.commands.status import ShowStatus
from refserver.app.config import ConfigurationError, load
from refserver.app.data import DataInUse
from refserver.app.settings import Settings, tcp_address
from refserver.jid import JID
from refserver.reference.states import State
from refserver.sasl.verifier import Verifier, check_password, make_verifiers
from refserver.storage import accounts, libraries, questions, queues

FOLDER: Final = Path("var")
DOMAIN: Final = "localhost"
QUEUE: Final = f"ask@{DOMAIN}"
LIBRARIAN: Final = f"mia@{DOMAIN}"
PATRON: Final = f"pat@{DOMAIN}"
PEOPLE: Final = (LIBRARIAN, PATRON)
PORT_VARIABLE: Final = "REFSERVER_PORT"
USUAL_PORT: Final = 5222

_CONFIGURATION: Final = """\
# The demonstration's configuration, written by `make run`. conf/refserver.toml explains every key.

[server]
data = "data"

[listen]
c2s = ["tcp:{port}:interface=127.0.0.1"]
c2s_tls = ["tcp:{tls_port}:interface=127.0.0.1"]
s2s = []
s2s_tls = []
component = []

[tls]
certificates = "certs"

[s2s]
enabled = false
"""


_GUIDE: Final = """\
refserver's demonstration: the library {domain}, on this machine only.

  queue      {queue:<22} what patrons write to
  librarian  {librarian:<22} password {librarian_password}
  patron     {patron:<22} password {patron_password}

  server     127.0.0.1, port {port} (STARTTLS) or {tls_port} (TLS from the start)
  trust      {authority} (this demonstration's own certificate authority)
  data       {folder}/ (delete it to begin anew)

To see a question answered, open two terminals and start profanity in both (apt install profanity).
Any other XMPP client does, too: log in with the addresses above, server, port and trust as given.

1. As the librarian, in the first one:

     profanity
     /tls certpath set {trusted}
     /connect {librarian} server 127.0.0.1 port {port} tls force
                                   and the password {librarian_password}
     /join {room} nick {nick}
                                   the desk: being there is being on duty. It is bookmarked, so
                                   your client is in it already; this shows it.

2. As the patron, in the second one:

     profanity
     /tls certpath set {trusted}
     /connect {patron} server 127.0.0.1 port {port} tls force
                                   and the password {patron_password}
     /roster add {queue} Library
     /sub request {queue}
                                   the queue is a contact now, and says who is on duty:
     /status get {queue}
     /msg {queue} Do you have a book about bees?
                                   the question is asked; a line tells that it was received

3. As the librarian: the question is announced in the desk room. Take it, there:

     !{number}

   It has a chat of its own. What you write in it the patron reads, and you see each other typing:

     /win 1
     /msg {chat} Yes, on shelf 638. Which one are you looking for?

   The patron goes on in the chat with {queue}. To end it, type in the chat {chat}:

     !close 3

   3 is how much work it was, from 1 to 6 (READ scale). !help tells what else there is.

4. What was counted, in a third terminal:

     {python_bin}/refserverctl -c {config} report {queue}

Ctrl-C ends the server. `make run` starts it again, and everything is as you left it.
"""


class CannotRun(Exception):
    """The demonstration cannot start; the text says why and what to do."""


@frozen
class Prepared:
    """A demonstration that is ready to start: where its files are, and how to log in."""

    config: Path
    authority: Path
    trusted: Path
    port: int
    passwords: dict[str, str]
    next_number: int

    @property
    def guide(self) -> str:
        """The text that `make run` prints."""
        name, _, domain = QUEUE.partition("@")
        return _GUIDE.format(
            config=self.config,
            authority=self.authority.absolute(),
            trusted=self.trusted.absolute(),
            folder=self.config.parent.absolute(),
            port=self.port,
            tls_port=self.port + 1,
            domain=domain,
            queue=QUEUE,
            librarian=LIBRARIAN,
            librarian_password=self.passwords[LIBRARIAN],
            patron=PATRON,
            patron_password=self.passwords[PATRON],
            room=f"{name}@rooms.{domain}",
            nick=LIBRARIAN.partition("@")[0],
            chat=f"{name}+{self.next_number}@{domain}",
            number=self.next_number,
            python_bin=Path(sys.executable).parent,
        )


def main() -> NoReturn:
    """Prepare what is missing, print the guide, and become the server."""
    try:
        prepared = prepare(FOLDER, os.environ.get(PORT_VARIABLE, ""))
    except (CannotRun, ConfigurationError, Refused) as error:
        print(f"refserver: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(prepared.guide, flush=True)
    twistd = str(Path(sys.executable).with_name("twistd"))
    server = [twistd, "-n", "--pidfile=", "refserver", "--config", str(prepared.config)]
    os.execv(sys.executable, [sys.executable, *server])


def prepare(folder: Path, port: str = "") -> Prepared:
    """Make whatever is missing in `folder`; `port` is for clients, "" the one it had. Raises `CannotRun`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = _configured(folder, port)
    settings = load(config)
    caller = Caller(settings)
    status = caller.ask_running(ShowStatus())
    if status is not None:
        raise CannotRun(f"the demonstration is running already (process {status['process']})")
    c2s = _check_ports(settings)
    authority = ensure(folder / "certs", [Certificate(DOMAIN)])
    trusted = _trusted(folder / "trusted", authority)
    passwords, number = _populated(caller, folder / "demo.json")
    return Prepared(config, authority, trusted, c2s, passwords, number)


def _configured(folder: Path, port: str) -> Path:
    config = folder / "refserver.toml"
    if port or not config.exists():
        if port and not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65534):
            raise CannotRun(f"{PORT_VARIABLE} is {port!r}: allowed is a number from 1 to 65534")
        number = int(port or USUAL_PORT)
        config.write_text(_CONFIGURATION.format(port=number, tls_port=number + 1))
    return config


def _check_ports(settings: Settings) -> int:
    """The port for clients. Raises `CannotRun` if something else listens where we would."""
    found = [tcp_address(text) for text in (*settings.listen.c2s, *settings.listen.c2s_tls)]
    addresses = [address for address in found if address is not None]
    for host, port in addresses:
        code = bind_error(host, port)
        if code:
            raise CannotRun(
                f"port {port} cannot be had: {os.strerror(code)}. "
                f"Choose another one, and the next for TLS, like this: {PORT_VARIABLE}=15222 make run"
            )
    if not addresses:
        raise CannotRun(f"no port in {FOLDER / 'refserver.toml'}: {PORT_VARIABLE}=5222 make run sets one")
    return addresses[0][1]


def _trusted(folder: Path, authority: Path) -> Path:
    """A folder with the authority under its hash: how programs on OpenSSL want to be told whom to trust."""
    folder.mkdir(exist_ok=True)
    certificate = authority.read_bytes()
    name = f"{crypto.load_certificate(crypto.FILETYPE_PEM, certificate).subject_name_hash():08x}.0"
    for old in folder.glob("*.0"):
        if old.name != name:
            old.unlink()
    (folder / name).write_bytes(certificate)
    return folder


# -- who is there ----------------------------------------------------------------


def _populated(caller: Caller, file: Path) -> tuple[dict[str, str], int]:
    """The passwords, and the number of the next question."""
    is_new = not file.exists()
    passwords = _passwords(file)
    verifiers = {jid: make_verifiers(password) for jid, password in passwords.items()}
    try:
        data = caller.open_data()
    except DataInUse as error:
        raise CannotRun(f"{error}: is the demonstration just starting or ending?") from error
    with closing(data):
        kept = data.database.write_now(_populate, verifiers, is_new)
        number = data.database.read_now(_next_number)
    for jid, verifier in kept.items():
        if not check_password(verifier, passwords[jid]):
            passwords[jid] = "(the one you have given it)"
    return passwords, number


def _populate(
    connection: Connection, verifiers: dict[str, dict[str, Verifier]], are_new: bool
) -> dict[str, Verifier]:
    """At the first start, make the library and who belongs to it; a verifier of each account that is there.

    `are_new`: these verifiers are of passwords that nobody has been told yet, so they replace any others.
    """
    now = time.time()
    if libraries.get(connection, DOMAIN) is None:
        AddLibrary(DOMAIN, "The Demo Library").run(connection, now)
        for jid in PEOPLE:
            AddAccount(jid, verifiers[jid]).run(connection, now)
        AddQueue(QUEUE, QueueOptions(title="Ask a librarian")).run(connection, now)
        AddLibrarian(QUEUE, LIBRARIAN).run(connection, now)
    elif are_new:
        for jid in PEOPLE:
            if accounts.exists(connection, JID.parse(jid)):
                SetPassword(jid, verifiers[jid]).run(connection, now)
    found = {jid: accounts.verifiers(connection, JID.parse(jid)) for jid in PEOPLE}
    return {jid: next(iter(known.values())) for jid, known in found.items() if known}


def _next_number(connection: Connection) -> int:
    queue = queues.find(connection, JID.parse(QUEUE))
    asked = [] if queue is None else questions.in_states(connection, frozenset(State), queue.id)
    return max((question.number for question in asked), default=0) + 1


def _passwords(file: Path) -> dict[str, str]:
    """The passwords made at the first start, kept in a file that only its owner can read."""
    if file.exists():
        kept: dict[str, str] = json.loads(file.read_text("utf-8"))
        return kept
    made = {jid: secrets.token_hex(6) for jid in PEOPLE}
    write(file, json.dumps(made, indent=2).encode(), mode=0o600)
    return made


if __name__ == "__main__":
    main()
