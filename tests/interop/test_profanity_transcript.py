"""Two profanity sessions that follow what `make run` prints: docs/transcript.md is what was on their screens.

To record it anew: REFSERVER_TRANSCRIPT=docs/transcript.md pytest tests/interop/test_profanity_transcript.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import define, field

from tests.interop.conftest import require
from tests.interop.peers.terminal import Terminal
from tests.interop.test_demo import Demo, Person, report

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs" / "transcript.md"
MIA, PAT = "mia@localhost", "pat@localhost"
TYPING = 2  # the last lines of a screen: the status bar and what is being typed
WORDS = "Do you have a book about bees?"

HEAD = """\
# A question, from asking to the report

What two people see who follow what `make run` prints: a librarian and a patron, each with
[profanity](https://profanity-im.github.io/) in a terminal. Recorded from a real run by
`tests/interop/test_profanity_transcript.py`, which also makes sure that it still looks like this.
Lines after `>` were typed; empty lines, status bars and lists of occupants are left out.
"""

pytestmark = [pytest.mark.peers, pytest.mark.slow]


@define
class Transcript:
    """What happened, step by step, as Markdown."""

    text: str = HEAD
    _shown: dict[int, set[str]] = field(factory=dict)

    def heading(self, title: str) -> None:
        """Begin a step."""
        self.text += f"\n## {title}\n"

    def screen(self, who: str, screen: Terminal, typed: tuple[str, ...] = (), title: bool = False) -> None:
        """What somebody typed, and what is new on her screen; with `title` its first line, too."""
        first, *lines = screen.screen().splitlines()
        shown = self._shown.setdefault(id(screen), set())
        new = [line for line in map(cleaned, lines[:-TYPING]) if line and line not in shown]
        shown.update(new)
        self.block(who, [*(f"> {line}" for line in typed), *([cleaned(first)] if title else []), *new])

    def skip(self, screen: Terminal) -> None:
        """What stands on a screen now is nothing new."""
        shown = self._shown.setdefault(id(screen), set())
        shown.update(map(cleaned, screen.screen().splitlines()))

    def block(self, who: str, lines: list[str]) -> None:
        """Lines as they stand."""
        self.text += f"\n{who}:\n\n```\n" + "\n".join(lines) + "\n```\n"


def cleaned(line: str) -> str:
    """A line of a screen without the list that may stand on its right; "" for a ruler."""
    text = re.sub(r" {6,}\S.*$", "", line) if re.match(r"\d\d:| {100}| \S.*\[online\]", line) else line
    return "" if text.startswith("-----") else text.rstrip()


def lines_of(transcript: str) -> set[str]:
    """The recorded lines without what differs from run to run: times, numbers, names of guests, places."""
    recorded = "".join(transcript.split("```\n")[1::2])
    for pattern, instead in (
        (r"Guest [a-z]{4}-[a-z]{4}", "Guest"),
        (r"password \S+", "password"),
        (r"\S*/(?=var/|\.venv|refserverctl)", ""),
        (r"profanity\.\w+", "profanity"),
        (r"\d+(\.\d+)?", "0"),
        (r" +", " "),
    ):
        recorded = re.sub(pattern, instead, recorded)
    return {line.strip() for line in recorded.splitlines()}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demonstration as `make run` starts it, in an empty folder."""
    require("profanity", "tmux", "openssl")
    running = Demo(tmp_path)
    yield running
    running.process.end()


def test_the_transcript_shows_what_two_people_see(demo: Demo, tmp_path: Path) -> None:
    """Asked, announced, claimed, answered, typing seen, closed, reported."""
    transcript = Transcript()
    transcript.heading("`make run`")
    transcript.block("It prints", f"{demo.guide}as you left it.".splitlines())
    mia, pat = (Person(tmp_path / jid.partition("@")[0], demo.password(jid)) for jid in (MIA, PAT))
    with closing(mia.screen), closing(pat.screen):
        transcript.skip(mia.screen)
        transcript.skip(pat.screen)
        ask_and_answer(demo, transcript, mia, pat)
    transcript.heading("What was counted")
    counted = report(demo)
    transcript.block("The operator", [f"> {demo.typed(4)[0]}", *counted.splitlines()])
    assert "questions         1 (1 while staffed, 0 still open)" in counted

    text = without_secrets(transcript.text, demo, tmp_path)
    if target := os.environ.get("REFSERVER_TRANSCRIPT"):
        Path(target).write_text(text)
    missing = lines_of(KEPT.read_text()) - lines_of(text)
    assert not missing, f"record docs/transcript.md anew (see above), this is not seen any more: {missing}"


def ask_and_answer(demo: Demo, transcript: Transcript, mia: Person, pat: Person) -> None:
    """The three steps of the guide that are done in profanity."""
    librarians, patrons, at_the_desk = demo.typed(1)[1:], demo.typed(2)[1:], demo.typed(3)
    claim, console, answer, close = at_the_desk
    transcript.heading("The librarian comes to the desk, the patron asks")
    mia.follow(librarians[:-1])
    mia.screen.wait_for_text("Autojoined")
    transcript.screen("The librarian", mia.screen, tuple(librarians[:-1]))
    mia.follow(librarians[-1:])
    transcript.screen("The librarian", mia.screen, tuple(librarians[-1:]))
    pat.follow(patrons[:-1])
    pat.screen.wait_for_text('Library is online, "1 librarian, no wait"')
    transcript.screen("The patron", pat.screen, tuple(patrons[:-1]))
    pat.follow(patrons[-1:])
    pat.screen.wait_for_text("your question is here")
    transcript.screen("The patron", pat.screen, tuple(patrons[-1:]))

    transcript.heading("The question is announced, and claimed")
    mia.screen.wait_for_text(WORDS)
    transcript.screen("The librarian", mia.screen)
    mia.follow([claim])
    mia.screen.wait_for_text("#1 is with mia")
    transcript.screen("The librarian", mia.screen, (claim,))

    transcript.heading("It is answered; each sees the other typing")
    mia.follow([console, answer])
    pat.screen.wait_for_text("Yes, on shelf 638.")
    transcript.screen("The librarian", mia.screen, (console, answer))
    transcript.screen("The patron", pat.screen)
    pat.screen.press("-l", "--", "The one by")
    mia.screen.wait_for_text("(typing...)")
    transcript.screen("The librarian, while the patron types", mia.screen, title=True)
    pat.follow([" Seeley."])
    mia.screen.wait_for_text("The one by Seeley.")
    mia.screen.press("-l", "--", "Second row")
    pat.screen.wait_for_text("(typing...)")
    transcript.screen("The patron, while the librarian types", pat.screen, title=True)
    mia.follow([", in the middle."])
    pat.screen.wait_for_text("Second row, in the middle.")

    transcript.heading("It is closed")
    mia.follow([close])
    mia.screen.wait_for_text("#1 is closed.")
    pat.screen.wait_for_text("Thank you for asking")
    transcript.screen("The librarian", mia.screen, (close,))
    transcript.screen("The patron", pat.screen)


def without_secrets(text: str, demo: Demo, folder: Path) -> str:
    """A text without passwords, and without the folder it happened in."""
    for jid in (MIA, PAT):
        text = text.replace(demo.password(jid), "************")
    return text.replace(f"{folder.absolute()}/", "").replace(f"{ROOT}/", "")
