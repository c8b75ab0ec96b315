"""SASL (RFC 4422), the server's side: mechanisms, verifiers, and what is offered when.

Messages in, steps out; no XML (that is `stream/inbound.py`), no store, no threads.
"""

from refserver.sasl.mechanism import (
    Challenge,
    Credentials,
    Mechanism,
    NeedCredentials,
    NeedPasswordCheck,
    SaslCondition,
    SaslFailure,
    Step,
    Success,
    Surroundings,
    decode,
    encode,
)
from refserver.sasl.offer import EXTERNAL, TLS_EXPORTER, TLS_SERVER_END_POINT, begin, offered
from refserver.sasl.verifier import (
    FakeVerifiers,
    Hashing,
    InvalidPassword,
    Verifier,
    check_password,
    make_verifier,
    make_verifiers,
)

__all__ = [
    "EXTERNAL",
    "TLS_EXPORTER",
    "TLS_SERVER_END_POINT",
    "Challenge",
    "Credentials",
    "FakeVerifiers",
    "Hashing",
    "InvalidPassword",
    "Mechanism",
    "NeedCredentials",
    "NeedPasswordCheck",
    "SaslCondition",
    "SaslFailure",
    "Step",
    "Success",
    "Surroundings",
    "Verifier",
    "begin",
    "check_password",
    "decode",
    "encode",
    "make_verifier",
    "make_verifiers",
    "offered",
]
