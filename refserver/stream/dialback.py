"""Server dialback (XEP-0220): its elements, its keys (XEP-0185), and the pairs of domains proved.

Keys are made from a secret, so nothing has to be remembered to check them. The streams decide when a pair is
proved (a certificate does it too) and what follows; `DomainPairs` lets only stanzas between proved pairs in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import define, field, frozen

from refserver import ns
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza
from refserver.stream.events import StanzaRefused, Verdict
from refserver.stream.headers import KINDS, bare_domain
from refserver.xml.element import Element, clark, split
from refserver.xml.write import escape, escape_attribute, serialise

RESULT: Final = clark(ns.DIALBACK, "result")
VERIFY: Final = clark(ns.DIALBACK, "verify")
_TYPES: Final = ("", "valid", "invalid", "error")


def make_key(secret: bytes, receiving: str, originating: str, stream_id: str) -> str:
    """The key that proves `originating` to `receiving` on the stream that `receiving` named `stream_id`."""
    material = hashlib.sha256(secret).hexdigest().encode()
    message = f"{receiving} {originating} {stream_id}".encode()
    return hmac.new(material, message, hashlib.sha256).hexdigest()


def check_key(secret: bytes, receiving: str, originating: str, stream_id: str, key: str) -> bool:
    """True if `key` is that key; compared in constant time."""
    wanted = make_key(secret, receiving, originating, stream_id)
    return hmac.compare_digest(wanted.encode(), key.encode())


@frozen
class Dialback:
    """A `<db:result/>` or `<db:verify/>` from the peer; `type` is "" in requests, `id` in results.

    The domains are prepared.
    """

    from_: str
    to: str
    type: str
    id: str
    key: str = field(repr=False)
    error: StanzaError | None = None

    @classmethod
    def read(cls, received: Element) -> Dialback:
        """Raises `StreamError`: improper-addressing, bad-format."""
        from_, to = bare_domain(received.get("from")), bare_domain(received.get("to"))
        if not from_ or not to:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        type_, id_ = received.get("type", ""), received.get("id", "")
        if type_ not in _TYPES or (received.tag == VERIFY and not id_):
            raise StreamError(StreamCondition.BAD_FORMAT)
        error = _error(received) if type_ == "error" else None
        return cls(from_, to, type_, id_, (received.text or "").strip(), error)

    @property
    def verdict(self) -> Verdict:
        """The verdict of an answer."""
        return self.type == "valid" if self.error is None else self.error


def request(name: str, from_: str, to: str, key: str, stream_id: str = "") -> bytes:
    """`<db:result/>` (`name` "result") with our key, or `<db:verify/>` with another's."""
    return _written(name, from_, to, "", stream_id, escape(key))


def answer(name: str, asked: Dialback, verdict: Verdict) -> bytes:
    """The answer to the peer's request `asked`."""
    if isinstance(verdict, StanzaError):
        content = serialise(verdict.element(), ns.SERVER).decode()
        return _written(name, asked.to, asked.from_, "error", asked.id, content)
    return _written(name, asked.to, asked.from_, "valid" if verdict else "invalid", asked.id, "")


def _written(name: str, from_: str, to: str, type_: str, id_: str, content: str) -> bytes:
    """With the prefix `db:`, which our header declares: some peers know no other (XEP-0220 2)."""
    given = {"from": from_, "to": to, "id": id_, "type": type_}
    attributes = "".join(f" {key}='{escape_attribute(value)}'" for key, value in given.items() if value)
    return f"<db:{name}{attributes}{f'>{content}</db:{name}>' if content else '/>'}".encode()


def _error(received: Element) -> StanzaError:
    """The error in an answer of type "error"; the peer's words are not taken over."""
    names = (split(part.tag) for child in received for part in child)
    known = {condition.value: condition for condition in Condition}
    found = (known[name] for space, name in names if space == ns.STANZAS and name in known)
    return StanzaError(next(found, Condition.UNDEFINED_CONDITION))


Pair: TypeAlias = tuple[str, str]

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
        """Add a proved pair."""
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
