"""What librarians' lines and patrons' words mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refserver.reference import commands
from refserver.reference.commands import (
    Canned,
    Close,
    Command,
    Decline,
    Desk,
    Fault,
    Faulty,
    HandOver,
    Help,
    Note,
    Park,
    Release,
    Reopen,
    Say,
    Spam,
    Take,
    Unknown,
    Unspam,
    Who,
    Word,
    parse,
    plain_word,
)
from refserver.reference.states import Outcome


@pytest.mark.parametrize(
    "line, meaning",
    [
        ("hello", Say("hello")),
        ("  hello ", Say("  hello ")),
        ("3! = 6", Say("3! = 6")),
        ("", Say("")),
        ("!!important", Say("!important")),
        ("!!", Say("!")),
        ("!!!", Say("!!")),
        ("!417", Take(417)),
        ("  !417 ", Take(417)),
        ("！417", Take(417)),
        ("!note call back\nat four", Note("call back\nat four")),
        ("!NOTE x", Note("x")),
        ("!c", Canned()),
        ("!c hours", Canned("hours")),
        ("!who", Who()),
        ("!to mia she knows maps", HandOver("mia", "she knows maps")),
        ("!to mia", HandOver("mia")),
        ("!to", Release()),
        ("!to queue lunch", Release("lunch")),
        ("!release lunch", Release("lunch")),
        ("!decline busy", Decline("busy")),
        ("!close 3", Close(3)),
        ("!close 3 answered", Close(3, Outcome.ANSWERED)),
        ("!close 3 answered Loans #fees, loans", Close(3, Outcome.ANSWERED, ("loans", "fees"))),
        ("!close referred 2", Close(2, Outcome.REFERRED)),
        ("!close 4 followup maps", Close(4, Outcome.FOLLOW_UP, ("maps",))),
        ("!close spam", Close(None, Outcome.SPAM)),
        ("!close 2 1984", Close(2, Outcome.ANSWERED, ("1984",))),
        ("!park", Park()),
        ("!reopen", Reopen()),
        ("!spam", Spam()),
        ("!spam 417", Spam(417)),
        ("!unspam #417", Unspam(417)),
        ("!unspam", Unspam()),
        ("!spam casino", Faulty("spam", Fault.NUMBER)),
        ("!unspam 9999999999", Faulty("unspam", Fault.NUMBER)),
        ("!help", Help()),
        ("!help !close", Help("close")),
        ("!desk anyone for tea?", Desk("anyone for tea?")),
        ("!note", Faulty("note", Fault.TEXT)),
        ("!desk  ", Faulty("desk", Fault.TEXT)),
        ("!close", Faulty("close", Fault.LEVEL)),
        ("!close answered", Faulty("close", Fault.LEVEL)),
        ("!close 7", Faulty("close", Fault.LEVEL_RANGE)),
        ("!close 0", Faulty("close", Fault.LEVEL_RANGE)),
        ("!close 33", Faulty("close", Fault.LEVEL_RANGE)),
        ("!clsoe 3", Unknown("clsoe", "close")),
        ("!notes x", Unknown("notes", "note")),
        ("!xyzzy", Unknown("xyzzy")),
        ("! close", Unknown("close")),
        ("!", Unknown("")),
        ("!?", Unknown("?")),
        ("!99999999999", Unknown("99999999999")),
    ],
)
def test_lines(line: str, meaning: Command) -> None:
    assert parse(line) == meaning


@given(st.text())
def test_nothing_behind_one_exclamation_mark_is_ever_said(text: str) -> None:
    meaning = parse("!" + text)
    if isinstance(meaning, Say):
        assert text.startswith(("!", "！"))
        assert meaning.text == text


@given(st.text())
def test_text_without_exclamation_mark_is_said_unchanged(text: str) -> None:
    if not text.lstrip().startswith(("!", "！")):
        assert parse(text) == Say(text)


def test_every_command_word_is_parsed_to_something_known() -> None:
    for word in commands.COMMANDS:
        assert not isinstance(parse(f"!{word} 3"), Unknown)


WORDS = {Word.HELP: frozenset({"help", "hilfe"}), Word.BYE: frozenset({"bye", "auf wiedersehen"})}


@pytest.mark.parametrize(
    "text, word",
    [
        ("help", Word.HELP),
        (" HELP! ", Word.HELP),
        ("Hilfe.", Word.HELP),
        ("Auf  Wiedersehen", Word.BYE),
        ("bye", Word.BYE),
        ("help me find a book", None),
        ("position", None),
        ("", None),
        ("!", None),
    ],
)
def test_plain_words_are_whole_messages(text: str, word: Word | None) -> None:
    assert plain_word(text, WORDS) is word
