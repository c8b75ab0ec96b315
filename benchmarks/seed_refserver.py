"""`python -m benchmarks.seed_refserver CONFIG DOMAIN N`: a library and N accounts in the database, at once.

`refserverctl account add` derives keys for each account, as it should; ten thousand of those take minutes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sqlalchemy import Connection

from benchmarks.credentials import ACCOUNT_PREFIX, ITERATIONS, PASSWORD, SALT
from refserver.app.config import load
from refserver.app.parts import Storage
from refserver.jid import JID
from refserver.sasl.verifier import HASHES, make_verifier
from refserver.storage import accounts, libraries


def seed(connection: Connection, domain: str, count: int) -> None:
    """Add the library, and accounts which share one salt, hence one verifier a hash."""
    verifiers = {name: make_verifier(PASSWORD, name, SALT, ITERATIONS) for name in HASHES}
    libraries.add(connection, domain, "Benchmark")
    now = time.time()
    for number in range(count):
        accounts.add(connection, JID.of(f"{ACCOUNT_PREFIX}{number}", domain), verifiers, now)


def main() -> None:
    """Seed the database that the configuration file names."""
    config, domain, count = sys.argv[1:]
    storage = Storage.open(load(Path(config)).server.data, lambda function, *args: function(*args))
    storage.database.write_now(seed, domain, int(count))
    storage.database.close_now()


if __name__ == "__main__":
    main()
