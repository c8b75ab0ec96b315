"""Stream headers and closing tags: how a stream begins and ends (RFC 6120 4)."""

from __future__ import annotations

import re
import secrets
from typing import Final

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.xml.framer import StreamHeader

CLOSING_TAG: Final = b"</stream:stream>"
_VERSION: Final = re.compile(r"0*([0-9]{1,4})\.[0-9]{1,4}").fullmatch


def new_stream_id() -> str:
    """An id that nobody can guess (RFC 6120 4.7.3)."""
    return secrets.token_urlsafe(16)


def check_version(header: StreamHeader) -> None:
    """Refuse peers from before XMPP 1.0 (RFC 6120 4.7.5); later ones agree on our 1.0."""
    match = _VERSION(header.version or "")
    if match is None or int(match[1]) < 1:
        raise StreamError(StreamCondition.UNSUPPORTED_VERSION)


def addressed(header: StreamHeader) -> JID:
    """The domain that the peer asks for (RFC 6120 4.7.2). Raises `StreamError`."""
    if not header.to:
        raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
    try:
        to = JID.parse(header.to)
    except InvalidJID as error:
        raise StreamError(StreamCondition.IMPROPER_ADDRESSING) from error
    if to.localpart or to.resourcepart:
        raise StreamError(StreamCondition.HOST_UNKNOWN)
    return to


def answer_header(content: str, stream_id: str, host: JID | None, peer: str | None) -> bytes:
    """Our header (RFC 6120 4.7). Without a known host `from` is empty (4.9.1.3); `to` is there only
    if `peer`, the `from` of the peer's header, is an address.
    """
    from_ = host.attribute if host is not None else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{ns.STREAM}'"
        f" id='{stream_id}' from='{from_}'{_to(peer)} version='1.0' xml:lang='en'>"
    ).encode()


def _to(peer: str | None) -> str:
    try:
        return f" to='{JID.parse(peer).attribute}'" if peer else ""
    except InvalidJID:
        return ""
