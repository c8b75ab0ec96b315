"""Dialback on a stream to us: keys, several domains, and the attacks on it (XEP-0220 2, 4)."""

from __future__ import annotations

from typing import Any

import pytest

from refserver.errors import Condition, StanzaError
from refserver.stanza import Stanza
from refserver.stream.dialback import check_key, make_key
from refserver.stream.events import Established, KeyToVerify
from tests.unit.server_pair import (
    BIDI,
    HEADER,
    OURS,
    PEER,
    SECRET,
    Serving,
    external,
    message,
    result,
    tls,
    verify,
)

THIRD = "third.example"


def opened(proofs=None, **options) -> Serving:
    shell = Serving(proofs or tls(), **{"dialback": True, **options})
    shell.send(HEADER)
    return shell


def proved(**options) -> Serving:
    """A stream on which a key has proved peer.example for library.example."""
    shell = opened(verdict=True, **options)
    shell.send(result())
    assert Established(PEER, OURS, "dialback") == shell.events[-1]
    shell.events.clear()
    return shell


def refusal(answer: bytes) -> str:
    """The condition in an answer of type error."""
    assert b" type='error'>" in answer
    return next(each.value for each in Condition if f"<{each.value} ".encode() in answer)


# -- keys ------------------------------------------------------------------------


def test_a_key_is_that_of_xep_0185():
    key = make_key(b"s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F")
    assert "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3" == key
    assert check_key(b"s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F", key)


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": b"other"},
        {"receiving": "other.example"},
        {"originating": "other.example"},
        {"stream_id": "2"},
        {"key": "0" * 64},
        {"key": ""},
        {"key": "\u00e9"},
    ],
)
def test_a_key_is_good_for_one_pair_on_one_stream(changed):
    right: dict[str, Any] = {"secret": SECRET, "receiving": PEER, "originating": OURS, "stream_id": "1"}
    right["key"] = make_key(**right)
    assert check_key(**right)
    assert not check_key(**{**right, **changed})


# -- the receiving role ----------------------------------------------------------


def test_a_key_is_given_to_the_shell_and_the_stream_goes_on():
    shell = opened()
    assert b"" == shell.send(result(key=" k1\n "))
    (asked,) = shell.events
    assert KeyToVerify(PEER, OURS, "k1", shell.stream.id) == asked
    assert "key=" not in repr(asked)
    assert b"" == shell.send(b" ")
    shell.walk(shell.stream.key_verified(asked, True))
    assert b"<db:result from='library.example' to='peer.example' type='valid'/>" == shell.take()
    assert Established(PEER, OURS, "dialback") == shell.events[-1]
    shell.send(message())
    assert isinstance(shell.events[-1], Stanza)


def test_what_is_not_verified_yet_carries_nothing():
    shell = opened()
    shell.send(result())
    shell.send(message())
    assert "not-authorized" == shell.condition
    assert b"" == b"".join(shell.stream.key_verified(shell.of(KeyToVerify)[0], True))
    assert not shell.of(Established)


def test_an_invalid_key_ends_a_stream_that_carries_nothing():
    shell = opened(verdict=False)
    answer = shell.send(result())
    assert answer.startswith(
        b"<db:result from='library.example' to='peer.example' type='invalid'/><stream:error>"
    )
    assert "not-authorized" == shell.condition


def test_what_could_not_be_verified_is_an_error_and_can_be_tried_again():
    shell = opened(verdict=StanzaError(Condition.REMOTE_SERVER_NOT_FOUND))
    answer = shell.send(result())
    assert answer.startswith(
        b"<db:result from='library.example' to='peer.example' type='error'><error type='cancel'>"
    )
    assert "remote-server-not-found" == refusal(answer)
    shell.verdict = True
    assert b"type='valid'" in shell.send(result())


def test_tls_comes_first():
    shell = opened(direct=False)
    assert "policy-violation" == refusal(shell.send(result()))
    assert "policy-violation" == refusal(shell.send(verify()))
    assert not shell.events


def test_a_certificate_proves_without_dialing_back():
    for dialback in (True, False):
        shell = opened(tls(PEER), dialback=dialback)
        assert b"type='valid'" in shell.send(result())
        assert [Established(PEER, OURS, "certificate")] == shell.events


def test_by_certificates_only_a_key_is_no_proof():
    shell = opened(tls(PEER), dialback=False, verdict=True)
    assert "not-authorized" == refusal(shell.send(result(from_=THIRD)))
    assert not shell.events


