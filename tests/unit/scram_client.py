"""A SCRAM client (RFC 5802) for tests: written from the RFC, sharing no code with refserver."""

from __future__ import annotations

import base64
import hashlib
import hmac


class ScramClient:
    """One exchange. `binding` is ("type", data) for a -PLUS mechanism; `flag` is then ignored."""

    def __init__(self, username, password, hash_name="SHA-256", flag="n", binding=None, authzid=""):
        self.algorithm = {"SHA-1": "sha1", "SHA-256": "sha256"}[hash_name]
        self.password = password.encode()
        name = username.replace("=", "=3D").replace(",", "=2C")
        self.binding_data: bytes = binding[1] if binding else b""
        self.gs2 = (f"p={binding[0]}" if binding else flag) + "," + (f"a={authzid}" if authzid else "") + ","
        self.nonce = "c1"
        self.bare = f"n={name},r={self.nonce}"
        self.server_signature = b""
        self.salt = b""

    def first(self) -> bytes:
        return (self.gs2 + self.bare).encode()

    def final(self, server_first: bytes, nonce="") -> bytes:
        """Client-final; with another `nonce` than the server's it is wrong, though well signed."""
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce)
        assert len(fields["r"]) > len(self.nonce)
        self.salt = base64.b64decode(fields["s"])
        salted = hashlib.pbkdf2_hmac(self.algorithm, self.password, self.salt, int(fields["i"]))
        channel = base64.b64encode(self.gs2.encode() + self.binding_data).decode()
        without_proof = f"c={channel},r={nonce or fields['r']}"
        message = f"{self.bare},{server_first.decode()},{without_proof}".encode()
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self.algorithm, client_key).digest()
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.server_signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def accepts(self, server_final: bytes) -> bool:
        return server_final == b"v=" + base64.b64encode(self.server_signature)

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self.algorithm).digest()
