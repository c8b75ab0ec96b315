"""refserverctl s2s: what a running server knows of other servers, and what to do about their faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import click
from attrs import frozen

from refserver.app.commands.context import command
from refserver.app.commands.request import Refused, ServerRequest, domain_address, moment
from refserver.errors import Cause, StreamFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refserver.app.parts import RunningServer
    from refserver.s2s.known_servers import KnownServer


# -- faults, explained ---------------------------------------------------------------


_WAIT: Final = "Wait: the next stanza for it begins another attempt."
_ASK: Final = _WAIT + " If it lasts, ask its operator what its log says."
_THEIR_OPERATOR: Final = "Only its operator can mend this: tell them."
_TRUST: Final = (
    "If you trust whoever signed it, add that authority's certificate to the file that s2s.trusted_ca names; "
    'or let DNS prove it: s2s.authentication = "dialback".'
)
_LOOK_AT_OURS: Final = (
    "Run `refserverctl check`: it looks at our certificates and DNS records as others see them."
)


@frozen
class Explained:
    """A fault in a few words, in a sentence, and what to do; {domain} and {detail} are filled in."""

    short: str = ""
    meaning: str = ""
    advice: str = ""


_NONE_TO_VERIFY: Final = Explained(
    "none to verify", "{domain} has shown no certificate that could be verified.", _THEIR_OPERATOR
)
_TABLE: Final[dict[Cause, Explained]] = {
    # -- finding it
    Cause.NO_SERVER: Explained(
        "no such server",
        "DNS knows no XMPP server for {domain}.",
        "Look whether the name is spelt right. If it is, its operator must add SRV or address records; "
        "s2s.hosts names a place for it in the meantime.",
    ),
    Cause.NO_ADDRESS: Explained(
        "its server has no address",
        "DNS says that the server of {domain} is {detail}, and has no address for that.",
        _THEIR_OPERATOR,
    ),
    Cause.NO_DNS_ANSWER: Explained(
        "DNS does not answer",
        "The name servers did not answer, so nobody knows where the server of {domain} is.",
        "Try `host -t SRV _xmpp-server._tcp.{domain}`. If that fails for other domains, too, look at this "
        "machine's network and /etc/resolv.conf.",
    ),
    # -- getting there
    Cause.CONNECTION_REFUSED: Explained(
        "connection refused",
        "Nothing takes connections at {detail}: the server of {domain} is down, or listens elsewhere.",
        _WAIT + " If it lasts, tell its operator. s2s.hosts names another place for it.",
    ),
    Cause.CONNECTION_TIMEOUT: Explained(
        "no connection in time",
        "No answer from {detail}: it is down, or a firewall, theirs or ours, drops what we send.",
        "Try `nc -vz` with that address and port from this machine, and from another network.",
    ),
    Cause.NO_ROUTE: Explained(
        "no way there",
        "This machine has no way through the network to {detail}.",
        "Look at this machine's network: `ip route`, and for an IPv6 address `ip -6 route`.",
    ),
    Cause.CONNECTION_FAILED: Explained(
        "no connection", "The connection to {domain} failed ({detail}).", _ASK
    ),
    Cause.CONNECTION_LOST: Explained("it hung up", "The connection with {domain} was lost ({detail}).", _ASK),
    Cause.TLS_FAILED: Explained(
        "TLS failed",
        "No encrypted connection with {domain} came about ({detail}).",
        "Look with `openssl s_client -starttls xmpp-server -connect HOST:5269`. "
        "Servers that only know what is older than TLS 1.2 are not talked to.",
    ),
    Cause.NO_TLS: Explained(
        "no TLS", "{domain} does not encrypt, and unencrypted streams are refused here.", _THEIR_OPERATOR
    ),
    Cause.TOO_MANY: Explained(
        "too many attempts",
        "The attempt to reach {domain} was given up, since too many servers did not answer.",
        _WAIT + " If it lasts, look with `refserverctl s2s list` which servers do not answer.",
    ),
    # -- its certificate
    Cause.NO_CERTIFICATE: _NONE_TO_VERIFY,
    Cause.UNREADABLE_CERTIFICATE: _NONE_TO_VERIFY,
    Cause.UNVERIFIED_CERTIFICATE: _NONE_TO_VERIFY,
    Cause.CERTIFICATE_EXPIRED: Explained(
        "expired", "The certificate of {domain} has expired.", _THEIR_OPERATOR
    ),
    Cause.CERTIFICATE_NOT_YET_VALID: Explained(
        "not valid yet",
        "The certificate of {domain} is valid only from a later time on.",
        "Look at this machine's clock (`timedatectl`). If it is right, only its operator can mend this.",
    ),
    Cause.SELF_SIGNED: Explained(
        "self-signed", "{domain} has signed its certificate itself, as anybody could.", _TRUST
    ),
    Cause.INCOMPLETE_CHAIN: Explained(
        "unknown authority",
        "The certificate of {domain} does not lead to an authority that is trusted here, or those between "
        "the two are not sent.",
        f"Its operator should look at the chain. {_TRUST}",
    ),
    Cause.UNKNOWN_AUTHORITY: Explained(
        "unknown authority",
        "The certificate of {domain} comes from an authority that is not trusted here.",
        _TRUST,
    ),
    Cause.WRONG_NAME: Explained(
        "wrong name",
        "The certificate that was shown is not for {domain}.",
        "Either its operator got the wrong certificate, or its DNS leads to another server. "
        + _THEIR_OPERATOR,
    ),
    Cause.INVALID_CERTIFICATE: Explained(
        "not valid", "The certificate of {domain} is not valid: {detail}.", _THEIR_OPERATOR
    ),
    # -- what it thinks of us
    Cause.OUR_CERTIFICATE_REFUSED: Explained(
        "our certificate refused",
        "{domain} does not accept our certificate.",
        _LOOK_AT_OURS + " If all is well there, its operator may trust fewer authorities than most do.",
    ),
    Cause.OUR_KEY_REFUSED: Explained(
        "dialback refused",
        "{domain} asked the server that DNS names for our domain, and that did not know our key.",
        "Our DNS records lead to another server, or two servers run for our domain. " + _LOOK_AT_OURS,
    ),
    Cause.WE_ARE_UNREACHABLE: Explained(
        "dialback refused",
        "{domain} could not reach us to verify who we are.",
        "Other servers must be able to connect to us. " + _LOOK_AT_OURS,
    ),
    Cause.DIALBACK_REFUSED: Explained(
        "dialback refused", "{domain} does not let servers in by dialback.", _LOOK_AT_OURS
    ),
    Cause.NOT_SERVED: Explained(
        "not served there",
        "The server to which DNS leads does not serve {domain}.",
        "Look whether the name is spelt right. If it is, only its operator can mend this: tell them.",
    ),
    Cause.WE_ARE_REFUSED: Explained(
        "we are refused", "{domain} does not believe that we are who we say.", _LOOK_AT_OURS
    ),
    Cause.AGAINST_POLICY: Explained(
        "refused by its policy",
        "{domain} does not want streams like ours, or from us.",
        "Ask its operator: our domain may be on a list there.",
    ),
    Cause.SHUT_DOWN: Explained("shut down", "The server of {domain} was being shut down.", _WAIT),
    Cause.BUSY: Explained("too busy", "The server of {domain} has too much to do.", _WAIT),
    # -- what it has done
    Cause.TOO_SLOW: Explained(
        "too slow",
        "{domain} took the connection, and then too long to answer.",
        _WAIT + " If it lasts, tell its operator.",
    ),
    Cause.NOTHING_ACKNOWLEDGED: Explained(
        "stopped answering",
        "{domain} acknowledged nothing for a minute, and its stream was replaced.",
        "Nothing is to be done: what was open was sent again, or came back to its sender. "
        "If it lasts, tell its operator.",
    ),
    Cause.KEY_NOT_VERIFIED: Explained(
        "key not verified",
        "{domain} did not say whether the dialback key that came in its name was its own.",
        _ASK,
    ),
    Cause.PROTOCOL_BROKEN: Explained(
        "broke the protocol",
        "{domain} sent what no server may send ({detail}), and its stream was closed.",
        "If it happens again, tell its operator, and us if you think that we are wrong.",
    ),
    Cause.WE_CLOSED: Explained(
        "we closed its stream",
        "{domain} sent stanzas that it may not send ({detail}), and its stream was closed.",
        "If it happens again, tell its operator.",
    ),
    Cause.CLOSED_WITH_ERROR: Explained(
        "closed with an error",
        "{domain} has closed the stream because of an error that it calls {detail}.",
        _WAIT + " If it happens again, ask its operator what its log says.",
    ),
    Cause.CLOSED: Explained(
        "stream closed",
        "{domain} has closed the stream, as servers do that have nothing to say or are restarted.",
        "Nothing is to be done: the next stanza opens another.",
    ),
}


def explain(fault: StreamFault | None, domain: str) -> Explained:
    """Return what a fault of the server of `domain` means; the advice may name settings and commands."""
    if fault is None:
        return Explained()
    known = _TABLE[fault.cause]

    def filled(text: str) -> str:
        # Not str.format: details may be the peer's choice of words, and hold braces.
        return fault.detail.join(part.replace("{domain}", domain) for part in text.split("{detail}"))

    said = f" It says: {fault.said}" if fault.said else ""
    return Explained(known.short, filled(known.meaning) + said, filled(known.advice))


# -- requests ------------------------------------------------------------------------


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


@click.group()
def s2s() -> None:
    """Other servers: the streams from and to them, and what went wrong."""


@command(s2s, columns=COLUMNS, nothing="no other server has had to do with this one yet")
@frozen
class ListRemotes(ServerRequest):
    """List the other servers that had to do with this one since it started."""

    words: ClassVar[str] = "s2s list"

    def answer(self, server: RunningServer) -> list[dict[str, Any]]:
        return [_described(remote) for remote in _remotes(server)]


@command(s2s)
@frozen
class ShowRemote(ServerRequest):
    """Show all that is known of one other server, and what to do about its last error."""

    words: ClassVar[str] = "s2s show"
    domain: str

    def answer(self, server: RunningServer) -> dict[str, Any]:
        domain = domain_address(self.domain, like="example.org")
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
