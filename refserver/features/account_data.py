"""XML that accounts store: vCards (XEP-0054) and private data such as bookmarks (XEP-0049, XEP-0048)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.storage import account_data
from refserver.xml.element import Element, element, split
from refserver.xml.write import parse, serialise

LARGEST_VCARD: Final = 128 * 1024  # bytes, a small picture included
RESERVED: Final = ("jabber:", "http://jabber.org/", "vcard-temp")  # XEP-0049 2.2
LARGEST: Final = 64 * 1024  # bytes of one element
MOST_ELEMENTS: Final = 100  # of one account
MOST_BYTES: Final = 1024 * 1024


class VCard(Feature):
    """Stores one vCard an account."""

    name = "vcard"
    xeps = ("0054",)
    disco = {Target.SERVER: (ns.VCARD,)}

    @iq("get", ns.VCARD, "vCard", to=Target.ACCOUNT)
    async def get(self, request: Request) -> Element:
        """The stored card. Without one the account itself gets an empty card, and others the answer for an
        account that does not exist (3.1, 3.3).
        """
        stored = await self.core.database.read(account_data.vcard, request.address)
        if stored is not None:
            return parse(stored)
        if not request.is_own:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return element(ns.VCARD, "vCard")

    @iq("set", ns.VCARD, "vCard", to=Target.ACCOUNT)
    async def set(self, request: Request) -> None:
        """Replace one's own card. An empty one is kept like any other."""
        if not request.is_own:
            raise StanzaError(Condition.FORBIDDEN)
        data = serialise(request.payload, "")
        if len(data) > LARGEST_VCARD:
            raise StanzaError(Condition.NOT_ACCEPTABLE, f"a vCard may be {LARGEST_VCARD} bytes at most")
        await self.core.database.write(account_data.set_vcard, request.address, data)


class PrivateData(Feature):
    """Stores one element per namespace and name for each account, readable by it alone."""

    name = "private"
    xeps = ("0049", "0048")

    @iq("get", ns.PRIVATE, "query", to=Target.OWN)
    async def get(self, request: Request) -> Element:
        """The element asked for, empty if it was never stored."""
        wanted = _only_child(request)
        key = split(wanted.tag)
        stored = await self.core.database.read(account_data.private, request.address, *key)
        return element(ns.PRIVATE, "query", None, parse(stored) if stored else Element(wanted.tag))

    @iq("set", ns.PRIVATE, "query", to=Target.OWN)
    async def set(self, request: Request) -> None:
        """Replace the element of that namespace and name."""
        given = _only_child(request)
        key = split(given.tag)
        if not key[0] or key[0].startswith(RESERVED):
            raise StanzaError(Condition.NOT_ACCEPTABLE, "this namespace cannot be used for private data")
        data = serialise(given, "")
        if len(data) > LARGEST:
            raise StanzaError(Condition.NOT_ACCEPTABLE, f"private data may be {LARGEST} bytes at most")
        await self.core.database.write(_store, request.address, *key, data)


def _store(connection: Connection, account: JID, namespace: str, name: str, data: bytes) -> None:
    count, stored = account_data.private_size(connection, account)
    replaced = account_data.private(connection, account, namespace, name)
    is_one_too_many = replaced is None and count >= MOST_ELEMENTS
    if is_one_too_many or stored - len(replaced or b"") + len(data) > MOST_BYTES:
        raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too much private data")
    account_data.set_private(connection, account, namespace, name, data)


def _only_child(request: Request) -> Element:
    if len(request.payload) != 1:
        raise StanzaError(Condition.BAD_REQUEST, "exactly one element is stored or asked for at a time")
    return request.payload[0]
