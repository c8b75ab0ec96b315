"""An orderly stop as people on another server see it: what was there becomes unavailable (SIGTERM)."""

from __future__ import annotations

import signal
import time

import pytest

from tests.interop.conftest import complaints
from tests.interop.peers import PROSODY
from tests.interop.peers.people import MUC_USER

pytestmark = pytest.mark.peers

NOBODY = "Nobody at the desk, leave a message"


def test_people_elsewhere_see_the_queue_the_desk_and_accounts_go(region, start_prosody, started):
    """They see it within the stop, and everything is there again after the next start."""
    prosody = region.start(start_prosody, PROSODY)
    pat, eve = started(region.patron(prosody)), started(region.librarian(prosody))
    pat.subscribe()
    pat.wait_for_presence(region.library.queue, "subscribed")
    mia = region.library.librarian("mia")
    pat.send_raw(f"<presence type='subscribe' to='{mia.jid}'/>")
    mia.wait_for_presence(pat.jid, "subscribe")
    mia.send_raw(f"<presence type='subscribed' to='{pat.jid}'/>")
    pat.wait_for_presence(mia.jid, "")
    eve.enter_desk()
    pat.sees("2 librarians, no wait")

    began = time.monotonic()
    assert region.server.stop() == -signal.SIGTERM
    assert time.monotonic() - began < 10
    pat.wait_for_presence(region.library.queue, "unavailable")
    pat.wait_for_presence(mia.jid, "unavailable")
    left = eve.wait_for_presence(f"{region.library.desk}/{eve.nick}", "unavailable")
    assert {"110", "332"} == {status.get("code") for status in left.iter(f"{MUC_USER}status")}

    region.server.start()
    pat.sees(NOBODY, "xa", timeout=20)
    eve.enter_desk()
    pat.sees("1 librarian, no wait")
    assert [] == complaints(region.server.log)


def test_the_first_message_to_a_removed_library_is_returned(region, start_prosody, started):
    """After a removal the first message to the library comes back; no stream is left that swallows it."""
    prosody = region.start(start_prosody, PROSODY)
    pat = started(region.patron(prosody))
    asked = pat.ask("Is there anybody?")
    pat.hears("Thank you, your question is here.")
    region.server.ctl("library", "remove", "--yes", region.library.domain)
    asked = pat.ask("Are you still there?")
    error = pat.wait_for_message_that(
        lambda e: e.get("type") == "error" and e.get("id") == asked, region.library.queue
    )
    assert error.find("{jabber:client}error") is not None
