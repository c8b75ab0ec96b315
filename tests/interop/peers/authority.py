"""The certificates of a test run: one authority which every client is told to trust, and what it signs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from attrs import frozen

from refserver.app.certificates import Certificate, ensure


@frozen
class TestAuthority:
    """A folder of `<domain>.pem` files (key, certificate, authority) and of `ca.pem`."""

    __test__ = False  # a class for tests, not one of tests

    folder: Path

    @property
    def ca(self) -> Path:
        """The file a client is told to trust."""
        return ensure(self.folder, [])

    def certify(self, *domains: str) -> Path:
        """Make sure of a good certificate for each domain and return the folder."""
        ensure(self.folder, [Certificate(domain) for domain in domains])
        return self.folder

    def hashed_folder(self) -> Path:
        """A folder with the authority under its hash, as programs on OpenSSL look it up."""
        folder = self.folder / "hashed"
        if not folder.exists():
            folder.mkdir()
            (folder / "ca.pem").write_bytes(self.ca.read_bytes())
            subprocess.run(["openssl", "rehash", folder], check=True, capture_output=True)
        return folder
