"""refserverctl account: accounts of librarians and patrons who log in here.

Passwords come from a prompt or from standard input. Only the verifiers made of them leave this process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import click
from attrs import frozen

from refserver.app.commands.context import Context, command, pass_context
from refserver.app.commands.late import (
    Connection,
    RunningServer,
    account_removal,
    accounts,
    hooks,
    libraries,
    offices,
    queues,
)
from refserver.app.commands.request import (
    Done,
    Refused,
    Request,
    bare_address,
    domain_of,
    from_json,
    moment,
    refuse_shadowing,
    served_domain,
)
from refserver.errors import StreamCondition
from refserver.jid import JID
from refserver.sasl.verifier import (
    Hashing,
    InvalidPassword,
    Verifier,
    check_password,
    make_verifiers,
    prepared,
)

SHORTEST_PASSWORD: Final = 8  # characters
LONGEST_PASSWORD: Final = 1023  # bytes


@click.group()
def account() -> None:
    """Accounts: librarians and patrons who log in here."""


@frozen
class AddAccount(Request):
    """Make an account. Raises `Refused` if there is one: its password is not changed."""

    words: ClassVar[str] = "account add"
    jid: str
    verifiers: Mapping[str, Verifier]

    def run(self, connection: Connection, now: float) -> Done:
        jid = bare_address(self.jid)
        domain_of(connection, jid)
        refuse_shadowing(connection, jid)
        known = accounts.get(connection, jid)
        if known is not None:
            state, way = ("disabled", "enable") if known.disabled else ("with another password", "password")
            raise Refused(
                f"there is an account {jid} already, {state}: `refserverctl account {way} {jid}` changes that"
            )
        accounts.add(connection, jid, self.verifiers, now)
        events: list[object] = [hooks.AccountAdded(jid)]
        for queue, librarian in queues.desks_of(connection, jid):  # a librarian before she had an account
            offices.appoint(connection, queue.id, librarian)
            events.append(hooks.QueuesChanged(queue.jid.domainpart))
        return Done({"jid": jid.text, "done": "added"}, tuple(events))


@frozen
class AccountVerifiers(Request):
    """Return the verifiers of an account that may log in; refserverctl compares a password with them."""

    words: ClassVar[str] = "account verifiers"
    writes: ClassVar[bool] = False
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        """The data is as `AddAccount.verifiers`; empty if there is no such account."""
        return Done(dict(accounts.verifiers(connection, bare_address(self.jid)) or {}))


@command(
    account,
    click.Option(["--domain"], help="Only this library's."),
    columns=("jid", "disabled", "created"),
    nothing="no accounts",
)
@frozen
class ListAccounts(Request):
    """List the accounts."""

    words: ClassVar[str] = "account list"
    writes: ClassVar[bool] = False
    domain: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        if self.domain is None:
            domains = [library.domain for library in libraries.list(connection)]
        else:
            domains = [served_domain(connection, self.domain)]
        return Done(
            [
                {"jid": each.jid.text, "disabled": each.disabled, "created": moment(each.created)}
                for domain in domains
                for each in accounts.list(connection, domain)
            ]
        )


@command(account, done="jid", sure="Remove {jid} with its contacts, messages and settings?")
@frozen
class RemoveAccount(Request):
    """Remove an account and all that belongs to it, offices at queues too; its sessions end."""

    words: ClassVar[str] = "account remove"
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        jid = _account(connection, self.jid)
        events = account_removal.remove_account(connection, jid, now)
        return Done({"jid": jid.text, "done": "removed"}, events)


@frozen
class SetPassword(Request):
    """Give an account another password."""

    words: ClassVar[str] = "account password"
    jid: str
    verifiers: Mapping[str, Verifier]

    def run(self, connection: Connection, now: float) -> Done:
        jid = _account(connection, self.jid)
        accounts.set_verifiers(connection, jid, self.verifiers)
        return Done({"jid": jid.text, "done": "password changed"}, (hooks.CredentialsChanged(jid),))

    async def apply(self, server: RunningServer, done: Done) -> Any:
        await super().apply(server, done)
        server.end_sessions(bare_address(self.jid), StreamCondition.RESET, "the password was changed")
        return done.data


@frozen
class _SwitchAccount(Request):
    """Base class of requests that let an account log in, or not."""

    disabled: ClassVar[bool]
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        jid = _account(connection, self.jid)
        known = accounts.get(connection, jid)
        if known is not None and known.disabled == self.disabled:
            return Done({"jid": jid.text, "done": "unchanged"})
        accounts.set_disabled(connection, jid, self.disabled)
        done = "disabled" if self.disabled else "enabled"
        return Done({"jid": jid.text, "done": done}, (hooks.CredentialsChanged(jid),))

    async def apply(self, server: RunningServer, done: Done) -> Any:
        await super().apply(server, done)
        if done.events and self.disabled:
            jid = bare_address(self.jid)
            server.end_sessions(jid, StreamCondition.NOT_AUTHORIZED, "the account was disabled")
        return done.data


@command(account, done="jid")
@frozen
class DisableAccount(_SwitchAccount):
    """Refuse an account's log-ins and end its sessions. Nothing of it is lost."""

    words: ClassVar[str] = "account disable"
    disabled: ClassVar[bool] = True


