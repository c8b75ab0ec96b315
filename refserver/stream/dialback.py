"""Dialback keys (XEP-0185): made from a secret, so nothing has to be remembered to check them."""

from __future__ import annotations

import hashlib
import hmac


def make_key(secret: bytes, receiving: str, originating: str, stream_id: str) -> str:
    """The key that proves `originating` to `receiving` on the stream that `receiving` named `stream_id`."""
    material = hashlib.sha256(secret).hexdigest().encode()
    message = f"{receiving} {originating} {stream_id}".encode("utf-8", "surrogatepass")
    return hmac.new(material, message, hashlib.sha256).hexdigest()


def check_key(secret: bytes, receiving: str, originating: str, stream_id: str, key: str) -> bool:
    """Whether `key` is that key, in constant time."""
    wanted = make_key(secret, receiving, originating, stream_id)
    return hmac.compare_digest(wanted.encode(), key.encode("utf-8", "surrogatepass"))
