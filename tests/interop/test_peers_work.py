"""The peers themselves: what the other tests of this folder rely on, shown without refserver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.peers import LoginFailed, SlixmppClient, TestAuthority, free_port, wait_until

pytestmark = pytest.mark.peers

DOMAIN = "peer.example"
ROOT = Path(__file__).resolve().parents[2]


def test_profanity_and_slixmpp_talk_through_prosody_over_verified_tls(
    start_prosody, profanity, slixmpp_client
):
    """Each sees the words of the other."""
    server = start_prosody(DOMAIN)
    pat, mia = server.add_account("pat", "pat's word"), server.add_account("mia", "mia's word")
    desk = slixmpp_client(mia, "mia's word", server.port)
    patron = profanity(pat, "pat's word", server.port)

    patron.message(mia, "is this seat taken?")
    asked = desk.wait_for_message("is this seat taken?", sender=pat)
    desk.message(asked.get("from", ""), "please sit down")

    assert "please sit down" in patron.wait_for_text("please sit down")
    assert patron.wait_for_log(r'RECV: <message[^>]* from="mia@peer\.example/')


def test_slixmpp_refuses_a_certificate_of_another_authority(start_prosody, tmp_path):
    """Verification is on: the same server, another authority, no session."""
    server = start_prosody(DOMAIN)
    jid = server.add_account("mia", "word")
    stranger = TestAuthority(tmp_path / "elsewhere").ca
    with (
        pytest.raises(LoginFailed, match="CERTIFICATE_VERIFY_FAILED"),
        SlixmppClient(jid, "word", stranger, server.port),
    ):
        pass


def test_slixmpp_logs_in_over_direct_tls(start_prosody, slixmpp_client):
    """The second port speaks TLS from the first byte."""
    server = start_prosody(DOMAIN)
    client = slixmpp_client(server.add_account("mia", "word"), "word", server.tls_port, direct_tls=True)
    assert client.bound_jid.startswith("mia@peer.example/")


def test_a_wrong_password_is_told_as_such(start_prosody, slixmpp_client):
    """LoginFailed names the event."""
    server = start_prosody(DOMAIN)
    jid = server.add_account("mia", "word")
    with pytest.raises(LoginFailed, match="failed_all_auth"):
        slixmpp_client(jid, "another word", server.port)


def test_an_iq_gets_its_answer_and_leaves_the_rest_to_be_taken(start_prosody, slixmpp_client):
    """What `iq` does not take stays in order."""
    server = start_prosody(DOMAIN)
    client = slixmpp_client(server.add_account("mia", "word"), "word", server.port)
    client.message(client.bound_jid, "to myself")
    answer = client.iq(f"<iq type='get' id='p1' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert answer.get("type") == "result"
    assert client.wait_for_message("to myself").get("from") == client.bound_jid


def test_a_dropped_connection_is_seen_by_others(start_prosody, slixmpp_client):
    """`abort` leaves without a word; the server tells the account's other resource."""
    server = start_prosody(DOMAIN)
    jid = server.add_account("mia", "word")
    first = slixmpp_client(f"{jid}/first", "word", server.port)
    second = slixmpp_client(f"{jid}/second", "word", server.port)
    first.wait_for_presence(f"{jid}/second")
    second.abort()
    assert first.wait_for_presence(f"{jid}/second", "unavailable") is not None


def test_prosody_and_ejabberd_federate_with_verified_certificates(
    start_prosody, start_ejabberd, slixmpp_client
):
    """Two servers on addresses of their own find each other by routes, and messages go both ways."""
    here, there = ("127.0.0.2", free_port("127.0.0.2")), ("127.0.0.3", free_port("127.0.0.3"))
    routes = {"left.example": here, "right.example": there}
    left = start_prosody("left.example", host=here[0], s2s_port=here[1], routes=routes)
    right = start_ejabberd("right.example", host=there[0], s2s_port=there[1], routes=routes)
    pat, mia = left.add_account("pat", "word"), right.add_account("mia", "word")
    patron = slixmpp_client(pat, "word", left.port, host=left.host)
    librarian = slixmpp_client(mia, "word", right.port, host=right.host)

    patron.message(mia, "hello over there")
    librarian.wait_for_message("hello over there", sender=pat)
    librarian.message(pat, "hello to you")

    assert patron.wait_for_message("hello to you", sender=mia) is not None


def test_two_runs_of_the_tests_are_given_different_ports():
    """What this process was given no other one gets, though nobody listens there."""
    code = "from tests.interop.peers import free_port; print(*(free_port() for _ in range(150)))"
    ours = {free_port() for _ in range(150)}
    runs = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    here, there = ({int(port) for port in run.communicate(timeout=60)[0].split()} for run in runs)
    assert 450 == len(ours | here | there)


def test_waiting_says_what_there_was_instead():
    """A deadline that passes names what was awaited and shows the last state."""
    with pytest.raises(AssertionError, match=r"waited 0\.05 s for a miracle; there was:\nnothing"):
        wait_until(lambda: None, "a miracle", 0.05, lambda: "nothing")
