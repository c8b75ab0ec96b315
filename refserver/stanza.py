"""One stanza: its kind, addresses, element tree, and its bytes for a stream.

A received stanza keeps the bytes it came in. As long as nobody changed its tree they can
be forwarded with `from` spliced in (see `Stanza.can_splice`); all else goes through the
canonical serialiser. Both forms mean the same XML: a property test holds them to it.

Routing and rules about who may send what are not here.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID, InvalidJID
from refserver.xml.element import Element
from refserver.xml.write import parse, serialise

KINDS: Final = {
    f"{{{space}}}{kind}": kind for space in (ns.CLIENT, ns.SERVER) for kind in ("message", "presence", "iq")
}
MESSAGE_TYPES: Final = frozenset({"", "normal", "chat", "groupchat", "headline", "error"})
PRESENCE_TYPES: Final = frozenset(
    {"", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"}
)
IQ_REQUESTS: Final = frozenset({"get", "set"})
IQ_RESPONSES: Final = frozenset({"result", "error"})
_ADDRESSES: Final = ("to", "from")
_OTHER_CONTENTS: Final = frozenset((ns.SERVER, ns.COMPONENT))
_CLIENT: Final = ns.CLIENT.encode()
_LANG: Final = f"{{{ns.XML}}}lang"

_id_prefix: Final = secrets.token_hex(5)
_id_numbers: Final = count(1)


def new_id() -> str:
    """A stanza id that this process uses only once."""
    return f"{_id_prefix}-{next(_id_numbers):x}"


class Stanza:
    """A message, presence or iq. `to` and `from_` override what the tree's attributes say."""

    __slots__ = ("_raw", "_rest", "_wire", "element", "from_", "kind", "stream_language", "to")

    kind: str
    element: Element
    to: JID | None
    from_: JID | None

    def __init__(
        self, kind: str, element: Element, to: JID | None, from_: JID | None, raw: bytes = b""
    ) -> None:
        self.kind = kind
        self.element = element
        self.to = to
        self.from_ = from_
        self.stream_language = ""
        """The xml:lang of the client's stream that the stanza came on."""
        self._raw = raw
        self._rest: bytes | None = None
        self._wire: bytes | None = None

    # -- making ------------------------------------------------------------

    @classmethod
    def received(cls, element: Element, raw: bytes = b"") -> Stanza:
        """The stanza that a stream delivered; `raw` only if it may be spliced.

        Raises `StanzaError`: jid-malformed (RFC 6120 8.3.3.8) or bad-request (8.2.3).
        `element` must be a stanza of the content namespace (a key of `KINDS`).
        """
        attributes = element.attrib
        kind = KINDS[element.tag]
        try:
            to = JID.parse(attributes["to"]) if "to" in attributes else None
            from_ = JID.parse(attributes["from"]) if "from" in attributes else None
        except InvalidJID as error:
            raise StanzaError(Condition.JID_MALFORMED) from error
        if kind == "message":
            if attributes.get("type", "") not in MESSAGE_TYPES:
                attributes["type"] = "normal"  # RFC 6121 5.2.2
                raw = b""
        elif kind == "iq":
            _check_iq(element)
        elif attributes.get("type", "") not in PRESENCE_TYPES:
            raise StanzaError(Condition.BAD_REQUEST, "unknown type of presence")
        return cls(kind, element, to, from_, raw)

    @classmethod
    def message(
        cls,
        to: JID,
        from_: JID,
        type: str = "chat",
        id: str | None = None,
        children: Iterable[Element] = (),
        body: str | None = None,
    ) -> Stanza:
        """A message of our own; without `id` it gets a new one."""
        element = _new("message", type, new_id() if id is None else id, children)
        if body is not None:
            first = Element(f"{{{ns.CLIENT}}}body")
            first.text = body
            element.insert(0, first)
        return cls("message", element, to, from_)

    @classmethod
    def presence(
        cls, to: JID | None, from_: JID, type: str = "", id: str = "", children: Iterable[Element] = ()
    ) -> Stanza:
        """A presence of our own; `type` "" is available."""
        return cls("presence", _new("presence", type, id, children), to, from_)

    @classmethod
    def iq(
        cls,
        type: str,
        to: JID | None,
        from_: JID | None,
        id: str | None = None,
        payload: Element | None = None,
    ) -> Stanza:
        """An iq of our own; without `id` it gets a new one."""
        children = () if payload is None else (payload,)
        return cls("iq", _new("iq", type, new_id() if id is None else id, children), to, from_)

    @classmethod
    def stored(cls, data: bytes) -> Stanza:
        """The stanza whose `wire` bytes were stored or kept."""
        return cls.received(parse(data), data)

    # -- reading -----------------------------------------------------------

    @property
    def type(self) -> str:
        """The type attribute, "" if there is none."""
        return self.element.attrib.get("type", "")

    @property
    def id(self) -> str:
        """The id attribute, "" if there is none."""
        return self.element.attrib.get("id", "")

    @property
    def payload(self) -> Element | None:
        """The first child: what an iq is about."""
        element = self.element
        return element[0] if len(element) else None

    @property
    def language(self) -> str:
        """The stanza's xml:lang, else its stream's (RFC 6120 4.7.4), "" if neither is known."""
        return self.element.get(_LANG) or self.stream_language

    @property
    def body(self) -> str:
        """The text of the first body, "" if there is none."""
        return self.element.findtext(f"{{{ns.CLIENT}}}body") or ""

    def child(self, namespace: str, name: str) -> Element | None:
        """The first child of that name."""
        return self.element.find(f"{{{namespace}}}{name}")

    @property
    def received_bytes(self) -> int:
        """The number of bytes it came in, 0 if they were not kept."""
        return len(self._raw)

    # -- changing and copying ----------------------------------------------

    def changed(self) -> None:
        """Must be called after the tree was changed: the bytes it came in are no longer true."""
        self._raw = b""
        self._rest = self._wire = None

    def copy(self) -> Stanza:
        """A copy with a tree of its own."""
        return Stanza(self.kind, copy.deepcopy(self.element), self.to, self.from_)

    def copy_to(self, to: JID) -> Stanza:
        """The same stanza to another address, for fan-out. The tree is shared: it may not change."""
        other = Stanza(self.kind, self.element, to, self.from_)
        other._rest = self._rest_of_wire()
        return other

    def envelope(self) -> Stanza:
        """A copy without content: enough to answer it with an error (RFC 6120 8.3.1)."""
        attributes = {name: value for name in ("type", "id") if (value := self.element.get(name)) is not None}
        return Stanza(self.kind, Element(f"{{{ns.CLIENT}}}{self.kind}", attributes), self.to, self.from_)

    # -- answering ---------------------------------------------------------

    def settle(self, error: StanzaError | None) -> bool:
        """Say what became of it: None, it has arrived as far as can be known, or why not.

        Whoever disposes of a stanza calls this. True if its sender wanted to know (see
        `Tracked`): an error is then not sent back as a stanza.
        """
        return False

    def result(self, payload: Element | None = None) -> Stanza:
        """The result of this iq."""
        return Stanza.iq("result", self.from_, self.to, self.id, payload)

    def error(self, error: StanzaError) -> Stanza:
        """The error that answers this stanza (RFC 6120 8.3.1). It repeats none of its content."""
        element = _new(self.kind, "error", self.id, (error.element(),))
        return Stanza(self.kind, element, self.from_, self.to)

    # -- writing -----------------------------------------------------------

    @property
    def can_splice(self) -> bool:
        """True if the bytes it came in can be sent on with only `from` added behind the stanza's name.

        The framer gives only bytes that mean the same on every client stream. What is left
        to ask: the tree is unchanged, and the addresses were written in their normal form, or
        there was no `from`.
        """
        if not self._raw:
            return False
        attributes = self.element.attrib
        to, sender = attributes.get("to"), attributes.get("from")
        return to == (None if self.to is None else self.to.text) and (
            sender is None or (self.from_ is not None and sender == self.from_.text)
        )

    def wire(self) -> bytes:
        """The bytes for a client stream."""
        wire = self._wire
        if wire is None:
            wire = self._wire = (
                self._splice() if self._rest is None and self.can_splice else self._assembled()
            )
        return wire

    def wire_to(self, to: JID) -> bytes:
        """The bytes for a client stream with another `to`: what fan-out costs a recipient."""
        return f"<{self.kind} to='{to.attribute}'".encode() + self._rest_of_wire()

    def encode(self, content: str) -> bytes:
        """The bytes for a stream of the content namespace `content`; for clients, and without one, canonical.

        The bytes it came in serve on other streams as long as they do not name `jabber:client`, which may
        not be the content namespace there; a character reference could do that covertly.
        """
        if content in _OTHER_CONTENTS and self.can_splice:
            raw = self._raw
            if _CLIENT not in raw and b"&#" not in raw:
                return self._splice()
        return serialise(self._stamped(to=True), content)

    def _splice(self) -> bytes:
        if "from" in self.element.attrib:
            return self._raw
        sender = "" if self.from_ is None else f" from='{self.from_.attribute}'"
        return f"<{self.kind}{sender}".encode() + self._raw[len(self.kind) + 1 :]

    def _assembled(self) -> bytes:
        to = "" if self.to is None else f" to='{self.to.attribute}'"
        return f"<{self.kind}{to}".encode() + self._rest_of_wire()

    def _rest_of_wire(self) -> bytes:
        """The canonical bytes behind `<kind to='…'`: the same for every recipient."""
        rest = self._rest
        if rest is None:
            rest = self._rest = serialise(self._stamped(to=False), ns.CLIENT)[len(self.kind) + 1 :]
        return rest

    def _stamped(self, to: bool) -> Element:
        """The stanza's element with our idea of its addresses, sharing its children."""
        attributes: dict[str, str] = {}
        if to and self.to is not None:
            attributes["to"] = self.to.text
        if self.from_ is not None:
            attributes["from"] = self.from_.text
        attributes.update(
            (name, value) for name, value in self.element.attrib.items() if name not in _ADDRESSES
        )
        stamped = Element(f"{{{ns.CLIENT}}}{self.kind}", attributes)
        stamped.text = self.element.text
        stamped.extend(self.element)
        return stamped


