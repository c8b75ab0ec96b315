"""refserverctl account …

Passwords come from a prompt or from standard input. The keys made of them are all that leaves this process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.printing import print_json
from refserver.app.verbs import Refused
from refserver.app.verbs.plain import made_of, plain
from refserver.app.verbs.wish import Wish

__all__ = ["account"]

LONGEST_PASSWORD: Final = 1023  # bytes

F = TypeVar("F", bound=Callable[..., Any])


def _password_option(command: F) -> F:
    return click.option(
        "--password-stdin",
        is_flag=True,
        help="Read the password from standard input: its first line. Otherwise it is asked for.",
    )(command)


@click.group()
def account() -> None:
    """Accounts: librarians and patrons who log in here."""


@account.command("add")
@click.argument("jid")
@_password_option
@pass_context
def add(context: Context, jid: str, password_stdin: bool) -> None:
    """Make an account. If it is there with the same password, nothing is changed."""
    password = _password(jid, from_stdin=password_stdin)
    if _is_known(context.caller.call(Wish.to("account verifiers", jid=jid)), password):
        _say_unchanged(context, jid)
    else:
        context.change(Wish.to("account add", jid=jid, verifiers=_verifiers(password)), "jid")


@account.command("list")
@click.option("--domain", help="Only this library's.")
@pass_context
def list_(context: Context, domain: str | None) -> None:
    """List the accounts."""
    context.show(Wish.to("account list", domain=domain), ("jid", "disabled", "created"), "no accounts")


@account.command("remove")
@click.argument("jid")
@pass_context
def remove(context: Context, jid: str) -> None:
    """Remove an account and all that belongs to it; its sessions end."""
    context.change(Wish.to("account remove", jid=jid), "jid")


@account.command("password")
@click.argument("jid")
@_password_option
@pass_context
def change_password(context: Context, jid: str, password_stdin: bool) -> None:
    """Give an account another password; its sessions end."""
    new = _password(jid, from_stdin=password_stdin)
    context.change(Wish.to("account password", jid=jid, verifiers=_verifiers(new)), "jid")


@account.command("disable")
@click.argument("jid")
@pass_context
def disable(context: Context, jid: str) -> None:
    """Refuse an account's log-ins and end its sessions; nothing of it is lost."""
    context.change(Wish.to("account disable", jid=jid), "jid")


@account.command("enable")
@click.argument("jid")
@pass_context
def enable(context: Context, jid: str) -> None:
    """Let an account log in again."""
    context.change(Wish.to("account enable", jid=jid), "jid")


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


def _is_known(verifiers: Any, password: str) -> bool:
    """Whether `account verifiers` has answered that there is an account with that password."""
    from refserver.sasl.verifier import Verifier, check_password  # late: only passwords need it

    known = made_of(verifiers, dict[str, Verifier])
    return bool(known) and all(check_password(verifier, password) for verifier in known.values())


def _verifiers(password: str) -> Any:
    """What is stored of a password, as JSON has it."""
    from refserver.sasl.password import InvalidPassword
    from refserver.sasl.verifier import make_verifiers

    if len(password.encode()) > LONGEST_PASSWORD:
        raise Refused(f"the password is longer than {LONGEST_PASSWORD} bytes: choose a shorter one")
    try:
        return plain(make_verifiers(password))
    except InvalidPassword as error:
        raise Refused(f"{error}: choose another one") from None


def _say_unchanged(context: Context, jid: str) -> None:
    if context.json:
        print_json({"jid": jid, "done": "unchanged"})
    else:
        click.echo(f"{jid}: unchanged")
