"""Nothing that answers by itself keeps a queue talking: errors, other queues, bots, floods of questions."""

from __future__ import annotations

import pytest

from refserver.core.hooks import HostAdded
from refserver.core.hosts import Host
from refserver.features.library_access import LibraryAccess
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.reference.feature import Reference
from refserver.reference.relay import REPEATED, RateLimits
from refserver.stanza import Stanza
from refserver.storage import libraries, queues
from refserver.storage.access_rules import Rule
from tests.server.harness import Harness
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, write

BOT = "bot@there.example/auto"
OMEMO = "<encrypted xmlns='eu.siacs.conversations.axolotl'/>"


def says(library: Library, body: str, by: str = BOT, type: str = "chat", more: str = "") -> list[str]:
    """The queue's answer to a message."""
    library.arrive(f"<message from='{by}' to='{ASK}' type='{type}'><body>{body}</body>{more}</message>")
    return [stanza.body or stanza.type for stanza in library.elsewhere.received()]


# -- what is never answered ----------------------------------------------------------------


@pytest.mark.parametrize("type", ["error", "headline"])
@pytest.mark.parametrize("body", ["help", "position", "bye", "a question", ""])
@pytest.mark.parametrize("more", ["", OMEMO, "<request xmlns='urn:xmpp:receipts'/>"])
def test_errors_and_headlines_are_not_answered_and_no_question(library: Library, type, body, more) -> None:
    assert says(library, body, type=type, more=more) == []
    assert library.waiting() == []


@pytest.mark.parametrize("to", [ASK.text, f"ask+1@{DOMAIN}", f"ask+mia@{DOMAIN}", f"nobody@{DOMAIN}", DOMAIN])
@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
def test_an_error_gets_no_error_back_whatever_it_is_for(library: Library, to: str, kind: str) -> None:
    library.on_duty("mia")
    for type in ("error", "result")[: 2 if kind == "iq" else 1]:
        library.arrive(f"<{kind} from='{BOT}' to='{to}' id='1' type='{type}'/>")
    assert library.elsewhere.received() == []


# -- bots ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body, more", [("help", ""), ("position", ""), ("bye", ""), ("x", OMEMO)])
def test_a_bot_hears_the_same_line_a_few_times_and_then_no_more(library: Library, body, more) -> None:
    answers = [says(library, body, more=more) for _ in range(20)]
    assert [bool(answer) for answer in answers] == [True] * REPEATED + [False] * (20 - REPEATED)
    assert says(library, body, by="pat@there.example/phone", more=more), "others are not concerned"
    library.clock.advance(60)
    assert says(library, body, more=more), "a minute later it is a person again"


def test_who_repeats_what_the_queue_says_does_not_keep_it_talking(library: Library) -> None:
    library.queue.patron_chat.hourly_limit = 1
    library.on_duty("mia")
    heard = says(library, "hello")
    count = len(heard)
    while heard:
        heard = [answer for line in heard for answer in says(library, line)]
        count += len(heard)
        assert count < 10
    assert library.open_question(JID.parse(BOT).bare) is not None


def test_a_bot_that_is_told_of_the_limit_and_answers_ends(library: Library) -> None:
    library.queue.patron_chat.hourly_limit = 1
    mia = library.on_duty("mia")
    says(library, "hello")
    write(mia, chat(), "!1")
    write(mia, chat(), "!close 1")
    library.elsewhere.received()
    answers = [says(library, f"and now {number}") for number in range(20)]
    assert [len(answer) for answer in answers] == [1] * REPEATED + [0] * (20 - REPEATED)


def test_librarians_may_ask_the_desk_as_often_as_they_like(library: Library) -> None:
    mia = library.on_duty("mia")
    for _ in range(2 * REPEATED):
        write(mia, ASK.text, "!who")
    assert len(bodies(mia, ASK.text)) == 2 * REPEATED


# -- two queues ----------------------------------------------------------------------------


