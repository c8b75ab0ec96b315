"""Patrons and librarians: slixmpp clients that know what those two do, as any client could."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from tests.interop.peers.slixmpp_client import SlixmppClient

CLIENT = "{jabber:client}"
CHATSTATES = "{http://jabber.org/protocol/chatstates}"
RECEIPTS = "{urn:xmpp:receipts}"
DELAY = "{urn:xmpp:delay}delay"
MUC_USER = "{http://jabber.org/protocol/muc#user}"
_ROOM = "http://jabber.org/protocol/muc"

_numbers = itertools.count(1)


def body(stanza: Element) -> str:
    """The words of a message."""
    return stanza.findtext(f"{CLIENT}body") or ""


class Person(SlixmppClient):
    """Somebody with an ordinary client, who talks to one address at a time."""

    def write_to(self, to: str, text: str, receipt: bool = False, more: str = "") -> str:
        """Send a chat message, with an id; return the id. `more` is XML beside the body."""
        id = f"{self.jid.partition('@')[0]}-{next(_numbers)}"
        wish = "<request xmlns='urn:xmpp:receipts'/>" if receipt else ""
        words = f"<body>{escape(text)}</body>" if text else ""
        self.send_raw(f"<message type='chat' to='{to}' id='{id}'>{words}{wish}{more}</message>")
        return id

    def type_to(self, to: str, state: str = "composing") -> None:
        """Send a chat state (XEP-0085)."""
        self.write_to(to, "", more=f"<{state} xmlns='http://jabber.org/protocol/chatstates'/>")

    def confirm_to(self, to: str, id: str) -> None:
        """Send a receipt (XEP-0184) for the message with that id."""
        self.write_to(to, "", more=f"<received xmlns='urn:xmpp:receipts' id='{id}'/>")

    def wait_for_receipt(self, id: str, sender: str = "", timeout: float = 10) -> Element:
        """Take the receipt for the message with that id."""

        def confirms(stanza: Element) -> bool:
            received = stanza.find(f"{RECEIPTS}received")
            return received is not None and received.get("id") == id

        return self.wait_for_message_that(confirms, sender, timeout)

    def wait_for_state(self, state: str, sender: str = "", timeout: float = 10) -> Element:
        """Take a message without words that holds that chat state."""

        def tells(stanza: Element) -> bool:
            return stanza.find(f"{CHATSTATES}{state}") is not None and not body(stanza)

        return self.wait_for_message_that(tells, sender, timeout)

    def wait_for_message_that(
        self, predicate: Callable[[Element], bool], sender: str = "", timeout: float = 10
    ) -> Element:
        """Take the first message that `predicate` accepts, from a JID that begins with `sender`."""
        return self.wait_for(
            lambda e: e.tag == f"{CLIENT}message" and e.get("from", "").startswith(sender) and predicate(e),
            timeout,
        )

    def take_words(self, sender: str = "") -> list[str]:
        """Take every message with words that the server has sent until now; the words, oldest first."""
        self.catch_up()
        return [body(self.wait_for_message("", sender)) for _ in self._with_words(sender)]

    def _with_words(self, sender: str) -> list[Element]:
        messages = (e for e in self.received() if e.tag == f"{CLIENT}message")
        return [e for e in messages if e.get("from", "").startswith(sender) and body(e)]

    def catch_up(self) -> None:
        """Return when everything has come that the server sent before it saw this: it answers in order."""
        server = self.jid.partition("@")[2]
        self.iq(f"<iq type='get' id='up-{next(_numbers)}' to='{server}'><ping xmlns='urn:xmpp:ping'/></iq>")


class Patron(Person):
    """Somebody who asks `queue`."""

    def __init__(
        self, jid: str, password: str, ca: Path, port: int, queue: str, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(jid, password, ca, port, host)
        self.queue = queue

    def subscribe(self) -> None:
        """Add the queue to the contacts."""
        self.presence(pto=self.queue, ptype="subscribe")

    def ask(self, text: str, receipt: bool = False) -> str:
        """Write to the queue; return the message's id."""
        return self.write_to(self.queue, text, receipt)

    def hears(self, text: str, timeout: float = 10) -> Element:
        """Take the queue's message that holds `text`."""
        return self.wait_for_message(text, self.queue, timeout)

    def sees(self, status: str, show: str = "", timeout: float = 10) -> Element:
        """Take the queue's presence with that status and show; what it said before is passed over."""
        return self.wait_for(
            lambda e: (
                e.tag == f"{CLIENT}presence"
                and e.get("from", "").startswith(self.queue)
                and (status, show) == (e.findtext(f"{CLIENT}status") or "", e.findtext(f"{CLIENT}show") or "")
            ),
            timeout,
        )


class Librarian(Person):
    """Somebody who answers at `queue`, whose desk is the room `desk`."""

    def __init__(
        self, jid: str, password: str, ca: Path, port: int, queue: str, desk: str, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(jid, password, ca, port, host)
        self.queue = queue
        self.desk = desk
        self.nick = jid.partition("@")[0]

    def enter_desk(self, show: str = "") -> None:
        """Join the desk room, and return when that is done."""
        shows = f"<show>{show}</show>" if show else ""
        self.send_raw(f"<presence to='{self.desk}/{self.nick}'>{shows}<x xmlns='{_ROOM}'/></presence>")
        self.wait_for_presence(f"{self.desk}/{self.nick}")
        self.wait_for_message_that(lambda e: e.find(f"{CLIENT}subject") is not None, self.desk)

    def leave_desk(self) -> None:
        """Leave it, and return when that is done."""
        self.presence(pto=f"{self.desk}/{self.nick}", ptype="unavailable")
        self.wait_for_presence(f"{self.desk}/{self.nick}", "unavailable")

    def say_at_desk(self, text: str) -> None:
        """Say something in the desk room."""
        self.message(self.desk, text, "groupchat")

    def at_desk(self, text: str, timeout: float = 10) -> Element:
        """Take the desk room's message that holds `text`."""
        return self.wait_for_message(text, self.desk, timeout)

    def announced(self, words: str, timeout: float = 10) -> int:
        """Take the desk's line for the question with these words; return its number."""
        line = body(self.at_desk(f'"{words}"', timeout))
        found = re.search(r"#(\d+)", line)
        assert found is not None, line
        return int(found[1])

    def chat(self, number: int) -> str:
        """The address of a question's chat."""
        name, _, domain = self.queue.partition("@")
        return f"{name}+{number}@{domain}"

    def write(self, number: int, text: str, receipt: bool = False) -> str:
        """Write in the chat of a question; return the message's id."""
        return self.write_to(self.chat(number), text, receipt)

    def hears(self, number: int, text: str, timeout: float = 10) -> Element:
        """Take the message in a question's chat that holds `text`."""
        return self.wait_for_message(text, self.chat(number), timeout)

    def take(self, number: int) -> None:
        """Claim a question at the desk, and return when it is hers."""
        self.say_at_desk(f"!{number}")
        self.hears(number, f"#{number} is yours")
