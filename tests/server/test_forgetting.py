"""refserverctl patron forget while the server runs: what it holds in memory goes too."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred

from refserver.app.commands.patrons import ForgetPatron
from refserver.app.parts import RunningServer
from tests.server.library import ASK, Library, bodies, chat, write


def test_a_forgotten_patron_is_gone_from_the_desk_and_from_those_who_see_the_queue(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    pat.send(f"<presence to='{ASK}' type='subscribe'/>")
    write(pat, ASK.text, "a canary")
    assert pat.jid.bare in library.queue.presence.subscribers
    request = ForgetPatron(pat.jid.bare.text)
    done = library.database.write_now(request.run, library.core.now())
    applied = request.apply(RunningServer(library.core, cast(Any, None)), done)
    answered = Deferred.fromCoroutine(applied)
    library.clock.advance(0)
    assert answered.called
    assert (done.data["questions"], done.data["ended"], done.data["subscriptions"]) == (1, 1, 1)
    assert pat.jid.bare not in library.queue.presence.subscribers
    mia.received()
    write(mia, f"{ASK.localpart}@rooms.{ASK.domainpart}", "!who")
    assert not any("canary" in body for body in bodies(mia))
    write(pat, ASK.text, "another one")
    assert library.said(2) == [("patron", "another one")]


def test_a_forgotten_patrons_words_leave_the_roster_of_her_librarian(library: Library) -> None:
    mia, pat = library.on_duty("mia"), library.patron()
    write(pat, ASK.text, "a canary")
    write(mia, chat(), "Which one?")
    request = ForgetPatron(pat.jid.bare.text)
    done = library.database.write_now(request.run, library.core.now())
    Deferred.fromCoroutine(request.apply(RunningServer(library.core, cast(Any, None)), done))
    library.clock.advance(0)
    mia.received()
    mia.send("<iq type='get' id='r1'><query xmlns='jabber:iq:roster'/></iq>")
    (roster,) = [stanza for stanza in mia.received() if stanza.id == "r1"]
    assert b"canary" not in roster.wire()
    assert chat().encode() not in roster.wire()
    write(mia, chat(), "Hello?")
    assert "Hello?" not in bodies(pat)
