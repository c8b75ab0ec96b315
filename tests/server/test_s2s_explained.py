"""What goes wrong with a real peer is among the reasons that refserverctl has plain words for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted

from refserver.app.certificates import Certificate, ensure
from refserver.app.commands.s2s import ShowRemote
from refserver.net.mux import Mux
from refserver.s2s import outbound_queue
from refserver.s2s.resolver import Target
from tests.interop.peers.authority import TestAuthority

from .federated import FederatedServer, Make
from .loopback import reactor, until

HERE, THERE = "library.example", "there.example"
MIA, PAT = f"mia@{HERE}/desk", f"pat@{THERE}/phone"
LONG_AGO = datetime.now(UTC) - timedelta(days=20)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Servers on one multiplexer, each with a folder of its own for certificates."""
    mux = Mux(reactor)
    mux.start()
    places: dict[str, Target] = {}
    monkeypatch.setattr(outbound_queue, "ATTEMPT_SECONDS", 2.0)

    def server(*domains: str, **policy: Any) -> FederatedServer:
        return FederatedServer(mux, tmp_path / "certificates", places, list(domains), **policy)

    yield server
    pytest_twisted.blockon(mux.stop(0.2))


class _Server:
    """A running server, as far as verbs need it."""

    def __init__(self, federated: FederatedServer) -> None:
        self.servers = federated.service


async def shown(here: FederatedServer) -> dict[str, Any]:
    """The output of `s2s show` after a stanza has come back."""
    here.send(MIA, PAT)
    await until(lambda: here.status(THERE).last_error is not None and here.status(THERE).returned == 1)
    return ShowRemote(THERE).answer(cast(Any, _Server(here)))


async def meeting(make: Make, certificate: Certificate, folder: Path) -> FederatedServer:
    """A server that meets one which shows `certificate`."""
    there = TestAuthority(folder / "there")
    ensure(there.folder, [certificate])
    here = make(HERE, trusted=there)
    await make(THERE, authority=there, certified=[]).listen()
    return here


@pytest.mark.parametrize(
    ("certificate", "short"),
    [
        (Certificate(THERE, start=LONG_AGO, days=10), "expired"),
        (Certificate(THERE, names=("other.example",)), "wrong name"),
        (Certificate(THERE, common_name_only=True), "wrong name"),
    ],
    ids=["expired", "another name", "common name only"],
)
@pytest_twisted.ensureDeferred
async def test_what_is_wrong_with_a_certificate_is_said(make, tmp_path, certificate, short):
    said = await shown(await meeting(make, certificate, tmp_path))
    assert (said["certificate"], said["last_error"]) == (short, short)
    assert said["certificate_issuer"].startswith("CN=")
    assert said["certificate_expires"] is not None
    assert said["paused_until"] is not None


@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_not_trusted_is_said(make, tmp_path):
    here = make(HERE)
    await make(THERE, authority=TestAuthority(tmp_path / "strangers")).listen()
    said = await shown(here)
    assert said["last_error"] in ("unknown authority", "self-signed")
    assert THERE in said["certificate_names"]


@pytest_twisted.ensureDeferred
async def test_that_our_own_certificate_is_refused_is_said(make, tmp_path):
    there = TestAuthority(tmp_path / "there")
    here = make(HERE, trusted=there)
    await make(THERE, authority=there).listen()
    said = await shown(here)
    assert (said["last_error"], said["certificate"]) == ("we are refused", "valid")
    assert "It says: the certificate was signed by an authority that is not trusted here" in said["meaning"]


@pytest_twisted.ensureDeferred
async def test_a_closed_port_is_said(make):
    here, there = make(HERE), make(THERE)
    await there.listen()
    await there.port.stopListening()
    said = await shown(here)
    assert said["last_error"] == "connection refused"
    assert said["meaning"].startswith("Nothing takes connections at 127.0.0.1:")


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_not_found_is_said(make):
    assert (await shown(make(HERE)))["last_error"] == "no such server"
