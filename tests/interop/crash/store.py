"""The store as a crash left it: read from a copy, so that the server itself has to recover it."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

_QUESTIONS = "SELECT number, state, owner, offered_to, handed_to FROM questions"
_MESSAGES = "SELECT direction, origin_id, count(*) FROM question_messages GROUP BY direction, origin_id"


@frozen
class Stored:
    """A question as it is in the store; people by name."""

    state: str
    owner: str = ""
    offered_to: str = ""
    handed_to: str = ""


@frozen
class Snapshot:
    """All questions by number, and how often each message is there, by direction and id."""

    questions: dict[int, Stored]
    messages: Counter[tuple[str, str]]

    @classmethod
    def of(cls, data: Path) -> Snapshot:
        """Read the data folder of a server that does not run."""
        with TemporaryDirectory() as folder:
            for file in data.glob("refserver.sqlite*"):
                shutil.copy(file, folder)
            with closing(sqlite3.connect(Path(folder) / "refserver.sqlite")) as connection:
                questions = {
                    number: Stored(state, *(_name(jid) for jid in people))
                    for number, state, *people in connection.execute(_QUESTIONS)
                }
                messages = Counter({(direction, id): n for direction, id, n in connection.execute(_MESSAGES)})
                assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        return cls(questions, messages)


def _name(jid: str | None) -> str:
    return (jid or "").partition("@")[0]
