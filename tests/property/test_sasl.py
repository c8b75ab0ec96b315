"""SASL with arbitrary passwords and arbitrary nonsense."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from refserver.sasl import (
    Challenge,
    Credentials,
    FakeVerifiers,
    InvalidPassword,
    NeedCredentials,
    NeedPasswordCheck,
    SaslFailure,
    Success,
    Surroundings,
    begin,
    check_password,
    decode,
    encode,
    make_verifier,
    offered,
)
from refserver.sasl.verifier import prepared

FAKE = FakeVerifiers(b"k" * 32, iterations=1)
BINDINGS = {"tls-exporter": b"e" * 32}
OFFERED = offered(True, BINDINGS)
STORED = Credentials({name: make_verifier("secret", name, b"salt", 1) for name in ("SHA-1", "SHA-256")})


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_verifier_accepts_exactly_the_passwords_that_prepare_alike(password, other):
    try:
        verifier = make_verifier(password, "SHA-256", b"salt", 1)
    except InvalidPassword:
        return
    assert check_password(verifier, password)
    try:
        same = prepared(password) == prepared(other)
    except InvalidPassword:
        same = False
    assert same == check_password(verifier, other)


@given(st.text(alphabet="\u00ad\u2168\u00aa\u0627aA \u3000\u0301e", max_size=10))
def test_preparing_twice_changes_nothing(password):
    try:
        once = prepared(password)
    except InvalidPassword:
        return
    assert once == prepared(once.decode())


@given(st.text(alphabet="AQgw+/=\n -", max_size=12))
def test_base64_that_is_accepted_is_the_one_we_would_write(text):
    try:
        data = decode(text)
    except SaslFailure:
        return
    assert text == encode(data) or (text, data) == ("=", b"")


FRAGMENTS = st.sampled_from(b"n|y|p=tls-exporter|,|,,|n=pat|r=c1|c=biws|p=AAAA|\0|a=|m=|=2C".split(b"|"))
MESSAGES = st.one_of(st.none(), st.binary(max_size=60), st.lists(FRAGMENTS, max_size=10).map(b"".join))


@given(
    name=st.sampled_from(OFFERED), messages=st.lists(MESSAGES, min_size=1, max_size=4), known=st.booleans()
)
def test_nonsense_fails_cleanly_and_never_logs_in(name, messages, known):
    mechanism = begin(name, Surroundings("library.example", FAKE, BINDINGS, OFFERED))
    try:
        for message in messages:
            step = mechanism.respond(message)
            if isinstance(step, NeedCredentials):
                step = mechanism.credentials(STORED if known else None)
            if isinstance(step, NeedPasswordCheck):
                step = mechanism.password_checked(check_password(step.verifier, step.password))
            assert isinstance(step, Challenge)
            assert not isinstance(step, Success)
    except SaslFailure:
        pass
