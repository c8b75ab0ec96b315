"""Sentences: translated completely, with the fields of the original."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from importlib import resources
from io import BytesIO
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po

from refserver.jid import JID
from refserver.reference import states, texts
from refserver.reference.commands import COMMANDS, Word
from refserver.reference.texts import (
    age,
    first_words,
    languages,
    patron_texts,
    staff_texts,
)

TRANSLATED = [language for language in languages() if language != "en"]


def keys_in_the_code() -> set[str]:
    """What the texts' modules ask the catalogue for, as a catalogue's keys."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(Path(texts.__file__).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            strings = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
            match node.func.attr:
                case "_":
                    found.add(strings[0])
                case "_n":
                    found.add(f"{strings[0]}\x00{strings[1]}")
                case "_p":
                    found.add(f"{strings[0]}\x04{strings[1]}")
    return found


def entries(language: str) -> dict[str, str]:
    """The translations of a `.po` file, by the keys of a catalogue."""
    file = BytesIO((resources.files("refserver.reference") / "locale" / f"{language}.po").read_bytes())
    found = {}
    for message in read_po(file, locale=language, abort_invalid=True):
        ids, strings = ([one] if isinstance(one, str) else one for one in (message.id, message.string or ""))
        context = f"{message.context}\x04" if message.context else ""
        found[context + "\x00".join(ids)] = "\x00".join(strings)
    return found


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_is_translated_and_nothing_else_is(language: str) -> None:
    assert set(entries(language)) - {""} == keys_in_the_code()


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_have_the_fields_of_the_original(language: str) -> None:
    for key, translation in entries(language).items():
        for form in translation.split("\x00"):
            assert fields(form) == fields(key.rpartition("\x04")[2].rpartition("\x00")[2]), key


def test_german_and_its_plurals() -> None:
    german = patron_texts("de-AT")
    assert german.place(2, 30) == "Sie sind Nummer 2 in der Reihe, etwa 1 Minute."
    assert german.place(2, 90) == "Sie sind Nummer 2 in der Reihe, etwa 2 Minuten."
    assert german.words()[Word.HELP] == {"help", "hilfe"}


@pytest.mark.parametrize("language", ["", "en", "en-GB", "tlh", "../de", "DE_at"])
def test_any_language_tag_gives_texts(language: str) -> None:
    assert patron_texts(language).closed()


def test_acknowledgement_says_what_happens_next() -> None:
    english = patron_texts("en")
    assert "in a moment" in english.acknowledged(1, 0.0)
    assert "number 3 in line, about 4 minutes" in english.acknowledged(3, 240.0)
    assert "Nobody is at the desk" in english.acknowledged(1, None)
    monday = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    assert "opens Mon 9:00" in english.acknowledged_closed(monday)
    assert english.acknowledged(1, 0.0, "https://x.example").endswith("What we keep: https://x.example")


def test_the_announcement_is_one_line_with_everything_a_librarian_needs() -> None:
    line = staff_texts("en").announced(417, "ask", "en", "web", 12.7, "How do\nI renew?", "mia")
    assert line == 'mia: #417 ask · en · web · 0:12 "How do I renew?" !417 to take'


def test_help_knows_every_command() -> None:
    english = staff_texts("en")
    for word in COMMANDS:
        assert english.help(word).startswith(f"!{word}")
        assert english.help(word) in english.help()
    assert english.help("418") == english.help("417")
    assert english.help("nonsense") == english.help()


def test_every_refusal_has_a_sentence_of_its_own() -> None:
    jid = JID.parse("noa@library.example")
    made = [
        states.AlreadyClaimed(417, jid, "noa"),
        states.NotYours(417, "noa"),
        states.NotYours(417, ""),
        states.NoSuchQuestion(417),
        states.WrongState("waiting", "answer"),
        states.WrongState("claimed", "reopen"),
        states.WrongState("closed", "answer"),
        states.WrongState("abandoned", "answer"),
        states.NotALibrarian(jid),
        states.NoSuchLibrarian("lou"),
        states.NotOffered(417),
        states.NoSuchCannedReply("hours"),
        states.NotBlockable(417),
        states.NotBlocked(417),
        states.PatronBusy(417),
        states.PatronGone(417),
        states.TooManyQuestions(20),
    ]
    english = staff_texts("en")
    assert len({english.refused(one) for one in made}) == len(made)


@pytest.mark.parametrize(
    "seconds, text", [(0, "0:00"), (12.9, "0:12"), (725, "12:05"), (11040, "3:04:00"), (-5, "0:00")]
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_first_words_are_one_line_cut_at_a_word() -> None:
    assert first_words("short\n text") == "short text"
    assert first_words("one two three", 8) == "one two…"
    assert len(first_words("x" * 200)) == 61
