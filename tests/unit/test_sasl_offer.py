"""Which mechanisms are offered, and what beginning another one answers."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.sasl import (
    FakeVerifiers,
    Mechanism,
    SaslCondition,
    SaslFailure,
    Success,
    Surroundings,
    begin,
    offered,
)

PLUS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-1")


@pytest.mark.parametrize(
    "tls, bindings, plain_without_tls, names",
    [
        (True, ["tls-exporter"], False, (*PLUS, *SCRAM, "PLAIN")),
        (True, [], False, (*SCRAM, "PLAIN")),
        (False, [], False, SCRAM),
        (False, [], True, (*SCRAM, "PLAIN")),
    ],
)
def test_mechanisms_are_offered_strongest_first(tls, bindings, plain_without_tls, names):
    assert names == offered(tls, bindings, plain_without_tls)


@pytest.mark.parametrize(
    "name, condition",
    [
        ("PLAIN", SaslCondition.ENCRYPTION_REQUIRED),
        ("SCRAM-SHA-1-PLUS", SaslCondition.INVALID_MECHANISM),
        ("DIGEST-MD5", SaslCondition.INVALID_MECHANISM),
        ("scram-sha-1", SaslCondition.INVALID_MECHANISM),
        ("", SaslCondition.INVALID_MECHANISM),
    ],
)
def test_a_mechanism_that_was_not_offered_cannot_begin(name, condition):
    surroundings = Surroundings("library.example", FakeVerifiers(b"k"), {}, offered(False, []))
    with pytest.raises(SaslFailure) as caught:
        begin(name, surroundings)
    assert caught.value.condition is condition


def test_a_mechanism_without_questions_only_responds():
    class Trusting(Mechanism):
        def respond(self, data):
            return Success(JID.parse("guest@library.example"))

    mechanism = Trusting()
    assert mechanism.respond(b"").account.localpart == "guest"
    with pytest.raises(RuntimeError):
        mechanism.credentials(None)
    with pytest.raises(RuntimeError):
        mechanism.password_checked(True)
