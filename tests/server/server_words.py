"""The words of servers to each other, as bytes."""

from __future__ import annotations

from base64 import b64encode

from tests.server.live import SASL, STREAM, TLS

LIBRARY = "library.example"
TOWN = "town.example"
SERVER = "{jabber:server}"
BIDI = b"<bidi xmlns='urn:xmpp:bidi'/>"
OFFER_TLS = f"<starttls xmlns='{TLS}'/>"
OFFER_EXTERNAL = f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
OFFER_DIALBACK = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
SUCCESS = f"<success xmlns='{SASL}'/>".encode()
PING = "<iq type='get' id='ping' from='{}' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>"


def header(from_: str = f"n1.{TOWN}", to: str = LIBRARY, more: str = "version='1.0'") -> bytes:
    """A server's stream header."""
    addresses = "".join(f" {name}='{value}'" for name, value in (("from", from_), ("to", to)) if value)
    return (
        f"<?xml version='1.0'?><stream:stream{addresses} {more} xmlns='jabber:server'"
        f" xmlns:db='jabber:server:dialback' xmlns:stream='{STREAM}'>"
    ).encode()


def features(*offers: str) -> bytes:
    """The features of a receiving server."""
    return f"<stream:features>{''.join(offers)}</stream:features>".encode()


def external(authzid: str = "") -> bytes:
    """`<auth/>` for EXTERNAL."""
    text = b64encode(authzid.encode()).decode() or "="
    return f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{text}</auth>".encode()


def dialback(name: str, from_: str, to: str, key: str = "", **attributes: str) -> bytes:
    """`<db:result/>` or `<db:verify/>`."""
    more = "".join(f" {each}='{value}'" for each, value in attributes.items())
    return f"<db:{name} from='{from_}' to='{to}'{more}>{key}</db:{name}>".encode()


def message(from_: str, to: str = f"mia@{LIBRARY}", body: str = "hello") -> bytes:
    """A message."""
    return f"<message from='{from_}' to='{to}'><body>{body}</body></message>".encode()