def test_a_key_for_a_domain_that_is_not_here():
    assert "item-not-found" == refusal(opened().send(result(to="nobody.example")))


@pytest.mark.parametrize("shell", [opened(), proved()], ids=["first", "later"])
def test_nobody_else_is_one_of_us(shell):
    assert "not-authorized" == refusal(shell.send(result(from_="other.example")))
    assert "not-authorized" == refusal(shell.send(result(from_=OURS)))
    assert not shell.events


def test_who_is_not_welcome_is_refused():
    shell = opened(welcomes=lambda from_, to: from_ != THIRD)
    assert "not-authorized" == refusal(shell.send(result(from_=THIRD)))


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (result(from_=""), "improper-addressing"),
        (result(to="@"), "improper-addressing"),
        (result(from_="pat@peer.example"), "improper-addressing"),
        (b"<db:result>k</db:result>", "improper-addressing"),
        (verify(to="library.example/x"), "improper-addressing"),
        (verify(id_=""), "bad-format"),
        (result(type_="perhaps"), "bad-format"),
        (b"<db:x from='peer.example' to='library.example'/>", "unsupported-stanza-type"),
    ],
)
def test_bad_requests_end_the_stream(sent, condition):
    shell = opened()
    shell.send(sent)
    assert condition == shell.condition


# -- several domains -------------------------------------------------------------


def test_each_pair_is_proved_for_itself():
    shell = proved()
    shell.send(result(to="other.example") + result(from_=THIRD))
    assert 2 == len(shell.of(KeyToVerify)) == len(shell.of(Established))
    shell.send(message(to="x@other.example") + message(from_=f"pat@{THIRD}"))
    assert 2 == len(shell.of(Stanza))
    shell.send(message(from_=f"pat@{THIRD}", to="x@other.example"))
    assert "improper-addressing" == shell.condition


def test_a_proved_sender_is_not_proved_for_its_parent_or_child():
    for spoofed in (f"rooms.{PEER}", "example", f"x{PEER}"):
        shell = proved()
        shell.send(message(from_=f"pat@{spoofed}"))
        assert "invalid-from" == shell.condition


def test_stanzas_of_what_is_proved_pass_while_another_key_waits():
    shell = proved()
    shell.verdict = None
    shell.send(result(from_=THIRD) + message())
    assert [KeyToVerify, Stanza] == [type(event) for event in shell.events]


def test_an_invalid_key_beside_a_proved_pair_costs_only_that():
    shell = proved()
    shell.verdict = False
    assert "forbidden" == refusal(shell.send(result(from_=THIRD)))
    shell.send(message())
    assert isinstance(shell.events[-1], Stanza)
    shell.send(message(from_=f"pat@{THIRD}"))
    assert "invalid-from" == shell.condition


def test_a_proved_pair_is_not_verified_twice():
    shell = proved()
    assert b"type='valid'" in shell.send(result(key="another"))
    assert not shell.events


def test_external_and_keys_go_together_in_this_order_only():
    shell = opened(tls(PEER), verdict=True)
    shell.send(external() + HEADER + result(to="other.example") + result(from_=THIRD))
    methods = {(each.from_, each.to): each.method for each in shell.of(Established)}
    assert {
        (PEER, OURS): "certificate",
        (PEER, "other.example"): "certificate",
        (THIRD, OURS): "dialback",
    } == methods


@pytest.mark.parametrize("verdict", [None, True, StanzaError(Condition.REMOTE_SERVER_TIMEOUT)])
def test_a_key_cannot_be_carried_over_a_restart(verdict):
    shell = opened(tls(PEER), verdict=verdict)
    shell.send(result(from_=THIRD) + external())
    assert "policy-violation" == shell.condition


# -- attacks ---------------------------------------------------------------------


@pytest.mark.parametrize("shell", [opened(), proved()], ids=["first", "later"])
@pytest.mark.parametrize("type_", ["valid", "invalid", "error"])
@pytest.mark.parametrize("write", [result, verify])
def test_answers_to_what_was_never_asked_end_the_stream(shell, type_, write):
    shell = proved() if shell.stream.account else opened()
    shell.send(write(type_=type_))
    assert "policy-violation" == shell.condition
    assert not shell.of(Established)


def test_an_answer_for_another_stream_is_dropped():
    first, second = opened(), opened()
    first.send(result())
    second.send(result())
    first.walk(first.stream.key_verified(second.of(KeyToVerify)[0], True))
    assert b"" == first.take()
    assert not first.of(Established)


