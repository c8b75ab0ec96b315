"""SASLprep: the examples of RFC 4013 3 and what they leave out."""

from __future__ import annotations

import pytest

from refserver.sasl import InvalidPassword
from refserver.sasl.verifier import prepared


@pytest.mark.parametrize(
    "written, hashed",
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u200bpencil", "pencil"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u06271\u0628", "\u06271\u0628"),
    ],
)
def test_a_password_is_mapped_and_normalised(written, hashed):
    assert hashed.encode() == prepared(written)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "\u00ad",
        "\u0007",
        "a\x7fb",
        "\u0627\u0031",
        "\u0031\u0627",
        "\u0627a\u0628",
        "\ue000",
        "\ufffd",
        "\U000e0001",
    ],
)
def test_what_saslprep_prohibits_is_refused(written):
    with pytest.raises(InvalidPassword):
        prepared(written)


def test_code_points_newer_than_unicode_3_2_pass_unchanged():
    assert "\U0001f600".encode() == prepared("\U0001f600")


def test_the_refusal_does_not_repeat_the_password():
    with pytest.raises(InvalidPassword) as caught:
        prepared("secret\u0007")
    assert "secret" not in str(caught.value)
