"""XMPP addresses (RFC 7622): parsing, preparation, and a bounded cache of both.

Preparing a JID costs some 20 µs (PRECIS and IDNA), looking one up 0.1 µs, and a server sees the
same few thousand addresses all day. So `JID.parse` makes every JID and keeps the newest ones. JIDs
are immutable and serve as dictionary keys.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import idna
from attrs import define, field
from precis_i18n import get_profile

MAX_PART_BYTES: Final = 1023  # RFC 7622 3.1
CACHE_SIZE: Final = 50_000
CACHED_LENGTH: Final = 256  # longer texts are not kept: what strangers send cannot grow the cache much

_username = get_profile("UsernameCaseMapped")
_opaque = get_profile("OpaqueString")
_PLAIN_LOCALPART: Final = re.compile(r"[a-z0-9._+~!#$%*()=?^`{|}\[\];,\\-]+").fullmatch
_PLAIN_RESOURCE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?").fullmatch
_PLAIN_DOMAIN: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
).fullmatch
_PLAIN_ATTRIBUTE: Final = re.compile(r"[^&<>'\"]*").fullmatch
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"})
_DOTS: Final = (".", "\u3002", "\uff0e", "\uff61")  # RFC 3490 3.1
_FORBIDDEN_IN_LOCALPART: Final = frozenset("\"&'/:<>@")  # RFC 7622 3.3.1


class InvalidJID(ValueError):
    """The text is not an address by RFC 7622. Carries no part of the text."""


@define(frozen=True, slots=True, eq=False, repr=False)
class JID:
    """A prepared address.

    `text` is its normal form, `attribute` that form escaped for a quoted XML attribute,
    `bare` the address without resource.
    """

    localpart: str
    domainpart: str
    resourcepart: str
    text: str
    attribute: str
    bare: JID
    _hash: int = field(alias="hash")

    @classmethod
    def parse(cls, text: str) -> JID:
        """Prepare `text` (RFC 7622 3.2-3.4). Raises `InvalidJID`."""
        cached = _cache.get(text)
        if cached is not None:
            return cached
        jid = _prepare(*_split(text))
        _remember(text, jid)
        return jid

    @classmethod
    def of(cls, localpart: str, domainpart: str, resourcepart: str = "") -> JID:
        """Prepare an address from its parts ("" for none). Raises `InvalidJID`."""
        return _prepare(localpart or None, domainpart, resourcepart or None)

    @property
    def is_bare(self) -> bool:
        """True if there is no resourcepart."""
        return self.bare is self

    def with_resource(self, resource: str) -> JID:
        """This account's full address for `resource`, prepared. Raises `InvalidJID`."""
        return JID.parse(f"{self.bare.text}/{resource}")

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, JID) and self.text == other.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"JID({self.text!r})"


_cache: dict[str, JID] = {}


def _remember(text: str, jid: JID) -> None:
    """Keep `jid`; when the cache is full, the older half goes (dictionaries keep order)."""
    if len(text) > CACHED_LENGTH:
        return
    if len(_cache) >= CACHE_SIZE:
        for old in list(_cache)[: CACHE_SIZE // 2]:
            del _cache[old]
    _cache[text] = jid
    _cache.setdefault(jid.text, jid)


def _split(text: str) -> tuple[str | None, str, str | None]:
    """Local-, domain- and resourcepart as written (RFC 7622 3.2)."""
    rest, slash, resource = text.partition("/")
    local, at, domain = rest.partition("@")
    if not at:
        return None, rest, resource if slash else None
    return local, domain, resource if slash else None


def _prepare(local: str | None, domain: str, resource: str | None) -> JID:
    localpart = "" if local is None else _localpart(local)
    domainpart = _domainpart(domain)
    bare_text = f"{localpart}@{domainpart}" if localpart else domainpart
    bare = _cache.get(bare_text)
    if bare is None:
        bare = _make(localpart, domainpart, "", bare_text, None)
        _remember(bare_text, bare)
    if resource is None:
        return bare
    resourcepart = _resourcepart(resource)
    return _make(localpart, domainpart, resourcepart, f"{bare_text}/{resourcepart}", bare)


def _make(local: str, domain: str, resource: str, text: str, bare: JID | None) -> JID:
    attribute = text if _PLAIN_ATTRIBUTE(text) else text.translate(_ESCAPES)
    jid = JID(local, domain, resource, text, attribute, bare, hash(text))  # type: ignore[arg-type]  # set below
    if bare is None:
        object.__setattr__(jid, "bare", jid)
    return jid


def _checked(part: str) -> str:
    if not part or len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES:
        raise InvalidJID("a part is empty or longer than 1023 bytes")
    return part


def _localpart(text: str) -> str:
    if _PLAIN_LOCALPART(text) is None:
        _checked(text)  # before preparation: what it costs is bounded
        try:
            text = _username.enforce(text)
        except (UnicodeError, ValueError) as error:
            raise InvalidJID("localpart is not a PRECIS UsernameCaseMapped") from error
        if not _FORBIDDEN_IN_LOCALPART.isdisjoint(text):
            raise InvalidJID("localpart holds a forbidden character")
    return _checked(text)


def _resourcepart(text: str) -> str:
    if _PLAIN_RESOURCE(text) is None:
        _checked(text)
        try:
            text = _opaque.enforce(text)
        except (UnicodeError, ValueError) as error:
            raise InvalidJID("resourcepart is not a PRECIS OpaqueString") from error
    return _checked(text)


def _domainpart(text: str) -> str:
    if text.endswith(_DOTS):  # RFC 7622 3.2: a trailing dot is stripped
        text = text[:-1]
    _checked(text)
    if text[0] == "[":
        return _ip_literal(text)
    if _PLAIN_DOMAIN(text) is not None and "xn--" not in text:
        return text
    try:
        # U-labels (RFC 7622 3.2.1), mapped as people type them, and valid as A-labels too
        domain = _checked(idna.decode(idna.encode(text, uts46=True)))
    except (UnicodeError, IndexError) as error:
        raise InvalidJID("domainpart is not a host name") from error
    if domain.endswith("."):  # a second one, or a character that is mapped to one
        raise InvalidJID("domainpart ends with dots")
    return domain


def _ip_literal(text: str) -> str:
    if text[-1] != "]" or "%" in text:  # a zone means something on one machine only
        raise InvalidJID("an IPv6 address needs its closing bracket, and has no zone")
    try:
        return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]"
    except ValueError as error:
        raise InvalidJID("not an IPv6 address") from error
