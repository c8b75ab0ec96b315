"""Base64 as SASL over XMPP wants it: strict (RFC 6120 6.4.2, RFC 4648 3.3 and 3.5).

Not here: which element the text stands in, and the SASL messages themselves.
"""

from __future__ import annotations

import base64
import binascii

from refserver.sasl.failure import SaslCondition, SaslFailure


def decode(text: str) -> bytes:
    """The bytes that `text` stands for; "=" is a message of no bytes (RFC 6120 6.4.2).

    Raises `SaslFailure` incorrect-encoding for all that our own encoder would not have
    written: whitespace, foreign characters, missing or superfluous padding, stray bits.
    """
    if text == "=":
        return b""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise SaslFailure(SaslCondition.INCORRECT_ENCODING) from error
    if encode(data) != text:
        raise SaslFailure(SaslCondition.INCORRECT_ENCODING)
    return data


def encode(data: bytes) -> str:
    """`data` in Base64, without line breaks."""
    return base64.b64encode(data).decode("ascii")
