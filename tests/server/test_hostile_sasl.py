"""Bad authentication over a real socket: the defined failure, and nothing learnt by who guesses."""

from __future__ import annotations

import re
import time
from base64 import b64decode, b64encode

import pytest

from tests.server.live import PASSWORD, SASL, LiveServer, auth, bind, fresh_address, header, plain
from tests.server.live import condition as error_of
from tests.unit.scram_client import ScramClient

pytestmark = pytest.mark.usefixtures("unharmed")

BAD_PROOF = b64encode(b"\0" * 32).decode()


def element(name: str, text: str = "", attributes: str = "") -> bytes:
    return f"<{name} xmlns='{SASL}'{attributes}>{text}</{name}>".encode()


def scram(username: str = "mia", gs2: str = "n,,", nonce: str = "abc") -> bytes:
    return auth("SCRAM-SHA-256", f"{gs2}n={username},r={nonce}".encode())


# -- a first message that is wrong ----------------------------------------------------------

FIRST = {
    "no mechanism": (element("auth", "AAAA"), "invalid-mechanism"),
    "an empty mechanism": (auth("", b"x"), "invalid-mechanism"),
    "an unknown mechanism": (auth("DIGEST-MD5", b""), "invalid-mechanism"),
    "a mechanism in small letters": (auth("plain", b"\0mia\0x"), "invalid-mechanism"),
    "channel binding without TLS": (auth("SCRAM-SHA-256-PLUS", b"p=x,,n=mia,r=a"), "invalid-mechanism"),
    "an anonymous user": (auth("ANONYMOUS", b""), "invalid-mechanism"),
    "a certificate": (auth("EXTERNAL", b""), "invalid-mechanism"),
    "no Base64": (element("auth", "not base64!", " mechanism='PLAIN'"), "incorrect-encoding"),
    "Base64 without its padding": (element("auth", "AG1pYQB4eA", " mechanism='PLAIN'"), "incorrect-encoding"),
    "Base64 padded twice": (element("auth", "AG1pYQB4eA===", " mechanism='PLAIN'"), "incorrect-encoding"),
    "Base64 with a space": (element("auth", "AG1p YQB4eHg=", " mechanism='PLAIN'"), "incorrect-encoding"),
    "Base64 with stray bits": (element("auth", "AG1pYQB4eB==", " mechanism='PLAIN'"), "incorrect-encoding"),
    "the Base64 of URLs": (element("auth", "_-_-", " mechanism='PLAIN'"), "incorrect-encoding"),
    "an empty message": (auth("PLAIN", b""), "malformed-request"),
    "no parts": (auth("PLAIN", b"mia"), "malformed-request"),
    "two parts": (auth("PLAIN", b"mia\0secret"), "malformed-request"),
    "four parts": (auth("PLAIN", b"\0mia\0secret\0"), "malformed-request"),
    "no username": (auth("PLAIN", b"\0\0secret"), "malformed-request"),
    "no password": (auth("PLAIN", b"\0mia\0"), "malformed-request"),
    "a username that is not UTF-8": (auth("PLAIN", b"\0\xff\0secret"), "malformed-request"),
    "a username that cannot be": (plain("mia@library.example/x"), "not-authorized"),
    "a username of 2000 bytes": (plain("m" * 2000), "not-authorized"),
    "another's name as authzid": (plain("mia", authzid="pat@library.example"), "invalid-authzid"),
    "a resource as authzid": (plain("mia", authzid="mia@library.example/desk"), "invalid-authzid"),
    "another library's account as authzid": (plain("mia", authzid="mia@other.example"), "invalid-authzid"),
    "a localpart as authzid": (plain("mia", authzid="mia"), "invalid-authzid"),
    "a malformed authzid": (plain("mia", authzid="@"), "invalid-authzid"),
    "SCRAM without gs2 header": (auth("SCRAM-SHA-256", b"n=mia,r=abc"), "malformed-request"),
    "SCRAM with a reserved attribute": (auth("SCRAM-SHA-256", b"n,,m=x,n=mia,r=abc"), "malformed-request"),
    "SCRAM with a bad escape": (scram("mi=a"), "malformed-request"),
    "SCRAM without nonce": (scram(nonce=""), "malformed-request"),
    "SCRAM with a NUL": (auth("SCRAM-SHA-256", b"n,,n=mi\0a,r=abc"), "malformed-request"),
    "SCRAM that binds without -PLUS": (scram(gs2="p=tls-exporter,,"), "malformed-request"),
    "SCRAM for another's authzid": (scram(gs2="n,a=pat@library.example,"), "invalid-authzid"),
    "a response to nothing": (element("response", "AAAA"), "malformed-request"),
    "an abortion of nothing": (element("abort"), "aborted"),
}  # fmt: skip


