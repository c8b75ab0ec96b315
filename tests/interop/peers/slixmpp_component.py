"""slixmpp as an external component (XEP-0114): a gateway that speaks for every address of its domain."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring, tostring
from xml.sax.saxutils import escape

import slixmpp

from tests.interop.peers.slixmpp_client import FAILURES, SlixmppClient, fail, succeed

_CLIENT = "{jabber:client}"
_numbers = itertools.count(1)


class SlixmppComponent(SlixmppClient):
    """Attached inside, as a context manager. Stanzas are kept as if they had come to a client."""

    def __init__(self, domain: str, secret: str, port: int, host: str = "127.0.0.1") -> None:
        super().__init__(domain, secret, Path(), port, host)

    def write(self, sender: str, to: str, text: str, more: str = "") -> str:
        """Send a chat message from one of its addresses, with an id; return the id."""
        id = f"gateway-{next(_numbers)}"
        words = f"<body>{escape(text)}</body>" if text else ""
        self.send_raw(f"<message type='chat' from='{sender}' to='{to}' id='{id}'>{words}{more}</message>")
        return id

    def hears(self, to: str, text: str, timeout: float = 10) -> Element:
        """Take the message with `text` for one of its addresses."""
        return self.wait_for(
            lambda e: (
                e.tag == f"{_CLIENT}message"
                and e.get("to", "").partition("/")[0] == to
                and text in (e.findtext(f"{_CLIENT}body") or "")
            ),
            timeout,
        )

    def sees(self, to: str, sender: str, kind: str = "", timeout: float = 10) -> Element:
        """Take the presence of that type for one of its addresses, from a JID that begins with `sender`."""
        return self.wait_for(
            lambda e: (
                e.tag == f"{_CLIENT}presence"
                and e.get("to", "").partition("/")[0] == to
                and e.get("from", "").startswith(sender)
                and e.get("type", "") == kind
            ),
            timeout,
        )

    async def _log_in(self, presence: bool) -> None:
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        host, port = self._address
        component: Any = slixmpp.ComponentXMPP(self.jid, self._password, host, port)
        self._client = component
        component.auto_authorize, component.auto_subscribe = None, False
        component.add_filter("in", self._keep)
        for event in FAILURES:
            component.add_event_handler(event, lambda data, event=event: fail(outcome, event, data))
        component.add_event_handler("session_start", lambda _: succeed(outcome))
        component.connect()
        await outcome

    def _keep(self, stanza: Any) -> Any:
        text = tostring(stanza.xml, "unicode").replace("jabber:component:accept", "jabber:client")
        with self._news:
            self._received.append(fromstring(text))
            self._news.notify_all()
        return stanza
