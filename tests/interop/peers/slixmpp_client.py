"""slixmpp, a Python client library, from tests that know nothing of asyncio.

It runs in a thread with an event loop of its own. What is received is kept, in order, until a test takes it.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from xml.etree.ElementTree import Element, fromstring, tostring

import slixmpp

_CLIENT = "{jabber:client}"
FAILURES = ("failed_all_auth", "connection_failed", "ssl_invalid_chain", "disconnected", "stream_error")

T = TypeVar("T")
Predicate = Callable[[Element], object]


class LoginFailed(Exception):
    """slixmpp got no session: the event that said so, and what came with it."""


class SlixmppClient:
    """A client with TLS required and verified against one authority.

    As a context manager it is logged in inside and closed afterwards. Subscriptions are left to the test.
    """

    def __init__(
        self, jid: str, password: str, ca: Path, port: int, host: str = "127.0.0.1", direct_tls: bool = False
    ) -> None:
        self.jid = jid
        self._password = password
        self._ca = ca
        self._address = (host, port)
        self._direct_tls = direct_tls
        self._received: list[Element] = []
        self._news = threading.Condition()
        self._client: slixmpp.ClientXMPP | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"slixmpp {jid}", daemon=True)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self, presence: bool = True, timeout: float = 20) -> None:
        """Log in; with `presence`, fetch the roster and become available. Raises LoginFailed."""
        self._thread.start()
        try:
            self.run(self._log_in(presence), timeout)
        except TimeoutError:
            seen = [tostring(element, "unicode") for element in self.received()]
            self.close()
            raise LoginFailed(f"no session after {timeout:g} s; received: {seen}") from None
        except BaseException:
            self.close()
            raise

    @property
    def client(self) -> slixmpp.ClientXMPP:
        """slixmpp itself; touch it only within `run` or `call`."""
        assert self._client is not None, "not connected"
        return self._client

    @property
    def bound_jid(self) -> str:
        """The full JID the server gave it."""
        return str(self.client.boundjid.full)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 10) -> T:
        """Run a coroutine in the client's loop and return its result."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a plain function in the client's loop and return its result."""

        async def wrapped() -> T:
            return function(*arguments, **named)

        return self.run(wrapped())

    def message(self, to: str, body: str, kind: str = "chat") -> None:
        """Send a message."""
        self.call(self.client.send_message, mto=to, mbody=body, mtype=kind)

    def presence(self, **attributes: str) -> None:
        """Send presence: `pto`, `ptype`, `pshow`, `pstatus`, `ppriority`, as slixmpp calls them."""
        self.call(self.client.send_presence, **attributes)

    def send_raw(self, xml: str) -> None:
        """Send these characters as they are."""
        self.call(self.client.send_raw, xml)

    def iq(self, xml: str, timeout: float = 10) -> Element:
        """Send an <iq/> as it is written and return the answer, result or error, that has its id."""
        request = fromstring(xml)
        self.send_raw(xml)
        return self.wait_for(
            lambda e: (
                e.tag == f"{_CLIENT}iq"
                and e.get("id") == request.get("id")
                and e.get("type") in ("result", "error")
            ),
            timeout,
        )

    def wait_for(self, predicate: Predicate, timeout: float = 10) -> Element:
        """Take the first received stanza that `predicate` accepts; earlier others stay where they are."""
        with self._news:
            self._news.wait_for(lambda: self._first(predicate) is not None, timeout)
            found = self._first(predicate)
            if found is None:
                kept = "\n".join(tostring(element, "unicode") for element in self._received[-20:])
                raise AssertionError(f"{self.jid} waited {timeout:g} s for a stanza; it had:\n{kept}")
            self._received.remove(found)
            return found

    def wait_for_message(self, containing: str, sender: str = "", timeout: float = 10) -> Element:
        """Take the first message whose body holds `containing`, from a JID that begins with `sender`."""
        return self.wait_for(
            lambda e: (
                e.tag == f"{_CLIENT}message"
                and containing in (e.findtext(f"{_CLIENT}body") or "")
                and e.get("from", "").startswith(sender)
            ),
            timeout,
        )

    def wait_for_presence(self, sender: str, kind: str = "", timeout: float = 10) -> Element:
        """Take the first presence of that type ("" is available) from a JID that begins with `sender`."""
        return self.wait_for(
            lambda e: (
                e.tag == f"{_CLIENT}presence"
                and e.get("type", "") == kind
                and e.get("from", "").startswith(sender)
            ),
            timeout,
        )

    def received(self) -> list[Element]:
        """The stanzas received and not taken, oldest first."""
        with self._news:
            return list(self._received)

    def abort(self) -> None:
        """Drop the connection without a closing tag, as a client whose network is gone."""
        with suppress(AttributeError):  # asyncio's of Python 3.11, where the server's end has just gone
            self.call(self.client.abort)

    def close(self) -> None:
        """Close the stream, if it is open, and end the thread."""
        if not self._thread.is_alive():
            return
        if self._client is not None:
            self.run(self._log_out(self._client))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _log_in(self, presence: bool) -> None:
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        client = self._client = slixmpp.ClientXMPP(self.jid, self._password)
        client.ssl_context = ssl.create_default_context(cafile=str(self._ca))
        client.enable_direct_tls, client.enable_starttls = self._direct_tls, not self._direct_tls
        client.auto_authorize, client.auto_subscribe = None, False
        client.add_filter("in", self._keep)
        for event in FAILURES:
            client.add_event_handler(event, lambda data, event=event: fail(outcome, event, data))
        client.add_event_handler("session_start", lambda _: succeed(outcome))
        client.connect(*self._address)
        await outcome
        if presence:
            await client.get_roster()
            client.send_presence()

    async def _log_out(self, client: slixmpp.ClientXMPP) -> None:
        client.cancel_connection_attempt()
        if client.transport is not None:
            await client.disconnect(wait=1)
        pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _keep(self, stanza: Any) -> Any:
        with self._news:
            self._received.append(fromstring(tostring(stanza.xml)))
            self._news.notify_all()
        return stanza

    def _first(self, predicate: Predicate) -> Element | None:
        return next((element for element in self._received if predicate(element)), None)


def succeed(outcome: asyncio.Future[None]) -> None:
    if not outcome.done():
        outcome.set_result(None)


def fail(outcome: asyncio.Future[None], event: str, data: object) -> None:
    if not outcome.done():
        outcome.set_exception(LoginFailed(f"{event}: {data}"))
