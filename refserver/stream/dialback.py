"""Dialback on the wire (XEP-0220) and its keys (XEP-0185).

Keys are made from a secret, so nothing has to be remembered to check them. Who may send what, and what
follows from it, is decided by the streams.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from attrs import field, frozen

from refserver import ns
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.stream.federation import Verdict
from refserver.stream.opening import bare_domain
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
    """Whether `key` is that key, in constant time."""
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
        """What an answer says."""
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