@command(account, done="jid")
@frozen
class EnableAccount(_SwitchAccount):
    """Let an account log in again."""

    words: ClassVar[str] = "account enable"
    disabled: ClassVar[bool] = False


def _account(connection: Connection, text: str) -> JID:
    """Return the address of an account that is there. Raises `Refused`."""
    jid = bare_address(text)
    domain_of(connection, jid)
    if not accounts.exists(connection, jid):
        raise Refused(f"there is no account {jid}: `refserverctl account list` shows those there are")
    return jid


# -- what is typed -------------------------------------------------------------------


_password_option = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input: its first line. Otherwise it is asked for.",
)


@account.command("add")
@click.argument("jid")
@_password_option
@pass_context
def add(context: Context, jid: str, password_stdin: bool) -> None:
    """Make an account. If it is there with the same password, nothing is changed."""
    password = _password(jid, from_stdin=password_stdin)
    known = from_json(context.caller.call(AccountVerifiers(jid)), dict[str, Verifier])
    if known and all(check_password(verifier, password) for verifier in known.values()):
        context.say_done({"jid": jid, "done": "unchanged"}, "jid")
    else:
        context.change(AddAccount(jid, _verifiers(context, password)), "jid")


@account.command("password")
@click.argument("jid")
@_password_option
@pass_context
def change_password(context: Context, jid: str, password_stdin: bool) -> None:
    """Give an account another password; its sessions end."""
    new = _password(jid, from_stdin=password_stdin)
    context.change(SetPassword(jid, _verifiers(context, new)), "jid")


def _password(jid: str, *, from_stdin: bool) -> str:
    if not from_stdin:
        if not _is_terminal():
            raise click.UsageError("There is no terminal to ask for the password: use --password-stdin.")
        return str(click.prompt(f"Password for {jid}", hide_input=True, confirmation_prompt=True))
    line: bytes = sys.stdin.buffer.readline(LONGEST_PASSWORD + 3)
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Refused("the password on standard input is not UTF-8: encode it so") from None


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _verifiers(context: Context, password: str) -> dict[str, Verifier]:
    """Return what is stored of a password. Raises `Refused`."""
    if len(password.encode()) > LONGEST_PASSWORD:
        raise Refused(f"the password is longer than {LONGEST_PASSWORD} bytes: choose a shorter one")
    try:
        prepared(password)
    except InvalidPassword as error:
        raise Refused(f"{error}: choose another one") from None
    if len(password) < SHORTEST_PASSWORD:
        raise Refused(f"the password has fewer than {SHORTEST_PASSWORD} characters: choose a longer one")
    c2s = context.settings.c2s
    return make_verifiers(password, Hashing(c2s.scram_iterations, c2s.scram_sha_1))
