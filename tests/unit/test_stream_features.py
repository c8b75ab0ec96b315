"""Which features are offered when, and how they are written."""

from __future__ import annotations

import re

import pytest

from refserver.stream.policy import TLSInfo
from refserver.xml import Limits
from tests.unit.stream_shell import HEADER, Shell, authenticated, opened, plain, policy

CLIENT = "xmlns='urn:ietf:params:xml:ns:xmpp-"


def features(shell: Shell, data: bytes = HEADER) -> str:
    match = re.search(rb"<stream:features>(.*)</stream:features>$", shell.send(data))
    assert match is not None
    return match[1].decode()


def names(text: str) -> list[str]:
    """The features by name, without what is in them."""
    depth, found = 0, []
    for closing, name, empty in re.findall(r"<(/?)([a-z-]+)[^>]*?(/?)>", text):
        if closing:
            depth -= 1
            continue
        if depth == 0:
            found.append(name)
        depth += not empty
    return found


def test_before_required_tls_there_is_nothing_else():
    text = features(Shell(tls=None))
    assert ["starttls", "limits"] == names(text)
    assert f"<starttls {CLIENT}tls'><required/></starttls>" in text


def test_before_optional_tls_one_may_authenticate():
    text = features(Shell(tls=None, require_tls=False))
    assert ["starttls", "mechanisms", "limits"] == names(text)
    assert f"<starttls {CLIENT}tls'/>" in text


def test_where_there_is_no_certificate_tls_is_not_offered():
    assert ["mechanisms", "limits"] == names(features(Shell(tls=None, require_tls=False, offer_tls=False)))


def test_under_tls_one_authenticates():
    text = features(Shell())
    assert ["sasl-channel-binding", "mechanisms", "limits"] == names(text)


def test_mechanisms_are_listed_strongest_first():
    text = features(Shell())
    listed = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    assert listed == re.findall("<mechanism>([^<]*)</mechanism>", text)


def test_channel_binding_types_are_announced():
    text = features(Shell())
    assert (
        "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/>"
        "<channel-binding type='tls-server-end-point'/></sasl-channel-binding>"
    ) in text


@pytest.mark.parametrize("tls", [TLSInfo("TLSv1.2"), TLSInfo("TLSv1.2", server_end_point=b"s")])
def test_only_types_with_data_are_announced(tls):
    text = features(Shell(tls=tls))
    assert ("tls-server-end-point" in text) is (tls.server_end_point is not None)
    assert ("-PLUS" in text) is (tls.server_end_point is not None)
    assert "tls-exporter" not in text


@pytest.mark.parametrize("allowed", [False, True])
def test_plain_without_tls_is_the_operators_choice(allowed):
    text = features(Shell(tls=None, require_tls=False, plain_without_tls=allowed))
    assert allowed is ("<mechanism>PLAIN</mechanism>" in text)


def test_registration_is_offered_by_policy_and_only_in_private():
    register = "<register xmlns='http://jabber.org/features/iq-register'/>"
    assert register in features(Shell(registration=True))
    assert register in features(Shell(tls=None, require_tls=False, registration=True))
    assert register not in features(Shell(tls=None, registration=True))
    assert register not in features(Shell())


def test_an_authenticated_client_may_bind():
    shell = opened(registration=True)
    text = features(shell, plain() + HEADER)
    assert ["bind", "session", "sm", "ver", "sub", "limits"] == names(text)
    assert f"<bind {CLIENT}bind'/>" in text
    assert f"<session {CLIENT}session'><optional/></session>" in text
    assert "<ver xmlns='urn:xmpp:features:rosterver'/>" in text
    assert "<sub xmlns='urn:xmpp:features:pre-approval'/>" in text


def test_the_limits_are_those_of_the_moment():
    limits = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{}</max-bytes></limits>"
    shell = Shell()
    assert limits.format(10_000) in features(shell)
    assert limits.format(262_144) in features(shell, plain() + HEADER)


def test_a_limit_that_there_is_not_is_not_announced():
    from refserver.stream.features import CLIENT_FEATURES, Situation
    from refserver.stream.features import features as written
    from refserver.stream.policy import StreamPolicy

    unlimited = StreamPolicy(Limits(0), Limits(0))
    assert b"limits" not in written(CLIENT_FEATURES, Situation(unlimited, True, (), False, ()))
    assert b"limits" in written(CLIENT_FEATURES, Situation(policy(), True, (), False, ()))


def test_the_new_beginning_has_a_new_id():
    shell = opened()
    before = shell.stream.id
    shell.send(plain() + HEADER)
    assert shell.stream.id != before
    assert authenticated().stream.account.text == "pat@library.example"
