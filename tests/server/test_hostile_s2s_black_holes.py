"""Ten thousand stanzas for servers that never answer: each comes back, little is kept, others are served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from refserver.core import outbox
from refserver.s2s import outbound_queue

ROOT = Path(__file__).resolve().parents[2]
COUNT = 10_000
SECONDS = 240  # a loaded machine takes some fifty

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the process tells, which writes COUNT messages to each of them."""
    folder = tmp_path_factory.mktemp("holes")
    command = [sys.executable, "-m", "tests.server.black_hole_process", str(folder), str(COUNT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (0, "") == (done.returncode, done.stderr[-3000:])
    return json.loads(done.stdout)


@pytest.mark.parametrize("hole", ["silent.example", "nameless.example"])
def test_what_cannot_wait_comes_back_at_once_and_the_rest_in_the_end(figures: Any, hole: str) -> None:
    waiting = outbound_queue.MOST_WAITING
    wanted = {"resource-constraint": COUNT - waiting, "remote-server-timeout": waiting}
    assert wanted == figures["returned"][hole]


def test_what_a_deaf_server_did_not_confirm_comes_back(figures: Any) -> None:
    """All but what it read before it stopped; and some of that too, since it did not say so."""
    returned = figures["returned"]["deaf.example"]
    assert {"resource-constraint", "remote-server-timeout"} == set(returned)
    assert 0 < figures["arrived"] < COUNT
    assert COUNT + 1 - figures["arrived"] <= sum(returned.values()) <= COUNT + 1
    assert returned["remote-server-timeout"] <= outbox.MOST_STANZAS + outbound_queue.MOST_WAITING


def test_others_are_served_meanwhile(figures: Any) -> None:
    assert figures["latency"] < 1.0


def test_little_is_kept_and_all_of_it_given_back(figures: Any) -> None:
    assert 0 < figures["budget used"] <= outbox.MOST_BYTES_TOGETHER
    assert (0, 0) == (figures["budget lost"], figures["attempts"])
    assert figures["memory"] < 32_000_000
