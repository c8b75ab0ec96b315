"""Base64 of SASL messages is strict."""

from __future__ import annotations

import pytest

from refserver.sasl import SaslCondition, SaslFailure, decode, encode


@pytest.mark.parametrize(
    "text, data", [("=", b""), ("", b""), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc")]
)
def test_base64_is_decoded(text, data):
    assert data == decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "YQ",
        "YQ=",
        "YQ===",
        "Y",
        "YR==",
        " YQ==",
        "YQ==\n",
        "Y Q==",
        "YQ==YQ==",
        "Y-_=",
        "Yé==",
        "====",
        "==",
        "=YQ=",
    ],
)
def test_anything_else_is_an_incorrect_encoding(text):
    with pytest.raises(SaslFailure) as caught:
        decode(text)
    assert caught.value.condition is SaslCondition.INCORRECT_ENCODING


def test_what_is_encoded_decodes_to_itself():
    data = bytes(range(256))
    assert data == decode(encode(data))
