"""Verbs on other servers: what a running server knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from refserver.app.verbs.federation_words import explain
from refserver.app.verbs.verb import LiveVerb, Refused, Running, moment
from refserver.jid import JID, InvalidJID

if TYPE_CHECKING:
    from refserver.s2s.known_servers import ServerStatus

__all__ = ["ListRemotes", "ShowRemote"]


@frozen
class ListRemotes(LiveVerb):
    """Every other server that had to do with us lately, by domain."""

    verb: ClassVar[str] = "s2s list"

    def answer(self, running: Running) -> list[dict[str, Any]]:
        """See `LiveVerb`."""
        return [_described(remote) for remote in running.remotes()]


@frozen
class ShowRemote(LiveVerb):
    """All that is known of one other server, and what to do about what went wrong with it."""

    verb: ClassVar[str] = "s2s show"
    domain: str

    def answer(self, running: Running) -> dict[str, Any]:
        """See `LiveVerb`."""
        domain = _domain(self.domain)
        for remote in running.remotes():
            if remote.domain == domain:
                return _described(remote)
        raise Refused(
            f"{domain} has had nothing to do with this server since it started: "
            "`refserverctl s2s list` shows those that had"
        )


def _domain(text: str) -> str:
    try:
        jid = JID.parse(text)
    except InvalidJID:
        jid = None
    if jid is None or jid.localpart or jid.resourcepart:
        raise Refused(f"{text!r} is no domain: write it like example.org")
    return jid.domainpart


def _described(remote: ServerStatus) -> dict[str, Any]:
    """As operators see it. `certificate` and `last_error` are a few words, what is behind them follows."""
    methods = dict.fromkeys(filter(None, (remote.outgoing_method, remote.incoming_method)))
    error = explain(remote.last_error, remote.domain)
    is_valid = remote.certificate in ("", "valid")
    return {
        "domain": remote.domain,
        "streams_out": remote.outgoing_streams,
        "streams_in": remote.incoming_streams,
        "connecting": remote.connecting,
        "method": ", ".join(methods),
        "waiting": remote.waiting,
        "unconfirmed": remote.unconfirmed,
        "sent": remote.sent,
        "received": remote.received,
        "refused": remote.refused,
        "returned": remote.returned,
        "certificate": remote.certificate if is_valid else explain(remote.certificate, remote.domain).short,
        "certificate_fault": "" if is_valid else remote.certificate,
        "certificate_names": list(remote.certificate_names),
        "certificate_issuer": remote.certificate_issuer,
        "certificate_expires": moment(remote.certificate_expires or None),
        "last_error": error.short,
        "last_error_at": moment(remote.last_error_at or None),
        "reason": remote.last_error,
        "meaning": error.meaning,
        "advice": error.advice,
        "paused_until": moment(remote.paused_until or None),
    }
