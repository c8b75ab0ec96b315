"""Spam from another server, end to end: the question comes over s2s, `!spam` at the desk, and the way back.

The real server in a process of its own; the patron's server is a socket, the librarian a client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import pytest

from tests.interop.peers.authority import TestAuthority
from tests.server.live import Raw
from tests.server.strangers import LIBRARY, SERVER, Stream, Town, message

ASK, DESK = f"ask@{LIBRARY}", f"ask@rooms.{LIBRARY}"
CLIENT = "{jabber:client}"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[Town]:
    """A library with a queue; mia works there and is on duty."""
    with Town(tmp_path_factory.mktemp("spam"), certificates, "certificate") as town:
        town.server.process.ctl("queue", "add", ASK)
        town.server.process.ctl("librarian", "add", ASK, f"mia@{LIBRARY}")
        town.mia.send("<presence/>")
        town.mia.send(f"<presence to='{DESK}/mia'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        until(town.mia, "presence", f"{DESK}/mia")
        yield town


def until(raw: Raw, kind: str, from_: str, words: str = "") -> Element:
    """The next stanza of that kind from there that has those words in it."""
    while True:
        stanza = raw.stanza(kind)
        if stanza.get("from") == from_ and words in (stanza.findtext(f"{CLIENT}body") or ""):
            return stanza


def until_answered(stream: Stream, type: str) -> Element:
    """The next message of that type for eve."""
    while True:
        element = stream.element()
        if element.tag == f"{SERVER}message" and element.get("type", "normal") == type:
            return element


def test_spam_is_blocked_at_the_desk_seen_by_the_operator_and_let_in_again(library: Town) -> None:
    ctl, mia = library.server.process.ctl, library.mia
    stream = library.stranger().proved(bidi=True)
    eve = f"eve@{stream.name}"

    stream.send(f"<presence from='{eve}' to='{ASK}' type='subscribe'/>")
    assert "subscribed" == stream.element().get("type")
    stream.send(message(eve, ASK, "cheap watches"))
    until_answered(stream, "chat")
    until(mia, "message", f"ask+1@{LIBRARY}/queue", "cheap watches")

    mia.send(f"<message to='ask+1@{LIBRARY}' type='chat'><body>!spam</body></message>")
    told = until(mia, "message", f"{DESK}/ask", "#1 was spam").findtext(f"{CLIENT}body")
    assert eve not in str(told)
    while (element := stream.element()).get("type") != "unsubscribed":
        assert element.tag in (f"{SERVER}presence", f"{SERVER}iq")  # an iq asks what has arrived

    stream.send(message(eve, ASK, "cheaper watches"))
    error = until_answered(stream, "error").find(f"{SERVER}error")
    assert error is not None
    assert error[0].tag.endswith("}service-unavailable")

    (counted,) = json.loads(ctl("--json", "spam", "list", LIBRARY))
    assert (stream.name, 1, False) == (counted["domain"], counted["reports"], counted["blocked"])
    (row,) = json.loads(ctl("--json", "block", "list", LIBRARY))
    assert (f"…@{stream.name}", f"!spam ask+1@{LIBRARY}") == (row["sender"], row["origin"])
    assert eve not in ctl("report", ASK) + ctl("block", "list", LIBRARY)

    assert f"{eve}: removed\n" == ctl("block", "remove", LIBRARY, eve)
    stream.send(message(eve, ASK, "it was me, and I do have a question"))
    until(mia, "message", f"ask+2@{LIBRARY}/queue", "I do have a question")
