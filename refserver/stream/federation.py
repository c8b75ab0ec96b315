"""What server streams tell their shells beyond events.py, and the operator's settings for them.

Domains are prepared (`JID.domainpart`). In every event `from_` is the domain that stanzas come from and
`to` the one they go to, whichever of the two is ours.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from refserver.errors import Condition, StanzaError
from refserver.stanza import Stanza
from refserver.stream.policy import StreamPolicy

Verdict: TypeAlias = bool | StanzaError
"""Whether a dialback key is right; the error if that could not be found out (XEP-0220 2.5)."""


@frozen
class ServerPolicy(StreamPolicy):
    """The operator's settings for streams between servers.

    Without `dialback` only a certificate proves a domain, the peer's and ours alike. `bidi` offers and
    accepts XEP-0288, `management` XEP-0198. `max_pairs` bounds the domain pairs of one stream, and
    `max_auth_attempts` the keys that were not right.
    """

    dialback: bool = False
    bidi: bool = True
    management: bool = True
    max_pairs: int = 64


@frozen
class KeyToVerify:
    """The peer claims to be `from_`: ask the server of that domain (`InitiatingStream.verify`, never on
    this peer's own connection), then call `ServingStream.key_verified`. The stream goes on meanwhile.
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

    `reason` is for people. If `permanent`, trying again is of no use before somebody has changed
    something. `condition` is that of the errors for what was waiting.
    """

    from_: str
    to: str
    reason: str
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


FederationEvent: TypeAlias = (
    KeyToVerify | Established | Refused | VerifyAnswered | StanzaRefused | Managed | Confirmed | CountWanted
)
