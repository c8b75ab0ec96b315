"""Why there is no stream to another server, for operators: in a few words, in a sentence, and what to do.

Owns the table from the reasons that the server notes (s2s/, stream/, net/) to these words. A reason that is
not in it is repeated as it is.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

__all__ = ["Explained", "explain"]

_WAIT: Final = "Wait: the next stanza for it begins another attempt."
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
    """`short` fits a column of a table; `meaning` is a sentence, `advice` what to do. All "": no error."""

    short: str
    meaning: str
    advice: str


@frozen
class _Known:
    """What it means that a reason contains `pattern`; its named groups, and `domain`, stand in the texts."""

    pattern: str
    short: str
    meaning: str
    advice: str


_TABLE: Final = (
    # -- finding it
    _Known(
        "DNS has no XMPP server for it|DNS has no address for (?P<host>{domain})$",
        "no such server",
        "DNS knows no XMPP server for {domain}.",
        "Look whether the name is spelt right. If it is, its operator must add SRV or address records; "
        "s2s.hosts names a place for it in the meantime.",
    ),
    _Known(
        r"DNS has no address for (?P<host>\S+)",
        "its server has no address",
        "DNS says that the server of {domain} is {host}, and has no address for that.",
        _THEIR_OPERATOR,
    ),
    _Known(
        "the name servers do not answer",
        "DNS does not answer",
        "The name servers did not answer, so nobody knows where the server of {domain} is.",
        "Try `host -t SRV _xmpp-server._tcp.{domain}`. If that fails for other domains, too, look at this "
        "machine's network and /etc/resolv.conf.",
    ),
    # -- getting there
    _Known(
        r"(?P<place>\S+): connection refused",
        "connection refused",
        "Nothing takes connections at {place}: the server of {domain} is down, or listens elsewhere.",
        _WAIT + " If it lasts, tell its operator. s2s.hosts names another place for it.",
    ),
    _Known(
        r"(?P<place>\S+): (connection )?timed out",
        "no connection in time",
        "No answer from {place}: it is down, or a firewall, theirs or ours, drops what we send.",
        "Try `nc -vz` with that address and port from this machine, and from another network.",
    ),
    _Known(
        r"(?P<place>\S+): (no route to host|network is unreachable|host is unreachable)",
        "no way there",
        "This machine has no way through the network to {place}.",
        "Look at this machine's network: `ip route`, and for an IPv6 address `ip -6 route`.",
    ),
    _Known(
        "TLS handshake|^TLS: ",
        "TLS failed",
        "No encrypted connection with {domain} came about.",
        "Look with `openssl s_client -starttls xmpp-server -connect HOST:5269`. "
        "Servers that only know what is older than TLS 1.2 are not talked to.",
    ),
    _Known(
        "connection reset by peer|broken pipe|closed by the peer",
        "it hung up",
        "{domain} ended the connection without saying why.",
        _WAIT + " If it lasts, ask its operator what its log says.",
    ),
    # -- its certificate
    _Known("has expired", "expired", "The certificate of {domain} has expired.", _THEIR_OPERATOR),
    _Known(
        "is not valid yet",
        "not valid yet",
        "The certificate of {domain} is valid only from a later time on.",
        "Look at this machine's clock (`timedatectl`). If it is right, only its operator can mend this.",
    ),
    _Known(
        "is self-signed",
        "self-signed",
        "{domain} has signed its certificate itself, as anybody could.",
        _TRUST,
    ),
    _Known(
        "or certificates between the two are missing",
        "unknown authority",
        "The certificate of {domain} does not lead to an authority that is trusted here, or those between "
        "the two are not sent.",
        f"Its operator should look at the chain. {_TRUST}",
    ),
    _Known(
        "signed by an authority that is not trusted here",
        "unknown authority",
        "The certificate of {domain} comes from an authority that is not trusted here.",
        _TRUST,
    ),
    _Known(
        "the certificate is not for |the certificate names no server",
        "wrong name",
        "The certificate that was shown is not for {domain}.",
        "Either its operator got the wrong certificate, or its DNS leads to another server. "
        + _THEIR_OPERATOR,
    ),
    _Known(
        "no certificate was shown|the certificate cannot be read|the certificate was not verified",
        "none to verify",
        "{domain} has shown no certificate that could be verified.",
        _THEIR_OPERATOR,
    ),
    _Known(
        "the certificate (was|is) ", "not valid", "The certificate of {domain} is not valid.", _THEIR_OPERATOR
    ),
    # -- TLS
    _Known(
        "offers no TLS|cannot do TLS",
        "no TLS",
        "{domain} does not encrypt, and unencrypted streams are refused here.",
        _THEIR_OPERATOR,
    ),
    # -- what it thinks of us
    _Known(
        "does not accept our certificate",
        "our certificate refused",
        "{domain} does not accept our certificate.",
        _LOOK_AT_OURS + " If all is well there, its operator may trust fewer authorities than most do.",
    ),
    _Known(
        "our dialback key is not valid",
        "dialback refused",
        "{domain} asked the server that DNS names for our domain, and that did not know our key.",
        "Our DNS records lead to another server, or two servers run for our domain. " + _LOOK_AT_OURS,
    ),
    _Known(
        "refuses dialback: remote-(server-not-found|connection-failed|server-timeout)|"
        "refuses dialback: (?P<condition>.*(timeout|not-found))",
        "dialback refused",
        "{domain} could not reach us to verify who we are.",
        "Other servers must be able to connect to us. " + _LOOK_AT_OURS,
    ),
    _Known(
        "refuses dialback", "dialback refused", "{domain} does not let servers in by dialback.", _LOOK_AT_OURS
    ),
    _Known(
        "does not know this domain|does not serve this domain",
        "not served there",
        "The server to which DNS leads does not serve {domain}.",
        "Look whether the name is spelt right. If it is, only its operator can mend this: tell them.",
    ),
    _Known(
        "does not accept (that we are who we say|our domain)",
        "we are refused",
        "{domain} does not believe that we are who we say.",
        _LOOK_AT_OURS,
    ),
    _Known(
        "against the server's policy",
        "refused by its policy",
        "{domain} does not want streams like ours, or from us.",
        "Ask its operator: our domain may be on a list there.",
    ),
    _Known(
        "did not get ready in time|did not answer in time|took too long|no stream in time|slow reader",
        "too slow",
        "{domain} took the connection, and then too long to answer.",
        _WAIT + " If it lasts, tell its operator.",
    ),
    _Known(
        "acknowledged nothing in time|nothing was acknowledged",
        "stopped answering",
        "{domain} acknowledged nothing for a minute, and its stream was replaced.",
        "Nothing is to be done: what was open was sent again, or came back to its sender. "
        "If it lasts, tell its operator.",
    ),
    _Known("is being shut down", "shut down", "The server of {domain} was being shut down.", _WAIT),
    _Known("too busy", "too busy", "The server of {domain} has too much to do.", _WAIT),
    # -- what it has done
    _Known(
        "did not verify its key",
        "key not verified",
        "{domain} did not say whether the dialback key that came in its name was its own.",
        _WAIT + " If it lasts, ask its operator what its log says.",
    ),
    _Known(
        "broke off: (?P<condition>[a-z-]+)",
        "broke off",
        "The stream to {domain} broke off before it could be used ({condition}).",
        _WAIT + " If it lasts, ask its operator what its log says.",
    ),
    _Known(
        "^internal error$",
        "our own fault",
        "Something went wrong in this server while it talked to {domain}.",
        "Look into this server's log, and report what it says.",
    ),
    _Known(
        "broke the protocol: (?P<condition>[a-z-]+)",
        "broke the protocol",
        "{domain} sent what no server may send ({condition}), and its stream was closed.",
        "If it happens again, tell its operator, and us if you think that we are wrong.",
    ),
    _Known(
        "^refused: (?P<condition>[a-z-]+)",
        "we closed its stream",
        "{domain} sent stanzas that it may not send ({condition}), and its stream was closed.",
        "If it happens again, tell its operator.",
    ),
    _Known(
        "(closed|ended) the stream: (?!system-shutdown|reset|connection-timeout)(?P<condition>[a-z-]+)",
        "closed with an error",
        "{domain} has closed the stream because of an error that it calls {condition}.",
        _WAIT + " If it happens again, ask its operator what its log says.",
    ),
    _Known(
        "closed the stream|the stream was closed|^closed$",
        "stream closed",
        "{domain} has closed the stream, as servers do that have nothing to say or are restarted.",
        "Nothing is to be done: the next stanza opens another.",
    ),
)


def explain(reason: str, domain: str) -> Explained:
    """What a reason means that was noted about `domain`; its advice may name settings and commands."""
    if not reason:
        return Explained("", "", "")
    ours, said = _apart(reason)
    for known in _TABLE:
        found = re.search(known.pattern.replace("{domain}", re.escape(domain)), ours)
        if found is not None:
            names = {**{name: text or "" for name, text in found.groupdict().items()}, "domain": domain}
            return Explained(known.short, _filled(known.meaning, names) + said, _filled(known.advice, names))
    return Explained(
        reason, f"This went wrong with {domain}: {reason}", "The server's log may say more: look there."
    )


def _apart(reason: str) -> tuple[str, str]:
    """The reason without what the peer said, and that, as a sentence: its words must not pass for ours."""
    ours, bracket, said = reason.partition(" (")
    if not bracket or not said.endswith(")"):
        return reason, ""
    return ours, f" It says: {said[:-1]}"


def _filled(text: str, names: dict[str, str]) -> str:
    """The text with the names in it, whatever braces the peer has put into them."""
    return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], match[0]), text)
