"""vCards (XEP-0054): what an account says of itself to anybody who asks."""

from __future__ import annotations

from typing import Final

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.errors import Condition, StanzaError
from refserver.storage import vcards
from refserver.xml.element import Element, element
from refserver.xml.write import parse, serialise

__all__ = ["VCard"]

LARGEST: Final = 128 * 1024  # bytes, a small picture included


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
        stored = await self.core.database.read(vcards.get, request.address)
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
        if len(data) > LARGEST:
            raise StanzaError(Condition.NOT_ACCEPTABLE, f"a vCard may be {LARGEST} bytes at most")
        await self.core.database.write(vcards.set, request.address, data)
