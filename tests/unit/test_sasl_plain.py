"""PLAIN, message by message."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.sasl import (
    Challenge,
    Credentials,
    FakeVerifiers,
    NeedCredentials,
    NeedPasswordCheck,
    SaslCondition,
    SaslFailure,
    Success,
    Surroundings,
    begin,
    check_password,
    make_verifier,
)

FAKE = FakeVerifiers(b"k" * 32, iterations=2)
PAT = JID.parse("pat@library.example")
STORED = {name: make_verifier("secret", name, b"salt" * 4, 2) for name in ("SHA-1", "SHA-256")}


def plain(domain="library.example"):
    return begin("PLAIN", Surroundings(domain, FAKE, {}, ("PLAIN",)))


def log_in(message, found=Credentials(STORED), mechanism=None):  # noqa: B008 - a value
    mechanism = mechanism or plain()
    assert NeedCredentials(PAT) == mechanism.respond(message)
    asked = mechanism.credentials(found)
    assert isinstance(asked, NeedPasswordCheck)
    return mechanism.password_checked(check_password(asked.verifier, asked.password))


def refusal(act, *args, **kwargs):
    with pytest.raises(SaslFailure) as caught:
        act(*args, **kwargs)
    return caught.value.condition


def test_the_right_password_is_let_in():
    assert Success(PAT) == log_in(b"\0pat\0secret")


def test_the_username_is_prepared():
    assert Success(PAT) == log_in(b"\0PAT\0secret")


def test_without_initial_response_an_empty_challenge_is_sent():
    mechanism = plain()
    assert Challenge(b"") == mechanism.respond(None)
    assert Success(PAT) == log_in(b"\0pat\0secret", mechanism=mechanism)


def test_a_wrong_password_is_refused():
    assert refusal(log_in, b"\0pat\0Secret") is SaslCondition.NOT_AUTHORIZED


def test_the_own_address_is_a_valid_authzid():
    assert Success(PAT) == log_in(b"Pat@Library.example\0pat\0secret")


@pytest.mark.parametrize(
    "authzid",
    ["mia@library.example", "pat@other.example", "pat", "library.example", "pat@library.example/desk", "@"],
)
def test_any_other_authzid_is_refused_before_the_password_is_looked_at(authzid):
    assert refusal(plain().respond, f"{authzid}\0pat\0secret".encode()) is SaslCondition.INVALID_AUTHZID


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"pat",
        b"pat\0secret",
        b"\0\0secret",
        b"\0pat\0",
        b"\0pat\0sec\0ret",
        b"\0\0",
        b"\0\0\0",
        b"\0pat\0secret\xff",
        b"\0p\xc0\x80at\0secret",
    ],
)
def test_a_message_of_the_wrong_shape_is_malformed(message):
    assert refusal(plain().respond, message) is SaslCondition.MALFORMED_REQUEST


@pytest.mark.parametrize("username", ["p at", "pat@library.example", "a/b", "x" * 1024, "\u202epat"])
def test_a_name_that_no_account_can_have_is_not_authorized(username):
    assert refusal(plain().respond, f"\0{username}\0secret".encode()) is SaslCondition.NOT_AUTHORIZED


def test_for_an_unknown_account_the_same_work_is_asked_for():
    mechanism = plain()
    mechanism.respond(b"\0pat\0secret")
    asked = mechanism.credentials(None)
    assert NeedPasswordCheck(PAT, FAKE.of("pat@library.example", "SHA-256"), "secret") == asked


def test_an_unknown_account_is_refused_whatever_the_check_says():
    mechanism = plain()
    mechanism.respond(b"\0pat\0secret")
    mechanism.credentials(None)
    assert refusal(mechanism.password_checked, True) is SaslCondition.NOT_AUTHORIZED


def test_the_stronger_hash_is_checked():
    mechanism = plain()
    mechanism.respond(b"\0pat\0secret")
    assert mechanism.credentials(Credentials(STORED)).verifier is STORED["SHA-256"]


def test_an_account_with_one_verifier_can_log_in():
    assert Success(PAT) == log_in(b"\0pat\0secret", Credentials({"SHA-1": STORED["SHA-1"]}))


def test_a_disabled_account_is_told_so_only_with_the_right_password():
    disabled = Credentials(STORED, disabled=True)
    assert refusal(log_in, b"\0pat\0secret", disabled) is SaslCondition.ACCOUNT_DISABLED
    assert refusal(log_in, b"\0pat\0wrong", disabled) is SaslCondition.NOT_AUTHORIZED


def test_the_question_does_not_show_the_password():
    assert "secret" not in repr(NeedPasswordCheck(PAT, STORED["SHA-1"], "secret"))


def test_nothing_can_be_answered_before_it_was_asked():
    with pytest.raises(RuntimeError):
        plain().credentials(None)