class Tracked(Stanza):
    """A stanza of our own of which the sender wants to know what became, e.g. to try again tomorrow.

    `settled` is called once: with None when the client or the other server has acknowledged it, or when it is
    durably in the offline store; with the error when it was given up, and then nothing else becomes of it.
    """

    __slots__ = ("_settled",)

    def __init__(self, stanza: Stanza, settled: Callable[[StanzaError | None], None]) -> None:
        super().__init__(stanza.kind, stanza.element, stanza.to, stanza.from_, stanza._raw)
        self._rest, self._wire = stanza._rest, stanza._wire
        self._settled: Callable[[StanzaError | None], None] | None = settled

    def settle(self, error: StanzaError | None) -> bool:
        """Later calls change nothing."""
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(error)
        return True

    def envelope(self) -> Tracked:
        """As `Stanza.envelope`; settling it settles this stanza."""
        return Tracked(super().envelope(), self._pass_on)

    def _pass_on(self, error: StanzaError | None) -> None:
        self.settle(error)


def _new(kind: str, type: str, id: str, children: Iterable[Element]) -> Element:
    element = Element(f"{{{ns.CLIENT}}}{kind}")
    if type:
        element.set("type", type)
    if id:
        element.set("id", id)
    element.extend(children)
    return element


def _check_iq(element: Element) -> None:
    """RFC 6120 8.2.3: an id, a known type, one child in a request, at most one in a result."""
    type_ = element.attrib.get("type", "")
    children = len(element)
    if not element.attrib.get("id"):
        raise StanzaError(Condition.BAD_REQUEST, "an iq needs an id")
    if type_ in IQ_REQUESTS:
        if children != 1:
            raise StanzaError(Condition.BAD_REQUEST, "an iq of type get or set has exactly one child")
    elif type_ not in IQ_RESPONSES:
        raise StanzaError(Condition.BAD_REQUEST, "unknown type of iq")
    elif type_ == "result" and children > 1:
        raise StanzaError(Condition.BAD_REQUEST, "an iq of type result has at most one child")