@pytest.mark.parametrize("first", FIRST)
def test_a_bad_first_message_fails_and_a_good_one_may_follow(live: LiveServer, first: str) -> None:
    data, condition = FIRST[first]
    raw = live.open()
    raw.send(data)
    assert f"<failure xmlns='{SASL}'><{condition}/></failure>".encode() == raw.expect(b"</failure>")
    raw.authenticate("mia")
    raw.bind("after")


def test_one_s_own_address_may_be_the_authzid(live: LiveServer) -> None:
    raw = live.open()
    raw.send(plain("mia", authzid="Mia@Library.example"))
    raw.expect(b"<success")


# -- a second message that is wrong -----------------------------------------------------------


@pytest.mark.parametrize(
    "answer, condition",
    [
        ("not base64!", "incorrect-encoding"),
        ("=", "malformed-request"),
        (b64encode(b"c=biws,r=%(nonce)s").decode(), "malformed-request"),
        (f"c=biws,r=%(nonce)s,p={BAD_PROOF}", "not-authorized"),
        (f"c=biws,r=%(nonce)sx,p={BAD_PROOF}", "not-authorized"),
        (f"c=eSws,r=%(nonce)s,p={BAD_PROOF}", "not-authorized"),
        ("c=biws,r=%(nonce)s,p=AAAA", "not-authorized"),
        ("c=biws,r=%(nonce)s,p=", "malformed-request"),
        ("c=biws,r=%(nonce)s,p=!!", "malformed-request"),
        ("n=biws,r=%(nonce)s,p=AAAA", "malformed-request"),
    ],
    ids=lambda value: value[:12],
)
def test_a_bad_answer_to_the_challenge_fails(live: LiveServer, answer: str, condition: str) -> None:
    raw = live.open()
    raw.send(scram())
    nonce = challenge_of(raw.expect(b"</challenge>"))["r"]
    if "," in answer:
        answer = b64encode((answer % {"nonce": nonce}).encode()).decode()
    raw.send(element("response", answer))
    assert f"<failure xmlns='{SASL}'><{condition}/></failure>".encode() == raw.expect(b"</failure>")
    raw.authenticate("mia")


def test_another_exchange_s_proof_is_none(live: LiveServer) -> None:
    """A recorded answer does not fit a new nonce."""
    client, raw = ScramClient("mia", PASSWORD), live.open()
    raw.send(auth("SCRAM-SHA-256", client.first()))
    recorded = client.final(decoded(raw.expect(b"</challenge>")))
    raw.send(element("abort"))
    raw.expect(b"<aborted/></failure>")
    raw.send(auth("SCRAM-SHA-256", client.first()))
    raw.expect(b"</challenge>")
    raw.send(element("response", b64encode(recorded).decode()))
    raw.expect(b"<not-authorized/></failure>")


def test_a_second_exchange_within_the_first_fails(live: LiveServer) -> None:
    raw = live.open()
    raw.send(scram())
    raw.expect(b"</challenge>")
    raw.send(plain("mia"))
    raw.expect(b"<malformed-request/></failure>")


def test_scram_logs_in_and_proves_the_server(live: LiveServer) -> None:
    raw = live.open()
    answer, client = raw.scram("mia")
    assert client.accepts(b64decode(re.findall(rb">([^<]+)</success>", answer)[0]))


# -- who guesses -------------------------------------------------------------------------------


def challenge_of(challenge: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in decoded(challenge).decode().split(","))


def decoded(challenge: bytes) -> bytes:
    return b64decode(re.findall(rb">([^<]+)</challenge>", challenge)[-1])


def failure(live: LiveServer, username: str, password: str) -> bytes:
    raw = live.open()
    raw.send(plain(username, password))
    return raw.expect(b"</failure>")


def challenge(live: LiveServer, username: str) -> dict[str, str]:
    raw = live.open()
    raw.send(scram(username))
    return challenge_of(raw.expect(b"</challenge>"))


def test_a_wrong_password_and_an_unknown_account_get_the_same_bytes(live: LiveServer) -> None:
    assert (
        failure(live, "u1", "wrong")
        == failure(live, "nobody1", "wrong")
        == failure(live, "nobody1", PASSWORD)
    )


def test_an_unknown_account_s_challenge_looks_like_a_real_one(live: LiveServer) -> None:
    real, fake = challenge(live, "u2"), challenge(live, "nobody2")
    assert real["i"] == fake["i"]
    assert len(real["s"]) == len(fake["s"])
    assert len(real["r"]) == len(fake["r"])


