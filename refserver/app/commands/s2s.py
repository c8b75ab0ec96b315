"""refserverctl s2s: what a running server knows of other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import click
from attrs import frozen

from refserver.app.commands.context import Context, pass_context, print_json, print_one
from refserver.app.commands.request import Refused, ServerRequest, moment
from refserver.app.commands.s2s_advice import explain
from refserver.jid import JID, InvalidJID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refserver.app.parts import RunningServer
    from refserver.s2s.known_servers import KnownServer

COLUMNS: Final = (
    "domain",
    "streams_out",
    "streams_in",
    "method",
    "waiting",
    "sent",
    "received",
    "certificate",
    "last_error",
)


@frozen
class ListRemotes(ServerRequest):
    """List every other server that had to do with this one lately, by domain."""

    words: ClassVar[str] = "s2s list"

    def answer(self, server: RunningServer) -> list[dict[str, Any]]:
        return [_described(remote) for remote in _remotes(server)]


@frozen
class ShowRemote(ServerRequest):
    """Show all that is known of one other server, and what to do about its last error."""

    words: ClassVar[str] = "s2s show"
    domain: str

    def answer(self, server: RunningServer) -> dict[str, Any]:
        domain = _domain(self.domain)
        for remote in _remotes(server):
            if remote.domain == domain:
                return _described(remote)
        raise Refused(
            f"{domain} has had nothing to do with this server since it started: "
            "`refserverctl s2s list` shows those that had"
        )


def _remotes(server: RunningServer) -> Sequence[KnownServer]:
    if server.servers is None:
        raise Refused("this server does not talk to other servers: s2s.enabled is false")
    return server.servers.status()


def _domain(text: str) -> str:
    try:
        jid = JID.parse(text)
    except InvalidJID:
        jid = None
    if jid is None or jid.localpart or jid.resourcepart:
        raise Refused(f"{text!r} is no domain: write it like example.org")
    return jid.domainpart


def _described(remote: KnownServer) -> dict[str, Any]:
    """Return what operators see. `certificate` and `last_error` are a few words; details follow them."""
    methods = dict.fromkeys(filter(None, (remote.outgoing_method, remote.incoming_method)))
    error = explain(remote.last_error, remote.domain)
    fault, shown = remote.certificate_fault, remote.certificate
    is_valid = "valid" if remote.certificate_shown else ""
    return {
        "domain": remote.domain,
        "streams_out": remote.outgoing,
        "streams_in": remote.incoming,
        "connecting": remote.connecting,
        "method": ", ".join(methods),
        "waiting": remote.waiting,
        "unacknowledged": remote.unacknowledged,
        "sent": remote.sent,
        "received": remote.received,
        "refused": remote.refused,
        "returned": remote.returned,
        "certificate": explain(fault, remote.domain).short if fault else is_valid,
        "certificate_fault": str(fault or ""),
        "certificate_names": list(shown.names),
        "certificate_issuer": shown.issuer,
        "certificate_expires": moment(shown.expires or None),
        "last_error": error.short,
        "last_error_at": moment(remote.last_error_at or None),
        "reason": str(remote.last_error or ""),
        "meaning": error.meaning,
        "advice": error.advice,
        "paused_until": moment(remote.paused_until or None),
    }


# -- what is typed -------------------------------------------------------------------


@click.group()
def s2s() -> None:
    """Other servers: the streams from and to them, and what went wrong."""


@s2s.command("list")
@pass_context
def list_(context: Context) -> None:
    """List the other servers that had to do with this one since it started."""
    context.show(ListRemotes(), COLUMNS, "no other server has had to do with this one yet")


@s2s.command("show")
@click.argument("domain")
@pass_context
def show(context: Context, domain: str) -> None:
    """Show all that is known of one other server, and what to do about its last error."""
    data: dict[str, Any] = context.caller.call(ShowRemote(domain))
    if context.json:
        print_json(data)
    else:
        print_one(data)
