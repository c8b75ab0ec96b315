"""Servers that take a stream of ours and speak on it too (XEP-0288): nothing more than on their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.server_streams import Visit
from tests.server.server_words import LIBRARY, PING, SERVER, dialback, external, message
from tests.server.strangers import Town
from tests.server.test_hostile_s2s_streams import LATE, MISTAKES, NOT_ANSWERED
from tests.server.test_hostile_xml import FAULTS

OFFER = "<bidi xmlns='urn:xmpp:features:bidi'/>"
NOT_ON_OURS = {  # what only who has connected may send
    "a second authentication",
    "a mechanism of clients",
}


@pytest.fixture
def visit(town: Town) -> Iterator[Visit]:
    """Our stream, on which the stranger may speak."""
    stranger = town.stranger()
    with town.unharmed(), stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
        visit.serve(None, OFFER)
        visit.expect(b"</message>")
        visit._elements.clear()
        yield visit


@pytest.mark.parametrize("row", [row for row in LATE if row not in NOT_ON_OURS])
def test_who_was_asked_to_speak_speaks_for_nobody_else(visit: Visit, row: str) -> None:
    data, condition = LATE[row]
    visit.send(data.replace(b"{0}", visit.name.encode()))
    visit.failed("improper-addressing" if condition == "host-unknown" else condition)


@pytest.mark.parametrize("fault", ["a comment in a stanza", "a bad byte", "a mismatched tag", "101 levels"])
def test_bad_xml_ends_the_stream(visit: Visit, fault: str) -> None:
    data, condition = FAULTS[fault]
    visit.send(message(f"pat@{visit.name}") + data)
    visit.failed(condition)


def answered(visit: Visit) -> tuple[str, str]:
    """Id and type of the next iq, or the condition of an error."""
    while (stanza := visit.element()).tag not in (f"{SERVER}iq", f"{SERVER}message", f"{SERVER}presence"):
        pass
    assert f"pat@{visit.name}" == stanza.get("to"), stanza.attrib
    error = stanza.find(f"{SERVER}error")
    kind = stanza.get("type", "") if error is None else error[0].tag.partition("}")[2]
    return stanza.get("id", ""), kind


@pytest.mark.parametrize("row", MISTAKES)
def test_one_users_mistake_is_answered_and_the_stream_lives(visit: Visit, row: str) -> None:
    data, condition = MISTAKES[row]
    visit.send(data.replace("{0}", visit.name))
    assert condition == answered(visit)[1]
    visit.send(PING.format(f"pat@{visit.name}", LIBRARY))
    assert ("ping", "result") == answered(visit)


@pytest.mark.parametrize("row", NOT_ANSWERED)
def test_an_answer_gets_no_answer(visit: Visit, row: str) -> None:
    visit.send(NOT_ANSWERED[row].replace("{0}", visit.name))
    visit.send(PING.format(f"pat@{visit.name}", LIBRARY))
    assert ("ping", "result") == answered(visit)


def test_a_key_for_another_pair_is_not_taken_here(visit: Visit) -> None:
    """Who wants to prove more opens a stream to us."""
    visit.send(dialback("result", "n1.town.example", LIBRARY, "key"))
    assert b"<not-acceptable " in visit.expect(b"</db:result>")
    visit.send(message("pat@n1.town.example"))
    visit.failed("invalid-from")


def test_who_serves_does_not_authenticate(visit: Visit) -> None:
    visit.send(external(visit.name))
    visit.failed("unsupported-stanza-type")


def test_a_stranger_with_whom_bidi_was_not_agreed_is_not_heard(town: Town) -> None:
    """Offered by it after the certificate was accepted, when it is too late."""
    stranger = town.stranger()
    with town.unharmed(), stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
        visit.serve()
        visit.expect(b"</message>")
        visit.send(message(f"pat@{stranger.domain}"))
        visit.failed("not-authorized")