def test_an_unknown_account_s_salt_is_stable_and_its_own(live: LiveServer) -> None:
    salt = challenge(live, "nobody3")["s"]
    assert salt == challenge(live, "nobody3")["s"] == challenge(live, "NoBody3")["s"]
    assert salt != challenge(live, "nobody4")["s"]


def test_scram_fails_alike_for_a_wrong_password_and_an_unknown_account(live: LiveServer) -> None:
    wrong, _ = live.open().scram("u3", "wrong")
    unknown, _ = live.open().scram("nobody5", "wrong")
    assert wrong == unknown == f"<failure xmlns='{SASL}'><not-authorized/></failure>".encode()


def test_five_failures_end_the_stream(live: LiveServer) -> None:
    raw = live.open()
    for _ in range(4):
        raw.send(auth("NONE", b""))
        raw.expect(b"</failure>")
    raw.send(auth("NONE", b"") + plain("mia"))
    raw.expect(b"</failure>")
    raw.failed("policy-violation")


def test_an_address_that_goes_on_failing_waits_ever_longer(live: LiveServer) -> None:
    source = fresh_address()
    waited = []
    for number in range(6):
        raw = live.open(source=source)
        began = time.monotonic()
        raw.send(plain(f"nobody{10 + number}", "wrong"))
        raw.expect(b"</failure>")
        waited.append(time.monotonic() - began)
    assert waited[4] >= 0.5
    assert waited[5] >= 1.0
    raw = live.open()  # from another address nobody waits
    began = time.monotonic()
    raw.authenticate("mia")
    assert time.monotonic() - began < 0.5


# -- too early, too late -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "stanza",
    [
        b"<message to='mia@library.example'><body>hello</body></message>",
        b"<presence/>",
        b"<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
        b"<iq type='set' id='1'><query xmlns='jabber:iq:auth'/></iq>",
        bind("early"),
    ],
    ids=["message", "presence", "roster", "legacy authentication", "bind"],
)
def test_no_stanza_is_taken_from_a_stranger(live: LiveServer, stanza: bytes) -> None:
    raw = live.open()
    raw.send(stanza)
    raw.failed("not-authorized")


def test_no_stanza_is_taken_within_an_exchange(live: LiveServer) -> None:
    raw = live.open()
    raw.send(scram())
    raw.expect(b"</challenge>")
    raw.send(b"<presence/>")
    raw.failed("not-authorized")


def test_stanzas_sent_along_with_a_failing_log_in_are_not_taken(live: LiveServer) -> None:
    mia, raw = live.online("mia@library.example/now"), live.open()
    raw.send(plain("pat", "wrong") + header() + bind("x") + b"<message to='mia@library.example/now'/>")
    raw.closed()
    assert mia.stanzas() == []


@pytest.mark.parametrize("stage", ["authenticated", "bound"])
def test_nobody_authenticates_twice(live: LiveServer, stage: str) -> None:
    raw = live.open()
    raw.authenticate("eve")
    if stage == "bound":
        raw.bind("lab")
    raw.send(plain("mia"))
    raw.failed("policy-violation")


def test_before_binding_nothing_but_binding_is_answered(live: LiveServer) -> None:
    raw = live.open()
    raw.authenticate("eve")
    answer = raw.ask("get", "<query xmlns='jabber:iq:roster'/>")
    assert ("wait", "unexpected-request") == error_of(answer)
    raw.send(b"<message to='mia@library.example'/>")
    raw.failed("not-authorized")


@pytest.mark.parametrize(
    "resource", ["a" * 1024, "\u202edesk", "\u0600\u0378"], ids=["long", "bidi", "unassigned"]
)
def test_a_resource_that_cannot_be_is_refused_and_another_may_be_asked_for(
    live: LiveServer, resource: str
) -> None:
    raw = live.open()
    raw.authenticate("eve")
    raw.send(bind(resource))
    assert ("modify", "bad-request") == error_of(raw.stanza("iq", "bind"))
    raw.bind("lab")


def test_who_goes_on_asking_for_such_resources_is_sent_away(live: LiveServer) -> None:
    raw = live.open()
    raw.authenticate("eve")
    raw.send(bind("\u202e") * 5)
    raw.failed("policy-violation")


def test_a_second_resource_on_the_same_stream_is_not_to_be_had(live: LiveServer) -> None:
    raw = live.login("eve@library.example/lab")
    raw.send(bind("second"))
    assert ("cancel", "not-allowed") == error_of(raw.stanza("iq", "bind"))


def test_the_newer_of_two_connections_has_the_resource(live: LiveServer) -> None:
    older = live.online("eve@library.example/desk")
    newer = live.online("eve@library.example/desk")
    older.failed("conflict")
    newer.send(b"<message to='eve@library.example/desk' id='mine'/>")
    assert newer.stanza("message").get("id") == "mine"