def test_an_answer_counts_once():
    shell = opened()
    shell.send(result())
    (asked,) = shell.events
    for _ in range(2):
        shell.walk(shell.stream.key_verified(asked, True))
    assert 1 == len(shell.of(Established))


def test_an_answer_after_the_end_is_dropped():
    shell = opened()
    shell.send(result() + b"</stream:stream>")
    shell.walk(shell.stream.key_verified(shell.of(KeyToVerify)[0], True))
    assert b"" == shell.take()
    assert not shell.of(Established)


def test_an_endless_handshake_ends():
    shell = opened(verdict=StanzaError(Condition.REMOTE_SERVER_TIMEOUT))
    for number in range(5):
        assert not shell.condition
        shell.send(result(from_=f"d{number}.example"))
    assert "policy-violation" == shell.condition


def test_invalid_keys_on_a_stream_in_use_are_counted():
    shell = proved()
    shell.verdict = False
    for _ in range(5):
        assert not shell.condition
        shell.send(result(from_=THIRD))
    assert "policy-violation" == shell.condition


def test_errors_that_are_not_the_peers_fault_do_not_end_a_stream_in_use():
    shell = proved()
    for number in range(20):
        shell.send(result(to=f"d{number}.nobody.example"))
    shell.send(message())
    assert isinstance(shell.events[-1], Stanza)


def test_keys_that_wait_are_bounded():
    shell = opened(max_pairs=10, max_auth_attempts=1000)
    answers = [shell.send(result(from_=f"d{number}.example")) for number in range(200)]
    assert 10 == len(shell.events)
    assert {"resource-constraint"} == {refusal(each) for each in answers[10:]}
    assert "resource-constraint" == refusal(shell.send(result(from_="d1.example", key="again")))


def test_pairs_are_bounded():
    shell = opened(max_pairs=3, max_auth_attempts=1000, verdict=True)
    for number in range(10):
        shell.send(result(from_=f"d{number}.example"))
    assert 3 == len(shell.of(Established))


# -- the authoritative role ------------------------------------------------------


def test_our_own_keys_are_confirmed_and_others_not():
    shell = opened()
    key = make_key(SECRET, PEER, OURS, "id1")
    assert b"<db:verify from='library.example' to='peer.example' id='id1' type='valid'/>" == (
        shell.send(verify(key=key, id_="id1"))
    )
    for wrong in (
        verify(key=key, id_="id2"),
        verify(key=key[:-1] + "x", id_="id1"),
        verify(from_=THIRD, key=key, id_="id1"),
        verify(to="other.example", key=key, id_="id1"),
        verify(key="", id_="id1"),
    ):
        assert b" type='invalid'/>" in shell.send(wrong)
    assert not shell.events


def test_keys_are_confirmed_without_authentication_and_after_it():
    key = make_key(SECRET, PEER, OURS, "id1")
    for shell in (opened(), proved(), opened(dialback=False, proofs=tls(PEER))):
        assert b" type='valid'/>" in shell.send(verify(key=key, id_="id1"))


def test_a_key_of_a_domain_that_is_not_here_is_not_judged():
    answer = opened().send(verify(to="nobody.example"))
    assert "item-not-found" == refusal(answer)
    assert answer.startswith(b"<db:verify from='nobody.example' to='peer.example' id='s1' type='error'>")


def test_a_key_that_was_made_for_one_is_of_no_use_to_another():
    """Reflection: third.example lets us connect to it, and shows our key to peer.example as its own."""
    key = make_key(SECRET, THIRD, OURS, "id1")
    assert b"type='invalid'" in opened().send(verify(from_=PEER, key=key, id_="id1"))


def test_nothing_of_the_peers_is_written_as_markup():
    shell = opened()
    answer = shell.send(verify(id_="&lt;a&apos;&amp;", key="&lt;"))
    assert b" id='&lt;a&apos;&amp;' type='invalid'/>" in answer


# -- bidi ------------------------------------------------------------------------


def test_with_bidi_the_reverse_of_each_proved_pair_goes_back():
    shell = opened(verdict=True)
    shell.send(BIDI)
    assert not shell.stream.carries(OURS, PEER)
    shell.send(result() + result(from_=THIRD, to="other.example"))
    assert shell.stream.carries(OURS, PEER)
    assert shell.stream.carries("other.example", THIRD)
    assert not shell.stream.carries(OURS, THIRD)


def test_with_bidi_unasked_answers_are_still_an_attack():
    shell = opened(verdict=True)
    shell.send(BIDI + result() + result(from_=THIRD, type_="valid"))
    assert "policy-violation" == shell.condition
