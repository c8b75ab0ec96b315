"""What was handed to other servers arrives: Prosody counts it (XEP-0198), ejabberd answers pings after it."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest

from refserver.app.commands.s2s import ShowRemote
from tests.interop.peers import EJABBERD, PROSODY, wait_until

pytestmark = pytest.mark.peers

TEXTS = ["First", "Second", "Third"]


def remote(region: Any, domain: str) -> dict[str, Any]:
    """What refserver knows of the other server."""
    known: dict[str, Any] = region.library.call(ShowRemote(domain))
    return known


def wait_for_log(peer: Any, pattern: str) -> None:
    wait_until(lambda: re.search(pattern, peer.log), pattern, 20, lambda: peer.log[-3000:])


def word(where: str, name: str, more: str = "") -> str:
    """What Prosody logs about one element of stream management."""
    return rf"{re.escape(where)}: <{name} (?=[^>]*urn:xmpp:sm:3)[^>]*{more}"


def wait_until_confirmed(region: Any, domain: str) -> None:
    def is_confirmed() -> bool:
        known = remote(region, domain)
        return known["streams_out"] == 1 and known["waiting"] == known["unacknowledged"] == 0

    wait_until(is_confirmed, "confirmed", 40, lambda: region.server.log)


def kill_with_words_in_its_buffer(region: Any, peer: Any, mia: Any, to: str) -> None:
    """The peer stops reading, words for it are sent into its socket, and it is killed."""
    os.kill(peer.process.pid, signal.SIGSTOP)
    for text in TEXTS:
        mia.write_to(to, text)
    mia.catch_up()
    wait_until(
        lambda: remote(region, peer.domain)["unacknowledged"] == len(TEXTS),
        "words sent and not confirmed",
        20,
        lambda: str(remote(region, peer.domain)),
    )
    peer.process.kill()


def test_prosody_and_we_count_for_each_other(region, start_prosody, started):
    """Stream management is on in both directions, and both tell what they have handled."""
    peer = region.start(start_prosody, PROSODY)
    pat = started(region.patron(peer))
    mia = region.library.librarian("mia", at_desk=False)
    mia.write_to(pat.jid, "Are you there?")
    pat.wait_for_message("Are you there?")
    wait_for_log(peer, word("Received[s2sin]", "enable"))
    wait_for_log(peer, word("Received[s2sin]", "r"))
    wait_for_log(peer, word("Sending[s2sin]", "a", "h='1'"))
    wait_until_confirmed(region, PROSODY)

    pat.write_to(mia.jid, "I am.")  # on a stream that is not managed yet
    mia.wait_for_message("I am.")
    wait_for_log(peer, word("Received[s2sout]", "enabled"))
    pat.write_to(mia.jid, "Still here.")
    mia.wait_for_message("Still here.")
    wait_for_log(peer, word("Sending[s2sout]", "r"))
    wait_for_log(peer, word("Received[s2sout]", "a", "h='1'"))


@pytest.mark.parametrize(("kind", "domain"), [("prosody", PROSODY), ("ejabberd", EJABBERD)])
def test_what_a_peer_had_not_read_when_it_was_killed_arrives_after_its_return_once(
    region, started, request, kind, domain
):
    """The words are plain messages between people: the stream alone sees to them."""
    peer = region.start(request.getfixturevalue(f"start_{kind}"), domain)
    pat = started(region.patron(peer, "patricia"))
    mia = region.library.librarian("mia", at_desk=False)
    mia.write_to(pat.jid, "Are you there?")
    pat.wait_for_message("Are you there?")
    wait_until_confirmed(region, domain)
    pat.abort()
    peer.wait_until_stored("patricia")
    kill_with_words_in_its_buffer(region, peer, mia, pat.jid)
    peer.stop()
    peer.start()
    # ejabberd keeps what comes just as somebody logs in until he does so again: he comes later.
    wait_until_confirmed(region, domain)
    again = started(region.returning(peer, pat.jid))
    for text in TEXTS:
        again.wait_for_message(text)
    assert [] == again.take_words()
    assert 0 == remote(region, domain)["returned"]


def test_what_was_confirmed_before_a_crash_is_not_sent_again(region, peer, started):
    pat = started(region.patron(peer, "patricia"))
    mia = region.library.librarian("mia", at_desk=False)
    mia.write_to(pat.jid, "Are you there?")
    pat.wait_for_message("Are you there?")
    wait_until_confirmed(region, peer.domain)
    peer.wait_until_stored("patricia")
    sent = remote(region, peer.domain)["sent"]
    peer.process.kill()
    peer.stop()
    over = f"the stream to {peer.domain} is over"
    wait_until(lambda: over in region.server.log, over, 20, lambda: region.server.log[-2000:])
    pat.abort()
    peer.start()
    again = started(region.returning(peer, pat.jid))
    mia.write_to(pat.jid, "And now?")
    again.wait_for_message("And now?", timeout=40)
    assert [] == again.take_words()
    assert sent + 1 == remote(region, peer.domain)["sent"]


def test_ejabberd_answers_the_ping_behind_a_message(region, start_ejabberd, started):
    """Its answer comes on its own stream to us and goes nowhere else."""
    peer = region.start(start_ejabberd, EJABBERD)
    pat = started(region.patron(peer))
    mia = region.library.librarian("mia", at_desk=False)
    mia.write_to(pat.jid, "Are you there?")
    pat.wait_for_message("Are you there?")
    wait_until_confirmed(region, EJABBERD)
    known = remote(region, EJABBERD)
    assert (1, 1, 1) == (known["sent"], known["received"], known["streams_in"])