class Neighbours:
    """Two libraries on two servers; what one sends to the other is carried by hand, and counted."""

    def __init__(self) -> None:
        self.here, self.there = Library(), _library("other.example")
        self.other = JID.parse("ask@other.example")
        self.carried = 0

    def carry(self, most: int = 100) -> None:
        """Until nobody has anything to say."""
        while self.carried < most:
            stanzas = [(self.there, one) for one in self.here.elsewhere.received()]
            stanzas += [(self.here, one) for one in self.there.elsewhere.received()]
            if not stanzas:
                return
            for server, stanza in stanzas:
                self.carried += 1
                server.core.router.route(Stanza.received(stanza._stamped(to=True)))
        pytest.fail(f"after {most} stanzas they still talk")


def _library(domain: str) -> Harness:
    server = Harness([LibraryAccess, Reference], domains=())
    server.database.write_now(libraries.add, domain, "Library")
    server.database.write_now(queues.add, JID.parse(f"ask@{domain}"))
    host = Host(domain)
    server.core.hosts.add(host)
    RoomService(server.core, host).start()
    server.core.hooks.tell(HostAdded(host))
    server.clock.advance(0)
    return server


@pytest.mark.parametrize("body", ["hello", "help", "position", "bye"])
def test_two_queues_that_are_made_to_talk_to_each_other_end(body: str) -> None:
    both = Neighbours()
    both.there.arrive(
        f"<message from='{ASK}/queue' to='{both.other}' type='chat'><body>{body}</body></message>"
    )
    both.carry()
    assert both.carried <= 2
    assert both.here.waiting() == []


def test_they_end_where_the_mark_is_lost_too() -> None:
    """A server between them may take away what it does not know."""
    both = Neighbours()
    both.here.queue.patron_chat.hourly_limit = 1
    mia = both.here.on_duty("mia")
    both.here.arrive(f"<message from='{both.other}' to='{ASK}' type='chat'><body>hello</body></message>")
    write(mia, chat(), "!1")
    write(mia, chat(), "!close 1")
    for _ in range(50):
        answers = [one.body for one in both.here.elsewhere.received() if one.body]
        for body in answers:
            both.here.arrive(
                f"<message from='{both.other}' to='{ASK}' type='chat'><body>{body}</body></message>"
            )
        if not answers:
            return
    pytest.fail("it still talks")


# -- floods of questions -------------------------------------------------------------------


def test_a_server_brings_so_many_questions_in_an_hour_and_others_go_on(library: Library) -> None:
    library.queue.relay.limits = RateLimits(5, library.clock.seconds)
    for number in range(5):
        assert says(library, "watches", by=f"s{number}@spam.example/x") != ["error"]
    for number in range(5, 50):
        assert says(library, "watches", by=f"s{number}@spam.example/x") == ["error"]
    assert len(library.waiting()) == 5
    assert says(library, "more of it", by="s1@spam.example/x") == [], "an open question goes on"
    assert says(library, "help", by="s49@spam.example/x") != ["error"]
    assert says(library, "a question", by="pat@good.example/x") != ["error"]
    pat = library.patron()
    write(pat, ASK.text, "a question of ours")
    assert len(library.waiting()) == 7
    library.clock.advance(3600 / 5)
    assert says(library, "watches", by="s60@spam.example/x") != ["error"]


def test_whom_the_library_allows_may_bring_any_number(library: Library) -> None:
    library.queue.relay.limits = RateLimits(1, library.clock.seconds)
    library.core.feature(LibraryAccess).put(DOMAIN, Rule("partner.example", allowed=True))
    for number in range(5):
        assert says(library, "a question", by=f"p{number}@partner.example/x") != ["error"]


def test_the_limits_can_be_changed_while_the_server_runs(library: Library) -> None:
    reference = library.core.feature(Reference)
    reference.limit_questions(7, 1)
    assert (library.queue.patron_chat.hourly_limit, library.queue.relay.limits.domain_questions) == (7, 1)
    spent = library.queue.relay.limits
    reference.limit_questions(8, 1)
    assert library.queue.relay.limits is spent, "what was counted still counts"
