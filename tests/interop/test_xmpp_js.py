"""A patron with @xmpp/client, as web pages and bots have it: asks and gets the answer, over verified TLS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.conftest import require
from tests.interop.peers import TestAuthority
from tests.interop.peers.library import PASSWORD
from tests.interop.peers.xmpp_js import XmppJs, install

ROOT = Path(__file__).resolve().parents[2]
WORDS = "Can I return a book in another branch?"

pytestmark = pytest.mark.peers


@pytest.fixture(scope="session")
def installed() -> Path:
    """Where @xmpp/client is installed; it stays there from one run to the next."""
    require("node", "npm")
    folder = ROOT / ".cache" / "xmpp-js"
    problem = install(folder)
    if problem:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"@xmpp/client: {problem}")
    return folder


@pytest.fixture
def xmpp_js(installed, started) -> Callable[..., XmppJs]:
    """`xmpp_js("pat@library.example", "password", ca, port)`: a client that is logging in."""
    return lambda *arguments: started(XmppJs(installed, *arguments))


def test_a_patron_asks_and_gets_the_answer(library, xmpp_js):
    """Acknowledged, told who is there, answered, thanked; typing arrives, too."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = xmpp_js(library.jid("pat"), PASSWORD, library.server.authority.ca, library.server.port)
    pat.wait_for_online()

    pat.message(library.queue, WORDS)
    pat.wait_for_message("Thank you, your question is here.", library.queue)
    number = mia.announced(WORDS)
    mia.write(number, "Yes, in any of the three.")
    pat.wait_for_message("mia is with you now.", library.queue)
    answer = pat.wait_for_message("Yes, in any of the three.", library.queue)
    assert "chat" == answer["type"]
    mia.type_to(mia.chat(number))
    pat.wait_for(lambda one: one.get("state") == "composing" and not one["body"])

    pat.message(library.queue, "Perfect, bye!")
    mia.hears(number, "Perfect, bye!")
    mia.write(number, "!close 1")
    pat.wait_for_message("Thank you for asking.", library.queue)
    assert "closed" == library.question(number)["state"]


def test_an_unknown_authority_is_refused(library, xmpp_js, tmp_path):
    """Node verifies: without our authority there is no session."""
    library.set_up(patrons=("pat",))
    stranger = TestAuthority(tmp_path / "elsewhere").ca
    pat = xmpp_js(library.jid("pat"), PASSWORD, stranger, library.server.port)
    assert "certificate" in pat.wait_for(lambda one: "error" in one)["error"]
