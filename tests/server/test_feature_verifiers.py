"""Verifiers at hand: found once, forgotten when they change."""

from __future__ import annotations

import pytest

from refserver.core.hooks import AccountRemoved, CredentialsChanged, HostRemoved
from refserver.features import verifiers as verifier_cache
from refserver.features.verifiers import Verifiers
from refserver.jid import JID
from refserver.sasl import Verifier
from refserver.storage import accounts
from tests.server.harness import Harness

MIA = JID.parse("mia@library.example")


def verifiers(key: bytes) -> dict[str, Verifier]:
    return {"SHA-1": Verifier("SHA-1", b"salt", 4096, key, b"server")}


@pytest.fixture
def server() -> Harness:
    server = Harness([Verifiers])
    server.database.write_now(accounts.add, MIA, verifiers(b"old"), 0.0)
    return server


def test_verifiers_are_at_hand_after_they_were_found_once(server: Harness) -> None:
    feature = server.core.feature(Verifiers)
    assert feature.known(MIA) is None
    assert server.run(feature.find(MIA)) == verifiers(b"old")
    assert feature.known(MIA) == verifiers(b"old")


def test_a_new_password_holds_at_once(server: Harness) -> None:
    feature = server.core.feature(Verifiers)
    server.run(feature.find(MIA))
    server.database.write_now(accounts.set_verifiers, MIA, verifiers(b"new"))
    server.core.hooks.tell(CredentialsChanged(MIA))
    assert feature.known(MIA) is None
    assert server.run(feature.find(MIA)) == verifiers(b"new")


def test_what_was_read_before_a_change_is_not_kept(server: Harness) -> None:
    feature = server.core.feature(Verifiers)
    with server.holding():
        found = feature.find(MIA)
        server.core.hooks.tell(CredentialsChanged(MIA))
    assert server.run(found) == verifiers(b"old")
    assert feature.known(MIA) is None


@pytest.mark.parametrize("what", ["account", "library"])
def test_who_is_removed_is_forgotten(server: Harness, what: str) -> None:
    feature = server.core.feature(Verifiers)
    server.run(feature.find(MIA))
    host = server.core.hosts.get("library.example")
    assert host is not None
    server.core.hooks.tell(AccountRemoved(MIA) if what == "account" else HostRemoved(host))
    assert feature.known(MIA) is None


def test_names_that_are_no_accounts_take_no_memory(server: Harness) -> None:
    feature = server.core.feature(Verifiers)
    nobody = JID.parse("nobody@library.example")
    assert server.run(feature.find(nobody)) is None
    assert feature.known(nobody) is None


def test_only_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier_cache, "MOST_KEPT", 1)
    server = Harness([Verifiers])
    server.database.write_now(accounts.add, MIA, verifiers(b"old"), 0.0)
    feature = server.core.feature(Verifiers)
    ann = JID.parse("ann@library.example")
    server.database.write_now(accounts.add, ann, verifiers(b"a"), 0.0)
    server.run(feature.find(MIA))
    server.run(feature.find(ann))
    assert (feature.known(MIA), feature.known(ann)) == (None, verifiers(b"a"))
