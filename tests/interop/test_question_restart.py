"""Everything once more after the server was stopped and started: nothing that was there is gone."""

from __future__ import annotations

import json

from tests.interop.conftest import UNLIMITED, complaints
from tests.interop.peers import Library
from tests.interop.peers.people import CLIENT, body

WORDS = "Who wrote the town chronicle?"


def test_questions_go_on_after_a_restart(start_refserver, authority):
    """Waiting, claimed and closed ones; duty, offers, contacts and reports; by refserverctl in the end."""
    authority.certify("library.example")
    server = start_refserver(settings=UNLIMITED)
    library = Library(server, "library.example")
    library.set_up(librarians=("mia", "ben"), patrons=("pat", "sue", "tom"))
    with library:
        mia = library.librarian("mia")
        pat, sue, tom = library.patron("pat"), library.patron("sue"), library.patron("tom")
        pat.subscribe()
        pat.wait_for_presence(library.queue)
        pat.ask(WORDS)
        mia.take(mia.announced(WORDS))
        sue.ask("Is there a scanner?")
        mia.announced("Is there a scanner?")
        tom.ask("What time is it?")
        mia.take(mia.announced("What time is it?"))
        mia.write(3, "!close 1 directional")
        mia.hears(3, "#3 is closed.")
        mia.write(1, "Let me see")
        pat.hears("Let me see")
        before = library.questions("all")
        server.stop()  # with everybody at work
    server.start()
    assert [without_age(one) for one in before] == [without_age(one) for one in library.questions("all")]
    assert ["claimed", "offered", "closed"] == [one["state"] for one in before]

    with library:
        pat, sue, tom = library.patron("pat"), library.patron("sue"), library.patron("tom")
        ben = library.librarian("ben")
        mia = library.librarian("mia")
        assert (
            f"{library.queue}"
            == pat.wait_for(lambda e: e.findtext(f"{CLIENT}status") == "2 librarians, no wait")
            .get("from", "")
            .partition("/")[0]
        )

        mia.wait_for_presence(mia.chat(1))
        pat.type_to(library.queue)
        mia.wait_for_state("composing", mia.chat(1))
        asked = pat.ask("It is from 1900.", receipt=True)
        pat.wait_for_receipt(asked)
        mia.hears(1, "It is from 1900.")
        said = mia.write(1, "Then it was Anna Weber.", receipt=True)
        assert body(pat.hears("Anna Weber")) == "Then it was Anna Weber."
        pat.confirm_to(library.queue, said)
        mia.wait_for_receipt(said)

        heard = ben.take_words()
        assert not any(WORDS in words for words in heard)
        ben.take(2)
        heard += ben.take_words(ben.chat(2))
        assert heard.count("Is there a scanner?") == 1
        ben.write(2, "!to mia")
        mia.hears(2, "ben asks you to take over #2")
        mia.write(2, "Yes, beside the lift.")
        sue.hears("Yes, beside the lift.")
        mia.write(3, "!reopen")
        mia.hears(3, "#3 is open again and yours.")
        tom.hears("mia is with you now.")
        for number, level in ((1, 4), (2, 1), (3, 2)):
            mia.write(number, f"!close {level}")
            mia.hears(number, f"#{number} is closed.")

    server.restart()
    assert "closed" == json.loads(server.ctl("--json", "question", "show", "2"))["state"]
    (report,) = json.loads(server.ctl("report", "ask@library.example", "--format", "json"))
    assert (3, 0) == (report["questions"], report["open"])
    assert {"1": 1, "2": 1, "4": 1} == report["by_read_level"]
    assert {"answered": 3} == report["by_outcome"]
    text = server.ctl("report", "ask@library.example")
    assert "READ level        1 1, 2 1, 4 1" in text
    assert "(benchmarks: 16 s instant messaging, 38 s vendor software)" in text
    assert [] == complaints(server.log)


def without_age(question: dict[str, object]) -> dict[str, object]:
    """What does not change by itself."""
    return {name: value for name, value in question.items() if name != "age"}
