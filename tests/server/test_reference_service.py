"""Queues as a part of the server: libraries that come and go, forgetting, librarians elsewhere, faults."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import fail

from refserver import ns
from refserver.core.hooks import HostRemoved, HostStopping
from refserver.jid import JID
from refserver.reference import answering, asking
from refserver.reference.feature import Reference
from refserver.reference.offices import appoint
from refserver.storage import DatabaseClosed
from refserver.storage.queues import Librarian
from tests.server.library import ASK, DOMAIN, ROOM, Library, bodies, chat, write

RECEIPT = f"<request xmlns='{ns.RECEIPTS}'/>"


def closed(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, chat(), "Upstairs.")
    write(mia, chat(), "!close 2")


# -- life ----------------------------------------------------------------------------


def test_a_library_that_goes_takes_its_queues_along(library: Library) -> None:
    host = library.core.hosts.get(DOMAIN)
    assert host is not None
    library.core.hosts.remove(DOMAIN)
    library.core.hooks.tell(HostRemoved(host))
    assert library.core.feature(Reference).queue(ASK) is None
    library.run(library.core.feature(Reference).refresh(DOMAIN))
    assert library.core.feature(Reference).queue(ASK) is None


def test_after_a_stop_nothing_is_offered_pushed_or_forgotten(library: Library) -> None:
    mia = library.on_duty("mia")
    library.core.feature(Reference).stop()
    write(library.patron(), ASK.text, "Where are the maps?")
    library.clock.advance(100_000)
    assert library.question().state == "waiting"
    assert mia.received() == []


def test_a_stop_makes_the_queue_unavailable_and_ends_no_subscription(library: Library) -> None:
    library.arrive(f"<presence from='pat@a.example' to='{ASK}' type='subscribe'/>")
    library.elsewhere.told()
    host = library.core.hosts.get(DOMAIN)
    assert host is not None
    library.core.hooks.tell(HostStopping(host))
    assert [stanza.type for stanza in library.elsewhere.received()] == ["unavailable"]
    library.arrive(f"<presence from='pat@a.example/phone' to='{ASK}' type='probe'/>")
    assert [stanza.type for stanza in library.elsewhere.received()] == ["unavailable"]


def test_what_policy_does_not_keep_is_forgotten_while_the_server_runs(library: Library) -> None:
    closed(library)
    library.clock.pump([600.0] * 143)
    assert library.question().patron is not None
    library.clock.pump([600.0] * 2)
    assert library.question().patron is None
    assert library.said() == []


# -- librarians of other servers --------------------------------------------------------


def test_a_librarian_of_another_server_works_like_the_others(library: Library) -> None:
    lou = "lou@elsewhere.example"
    librarian = Librarian(JID.parse(lou), "lou", 3)
    library.database.write_now(appoint, library.queue.profile.id, librarian)
    library.run(library.core.feature(Reference).refresh(DOMAIN))
    library.arrive(
        f"<presence from='{lou}/x' to='{ROOM}/lou'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    )
    library.elsewhere.received()
    pat = library.patron()
    write(pat, ASK.text, "Where are the maps?")
    pat.received()
    told = library.elsewhere.told()
    assert any(f"message from {chat()}/queue: * New question #1" in line for line in told)
    library.arrive(f"<message from='{lou}/x' to='{chat()}' type='chat'><body>Upstairs.</body></message>")
    assert bodies(pat) == ["lou is with you now.", "Upstairs."]
    assert f"available from {chat()}/queue to {lou}" in told
    library.elsewhere.received()
    library.arrive(f"<presence from='{lou}/x' to='{chat()}' type='probe'/>")
    assert library.elsewhere.told() == [f"available from {chat()}/queue to {lou}/x"]
    library.arrive(f"<message from='{lou}/x' to='{chat()}' type='chat'><body>!close 2</body></message>")
    assert f"unavailable from {chat()}/queue to {lou}" in library.elsewhere.told()


# -- the chat as a contact ----------------------------------------------------------------


def test_the_chat_of_a_question_is_a_contact_for_its_owner_only(library: Library) -> None:
    mia, noa, pat = library.on_duty("mia"), library.on_duty("noa"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, chat(), "Upstairs.")
    mia.received(), noa.received()
    mia.send(f"<presence to='{chat()}' type='subscribe'/>")
    assert f"available from {chat()}/queue" in mia.told()
    noa.send(f"<presence to='{chat()}' type='subscribe'/>")
    told = noa.told()
    assert f"available from {chat()}/queue" not in told
    assert f"subscribed from {chat()}" not in told
    found = mia.ask("get", f"<query xmlns='{ns.DISCO_INFO}'/>", chat()).wire()
    assert ns.CHATSTATES.encode() in found
    assert mia.ask("get", f"<vCard xmlns='{ns.VCARD}'/>", chat()).type == "error"


# -- at the same moment --------------------------------------------------------------------


def test_a_bye_and_a_claim_at_once_leave_it_claimed_if_the_claim_was_first(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    pat.received()
    with library.holding():
        write(mia, chat(), "Upstairs.")
        write(pat, ASK.text, "bye")
    assert library.question().state == "claimed"
    assert "Goodbye, and thank you for asking." in bodies(pat)


def test_a_message_to_an_owner_who_goes_in_the_same_moment_waits_for_her(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "Where are the maps?")
    write(mia, chat(), "Upstairs.")
    library.clock.advance(0)
    with library.holding():
        write(pat, ASK.text, "Which shelf?", "m2", RECEIPT)
        mia.end()
    mia = library.client(f"mia@{DOMAIN}/desk")
    mia.send("<presence/>")
    assert bodies(mia, chat()) == ["Which shelf?"]


# -- faults ----------------------------------------------------------------------------------


@pytest.fixture
def broken(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library whose store refuses what patrons and librarians say."""
    write_ = library.database.write

    def write(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if function in (asking.say, answering.by_number):
            return fail(DatabaseClosed("no more"))
        return write_(function, *args, **kwargs)

    monkeypatch.setattr(library.database, "write", write)
    return library


def test_what_could_not_be_stored_gets_no_receipt_but_a_line(broken: Library) -> None:
    pat, mia = broken.patron(), broken.on_duty("mia")
    write(pat, ASK.text, "Where are the maps?", "m1", RECEIPT)
    write(mia, chat(), "Upstairs.")
    assert bodies(pat) == ["Something went wrong here, your message was not kept. Please send it again."]
    assert bodies(mia) == ["* Something went wrong here; nothing was sent. Please try again."]


def test_an_unexpected_fault_costs_one_stanza(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    pat = library.patron()
    monkeypatch.setattr(library.queue.patron_chat, "message", None)
    write(pat, ASK.text, "Where are the maps?")
    assert pat.told() == [f"error internal-server-error from {ASK}"]
    monkeypatch.undo()
    write(pat, ASK.text, "Where are the maps?")
    assert bodies(pat) != []
