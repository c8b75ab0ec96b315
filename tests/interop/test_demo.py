"""`make run`: what the demonstration prints, two people type into profanity to the letter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import require
from tests.interop.peers.ports import free_port
from tests.interop.peers.process import PeerProcess
from tests.interop.peers.terminal import Terminal
from tests.interop.peers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.peers, pytest.mark.slow]


class Demo:
    """A demonstration that runs in a folder of its own, and what it printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._environment = {
            "REFSERVER_PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self.process = self._start()

    def _start(self) -> PeerProcess:
        process = PeerProcess(
            [sys.executable, "-m", "refserver.app.demo"],
            self.folder / "output",
            self._environment,
            cwd=self.folder,
        )
        process.wait_for_port("127.0.0.1", self.port, 30)
        return process

    def restart(self) -> None:
        """End it as Ctrl-C does, and start it again."""
        os.kill(self.process.pid, signal.SIGINT)
        wait_until(lambda: self.process.returncode is not None, "the end", 15, lambda: self.process.output)
        (self.folder / "output").unlink()
        self.process = self._start()

    @property
    def guide(self) -> str:
        """What it printed before the server's log."""
        return self.process.output.partition("as you left it.")[0]

    def password(self, jid: str) -> str:
        """What it says the password of an account is."""
        found = re.search(rf"{jid} +password (\w+)", self.guide)
        assert found is not None
        return found[1]

    def typed(self, step: int) -> list[str]:
        """The lines of a step that are to be typed: indented by five, and no explanations."""
        text = self.guide.split(f"\n{step}. ")[1].split(f"\n{step + 1}. ")[0]
        return [line.strip() for line in text.splitlines() if re.match(r" {5}\S", line)]


class Person:
    """Somebody in front of a terminal who does what the guide says."""

    def __init__(self, folder: Path, password: str) -> None:
        folder.mkdir()
        self._password = password
        home = {"HOME": folder, "XDG_CONFIG_HOME": folder / "config", "XDG_DATA_HOME": folder / "data"}
        environment = {**{name: str(path) for name, path in home.items()}, "LANG": "C.UTF-8"}
        self.screen = Terminal(["profanity"], {**environment, "TERM": "screen-256color"})
        self.screen.wait_for_text("Type '/help'")

    def follow(self, lines: list[str]) -> None:
        """Type lines, one when the one before has shown its effect."""
        for line in lines:
            self.screen.type(line)
            if line.startswith("/connect"):
                self.screen.wait_for_text("Enter password:")
                self.screen.type(self._password)
                self.screen.wait_for_text("logged in successfully")
            elif line.startswith("/join"):
                self._enter(line)
            elif line.startswith("/tls"):
                self.screen.wait_for_text("Certificate path set")
            elif line.startswith("/sub"):
                self.screen.wait_for_text('is online, "1 librarian, no wait"')

    def _enter(self, line: str) -> None:
        """Type it again if profanity does not heed it, because it is just entering that room by itself."""
        try:
            self.screen.wait_for_text("Ask a librarian", 5)
        except AssertionError:
            self.screen.type(line)
            self.screen.wait_for_text("Ask a librarian")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    require("profanity", "tmux", "openssl")
    running = Demo(tmp_path)
    yield running
    running.process.end()


@pytest.fixture
def sit_down(tmp_path: Path, demo: Demo) -> Iterator[Any]:
    """`sit_down("mia@localhost")`: a person with that account, at a terminal."""
    people: list[Person] = []

    def make(jid: str) -> Person:
        people.append(Person(tmp_path / f"home{len(people)}", demo.password(jid)))
        return people[-1]

    yield make
    for person in people:
        person.screen.close()


def report(demo: Demo) -> str:
    """What step 4 prints; its command is run as it stands there, in the folder of the demonstration."""
    (line,) = demo.typed(4)
    return subprocess.run(
        line.split(),
        cwd=demo.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_following_the_guide_leads_to_an_answered_question_in_the_report(demo: Demo, sit_down: Any) -> None:
    mia, pat = sit_down("mia@localhost"), sit_down("pat@localhost")
    librarians, patrons, at_the_desk = demo.typed(1), demo.typed(2), demo.typed(3)
    assert [lines[0] for lines in (librarians, patrons)] == ["profanity", "profanity"]

    mia.follow(librarians[1:])
    pat.follow(patrons[1:])
    pat.screen.wait_for_text("your question is here")

    mia.screen.wait_for_text("Do you have a book about bees?")
    claim, console, answer, close = at_the_desk
    mia.follow([claim])
    mia.screen.wait_for_text("#1 is with mia")
    mia.follow([console, answer])
    pat.screen.wait_for_text("Yes, on shelf 638.")

    pat.screen.press("T", "h", "e")
    mia.screen.wait_for_text("typing...")
    pat.follow([" one by Seeley."])
    mia.screen.wait_for_text("The one by Seeley.")
    mia.screen.press("H", "e", "r", "e")
    pat.screen.wait_for_text("typing...")
    mia.follow([" it is."])
    pat.screen.wait_for_text("Here it is.")
    mia.follow([close])
    pat.screen.wait_for_text("Thank you for asking")

    counted = report(demo)
    assert "questions         1 (1 while staffed, 0 still open)" in counted
    assert "outcome           answered 1" in counted
    assert "READ level        3 1" in counted


def test_a_second_start_finds_everything_as_it_was_left(demo: Demo, sit_down: Any) -> None:
    before = demo.guide
    pat = sit_down("pat@localhost")
    pat.follow([line for line in demo.typed(2)[1:] if not line.startswith(("/sub", "/status"))])
    pat.screen.wait_for_text("your question is here")  # the question is acknowledged: it is in the store
    demo.restart()
    assert demo.guide.replace("!2", "!1").replace("ask+2@", "ask+1@") == before
    assert "questions         1 " in report(demo)
