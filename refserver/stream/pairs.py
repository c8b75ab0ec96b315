"""Which pairs of domains a stream between servers may carry, and each stanza's right to be on it.

A pair is (the peer's domain, ours). How a pair is proved is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import define, field

from refserver import ns
from refserver.errors import StanzaError, StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza
from refserver.stream.federation import StanzaRefused
from refserver.xml.element import Element, clark

Pair: TypeAlias = tuple[str, str]

KINDS: Final = {clark(ns.CLIENT, kind): kind for kind in ("message", "presence", "iq")}
_ANSWERS: Final = ("error", "result")


@define
class DomainPairs:
    """The proved pairs of one stream. `serves` says whether a domain is ours."""

    _serves: Callable[[str], bool]
    _proved: set[Pair] = field(factory=set, init=False)

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._proved

    def __len__(self) -> int:
        return len(self._proved)

    def add(self, pair: Pair) -> None:
        """The pair is proved."""
        self._proved.add(pair)

    def admit(self, received: Element, raw: bytes = b"") -> Stanza | StanzaRefused:
        """The stanza that the peer sent, or what is to be answered. `raw` is the framer's.

        Raises `StreamError`: improper-addressing without sender or recipient (RFC 6120 8.1.1.2,
        8.1.2.2), invalid-from for a sender whose domain is not proved (4.9.3.9), host-unknown for a
        recipient who is not ours, improper-addressing for one of ours that was not negotiated.
        """
        try:
            stanza = Stanza.received(received, raw)
        except StanzaError as error:
            return self._refuse(received, error)
        sender, to = stanza.from_, stanza.to
        if sender is None or to is None:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        if (sender.domainpart, to.domainpart) not in self._proved:
            raise self._fault(sender.domainpart, to.domainpart)
        return stanza

    def _fault(self, peer: str, ours: str) -> StreamError:
        if not any(proved == peer for proved, _ in self._proved):
            return StreamError(StreamCondition.INVALID_FROM)
        if not self._serves(ours):
            return StreamError(StreamCondition.HOST_UNKNOWN)
        return StreamError(StreamCondition.IMPROPER_ADDRESSING)

    def _refuse(self, received: Element, error: StanzaError) -> StanzaRefused:
        """One user's bad stanza is not the stream's fault: others' go over it too. But even so the
        domains must be such as may send here.
        """
        sender, peer = _address(received.get("from"))
        recipient, ours = _address(received.get("to"))
        if (peer, ours) not in self._proved:
            raise self._fault(peer, ours)
        if sender is None or received.get("type") in _ANSWERS:
            return StanzaRefused(error, None)
        # What cannot be an address is not repeated as the reply's `from`.
        refused = Stanza(KINDS[received.tag], received, recipient or JID.parse(ours), sender)
        return StanzaRefused(error, refused.error(error))


def _address(text: str | None) -> tuple[JID | None, str]:
    """The address, None if it is not possible, and its domain. Raises `StreamError` without a domain."""
    try:
        if not text:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        jid = JID.parse(text)
    except InvalidJID:
        return None, _domain(text or "")
    return jid, jid.domainpart


def _domain(text: str) -> str:
    """The domain in an address that is none because of its other parts."""
    try:
        return JID.parse(text.partition("/")[0].rpartition("@")[2]).domainpart
    except InvalidJID as error:
        raise StreamError(StreamCondition.IMPROPER_ADDRESSING) from error
