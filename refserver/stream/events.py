"""The events of stream machines. A plain stanza is its own event (`refserver.stanza.Stanza`).

After an event marked *asks* the machine waits until its shell has called the method named. Domains are
prepared (`JID.domainpart`). In events of server streams `from_` is the domain that stanzas come from and `to`
the one they go to, whichever of the two is ours.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from refserver.errors import Condition, StanzaError, StreamError, StreamFault
from refserver.jid import JID
from refserver.sasl import SaslCondition, Verifier
from refserver.stanza import Stanza
from refserver.xml.element import Element

Verdict: TypeAlias = bool | StanzaError
"""True if a dialback key is right; the error if that could not be found out (XEP-0220 2.5)."""


@frozen
class KeyToVerify:
    """The peer claims to be `from_`: ask the server of that domain (`ServerOutbound.verify`, never on
    this peer's own connection), then call `ServerInbound.key_verified`. The stream goes on meanwhile.
    """

    from_: str
    to: str
    key: str = field(repr=False)
    stream_id: str


@frozen
class Established:
    """Stanzas from `from_` to `to` may go over this stream. `method` is "certificate" or "dialback"."""

    from_: str
    to: str
    method: str


@frozen
class Refused:
    """Of an outgoing stream: nothing can be sent from `from_` to `to` over it.

    If `permanent`, trying again is of no use before somebody has changed
    something. `condition` is that of the errors for what was waiting.
    """

    from_: str
    to: str
    fault: StreamFault
    permanent: bool
    condition: Condition = Condition.REMOTE_SERVER_TIMEOUT


@frozen
class VerifyAnswered:
    """The authoritative server's word about a key, or why there is none."""

    asked: KeyToVerify
    verdict: Verdict


@frozen
class StanzaRefused:
    """A stanza that is not acceptable, on a stream that lives on. `reply` is to be routed to its
    sender, if there is one: answers get no answer, and some senders have no possible address.
    """

    error: StanzaError
    reply: Stanza | None


@frozen
class Managed:
    """It is decided whether the peer tells how many of our stanzas it has handled (XEP-0198)."""

    on: bool


@frozen
class CountWanted:
    """The peer asks how many of its stanzas we have handled: call `tell_count` with `handled` as soon as what
    was done for these survives a crash. The stream goes on meanwhile.
    """

    handled: int


@frozen
class Confirmed:
    """The peer has handled all of our stanzas up to that `number` on this stream."""

    number: int


@frozen
class EnableRequested:
    """A client wants its stream managed, and resumable or not (XEP-0198 3): call `enable` before anything
    else happens.
    """

    resumable: bool


@frozen
class ResumeRequested:
    """*Asks*: a client wants to go on with an earlier session (XEP-0198 5); call `resumed` or
    `resume_refused`. `request` is the element, with the client's count in it.
    """

    resume_id: str
    request: Element


@frozen
class StartTLS:
    """*Asks*: send what is in the output, shake hands, then call `tls_started`. `host` is the
    domain the peer asked for: its certificate, if the handshake names none.
    """

    host: str


@frozen
class CredentialsWanted:
    """*Asks*: look up `account`, then call `credentials`. Here the shell may take its time with an
    address or account that has failed before.
    """

    account: JID


@frozen
class PasswordCheckWanted:
    """*Asks*: compute `refserver.sasl.check_password(verifier, password)` in a thread, then call
    `password_checked`. The account may not exist: compute nevertheless.
    """

    account: JID
    verifier: Verifier
    password: str = field(repr=False)


@frozen
class Authenticated:
    """The peer has proved to be `account`."""

    account: JID
    mechanism: str


@frozen
class AuthenticationFailed:
    """The peer was told so. `attempt` counts from 1 on this stream; `account` is None if it did not
    come to naming a possible one.
    """

    account: JID | None
    mechanism: str
    condition: SaslCondition
    attempt: int


@frozen
class RegistrationRequest:
    """*Asks*: a stranger sent jabber:iq:register to `host`; call `registration_answered`."""

    stanza: Stanza
    host: str


@frozen
class BindRequested:
    """*Asks*: call `bound` or `bind_refused`. `resource` is what the client wants, prepared; None
    leaves it to us, and `jid` holds a new one then.
    """

    jid: JID
    resource: str | None


@frozen
class Malformed:
    """A stanza that was answered with `error` (or with nothing, if it was an answer itself)."""

    element: Element
    error: StanzaError


@frozen
class Reply:
    """A stanza that the machine answers a bound client with: it is counted like all others, so deliver it."""

    stanza: Stanza


@frozen
class StreamClosed:
    """The peer has closed the stream, the answer is in the output: send it and close the connection.

    `peer_error` is the condition if the peer sent a stream error before.
    """

    peer_error: str = ""


@frozen
class StreamFailed:
    """The peer is at fault; the stream error and our closing tag are in the output: send it and
    close the connection.
    """

    error: StreamError


Event: TypeAlias = (
    Stanza
    | StartTLS
    | CredentialsWanted
    | PasswordCheckWanted
    | Authenticated
    | AuthenticationFailed
    | RegistrationRequest
    | BindRequested
    | EnableRequested
    | ResumeRequested
    | Malformed
    | Reply
    | StreamClosed
    | StreamFailed
    | KeyToVerify
    | Established
    | Refused
    | VerifyAnswered
    | StanzaRefused
    | Managed
    | Confirmed
    | CountWanted
)
