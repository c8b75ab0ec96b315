"""Stream headers and closing tags: how a stream begins and ends (RFC 6120 4)."""

from __future__ import annotations

import re
import secrets
from typing import Final

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.jid import JID, InvalidJID
from refserver.xml import StreamHeader
from refserver.xml.element import clark
from refserver.xml.write import escape_attribute

KINDS: Final = {clark(ns.CLIENT, kind): kind for kind in ("message", "presence", "iq")}
"""The kinds of stanzas by tag. The framer puts all into jabber:client, whichever stream they come on."""

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
    return _header(content, f" id='{stream_id}' from='{from_}'{_to(peer)}")


def initial_header(local: str, remote: str) -> bytes:
    """The header of our own stream to another server."""
    return _header(ns.SERVER, f" from='{escape_attribute(local)}' to='{escape_attribute(remote)}'")


def _header(content: str, addresses: str) -> bytes:
    # XEP-0220 2.4.1: who declares the namespace supports dialback, and elements use that prefix.
    dialback = f" xmlns:db='{ns.DIALBACK}'" if content == ns.SERVER else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{ns.STREAM}'{dialback}"
        f"{addresses} version='1.0' xml:lang='en'>"
    ).encode()


def bare_domain(text: str | None) -> str:
    """The prepared domain that `text` is; "" if it is none, or more than one."""
    try:
        jid = JID.parse(text or "")
    except InvalidJID:
        return ""
    return "" if jid.localpart or jid.resourcepart else jid.domainpart


def _to(peer: str | None) -> str:
    try:
        return f" to='{JID.parse(peer).attribute}'" if peer else ""
    except InvalidJID:
        return ""
