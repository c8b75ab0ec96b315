"""The life of questions over the service, as clients live it: two resources, repeated ids, absences, crashes.

Librarians and patrons write whatever they like in whatever order; accounts end, queues are changed under way,
the server is killed. After each step no question is lost, none is without an owner or a place in the line,
what is in memory is what is stored, and no command has reached a patron.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from refserver.jid import JID
from refserver.reference.feature import Reference
from refserver.reference.offices import appoint, dismiss
from refserver.reference.states import FINISHED, OPEN, UNCLAIMED, State
from refserver.storage import questions, queues
from refserver.storage.queues import Librarian
from tests.server.harness import Client
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, write

MAPS = JID.parse(f"maps@{DOMAIN}")
STAFF = ("mia", "noa", "lou")
PATRONS = ("pat", "sam")
HELD = (
    "!{n}",
    "\uff01{n}",
    " !{n}",
    "!release",
    "!to mia",
    "!to noa held",
    "!decline",
    "!close 3",
    "!close spam",
    "!park held",
    "!reopen",
    "!note held",
    "!held",
    "!who",
    "!c",
)

staff = st.sampled_from(STAFF)
patrons = st.sampled_from(PATRONS)
resources = st.sampled_from(("phone", "laptop"))
queue_jids = st.sampled_from((ASK, MAPS))
numbers = st.integers(0, 3)


class Lives(RuleBasedStateMachine):
    """Drives a library over its clients."""

    @initialize()
    def open_library(self) -> None:
        self.library = Library()
        self.library.account(f"lou@{DOMAIN}")
        self.library.database.write_now(queues.add, MAPS)
        for name in STAFF:
            self.appoint(name, MAPS)
        self.appoint("lou", ASK)
        self.refresh()
        self.clients: dict[str, Client] = {}
        self.words = 0
        for name in ("mia", "noa"):
            self.librarian_enters(name, "phone", ASK, "")
        self.patron_writes("pat", "phone", ASK, "1")

    def appoint(self, name: str, queue: JID) -> None:
        record = self.library.database.read_now(queues.find, queue)
        if record is not None:
            librarian = Librarian(JID.parse(f"{name}@{DOMAIN}"), name, 2)
            self.library.database.write_now(appoint, record.id, librarian)

    def refresh(self) -> None:
        self.library.run(self.library.core.feature(Reference).refresh(DOMAIN))

    def client(self, name: str, resource: str) -> Client:
        """A client of somebody, logged in if it is not yet."""
        jid = f"{name}@{DOMAIN}/{resource}"
        found = self.clients.get(jid)
        if found is None or self.library.core.sessions.get(found.jid) is not found.session:
            found = self.clients[jid] = self.library.client(jid)
            found.send("<presence/>")
        return found

    def number(self, draw: int) -> int:
        """The number of a question that is there."""
        stored = self.library.database.read_now(questions.in_states, list(State))
        return 1 + draw % len(stored)

    # -- patrons -----------------------------------------------------------------------

    @rule(name=patrons, resource=resources, queue=queue_jids, id=st.sampled_from(("1", "2", "")))
    def patron_writes(self, name: str, resource: str, queue: JID, id: str) -> None:
        """Each time something new; the client counts from 1 again and again."""
        self.words += 1
        write(self.client(name, resource), queue.text, f"words {self.words}", id)

    @rule(name=patrons, resource=resources, queue=queue_jids)
    def patron_says_bye(self, name: str, resource: str, queue: JID) -> None:
        write(self.client(name, resource), queue.text, "bye")

    @rule(name=patrons, resource=resources)
    def patron_leaves(self, name: str, resource: str) -> None:
        self.client(name, resource).end()

    # -- librarians ----------------------------------------------------------------------

    @rule(name=staff, resource=resources, queue=queue_jids, show=st.sampled_from(("", "away")))
    def librarian_enters(self, name: str, resource: str, queue: JID, show: str) -> None:
        client = self.client(name, resource)
        room = f"{queue.localpart}@rooms.{DOMAIN}/{name}"
        child = f"<show>{show}</show>" if show else ""
        client.send(f"<presence to='{room}'>{child}<x xmlns='http://jabber.org/protocol/muc'/></presence>")

    @rule(name=staff, resource=resources)
    def librarian_goes(self, name: str, resource: str) -> None:
        self.client(name, resource).end()

    @rule(name=staff, resource=resources, number=numbers, line=st.sampled_from(HELD))
    def librarian_commands(self, name: str, resource: str, number: int, line: str) -> None:
        number = self.number(number)
        write(self.client(name, resource), chat(number), line.format(n=number))

    @rule(name=staff, resource=resources, number=numbers, id=st.sampled_from(("1", "")))
    def librarian_answers(self, name: str, resource: str, number: int, id: str) -> None:
        self.words += 1
        write(self.client(name, resource), chat(self.number(number)), f"answer {self.words}", id)

    @rule(name=staff, resource=resources, queue=queue_jids, line=st.sampled_from(HELD), number=numbers)
    def librarian_writes_to_the_queue(
        self, name: str, resource: str, queue: JID, line: str, number: int
    ) -> None:
        write(self.client(name, resource), queue.text, line.format(n=self.number(number)))

    # -- from outside ----------------------------------------------------------------------

    @rule(name=staff)
    def account_ends_and_is_made_again(self, name: str) -> None:
        for resource in ("phone", "laptop"):
            self.client(name, resource).end()
        self.library.remove_account(f"{name}@{DOMAIN}")
        self.library.account(f"{name}@{DOMAIN}")

    @rule(name=staff, queue=queue_jids)
    def librarian_is_appointed(self, name: str, queue: JID) -> None:
        self.appoint(name, queue)
        self.refresh()

    @rule(name=staff, queue=queue_jids)
    def librarian_is_dismissed(self, name: str, queue: JID) -> None:
        record = self.library.database.read_now(queues.find, queue)
        assert record is not None
        jid = JID.parse(f"{name}@{DOMAIN}")
        if self.library.database.read_now(queues.librarian, record.id, jid) is not None:
            self.library.database.write_now(dismiss, record.id, jid)
            self.refresh()

    @rule(seconds=st.sampled_from((1, 31, 61, 121, 700)))
    def time_passes(self, seconds: int) -> None:
        self.library.clock.advance(seconds)

    @rule(within=st.booleans())
    def crash(self, within: bool) -> None:
        self.library = self.library.restart(within_the_turn=within)
        self.clients.clear()

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_without_an_owner(self) -> None:
        if not hasattr(self, "library"):
            return
        self.library.clock.advance(0.01)
        stored = self.library.database.read_now(questions.in_states, list(State))
        numbers_seen = sorted(question.number for question in stored)
        assert numbers_seen == list(range(1, len(numbers_seen) + 1))
        opened = {question.number: question for question in stored if question.state in OPEN}
        known = {question.number: question for question in self.library.open_questions}
        assert opened == known
        for question in stored:
            assert (question.closed_at is not None) == (question.state in FINISHED)
            if question.state == State.CLAIMED:
                assert question.owner is not None
                at_work = self.library.database.read_now(queues.librarian, question.queue_id, question.owner)
                assert at_work is not None
                assert question.offered_to is None
            if question.state in UNCLAIMED:
                assert question.owner is None
                assert self.library.open_questions.position(question) > 0

    @invariant()
    def a_patron_has_one_conversation_at_a_queue(self) -> None:
        if hasattr(self, "library"):
            whose = [(q.queue_id, q.patron) for q in self.library.open_questions if q.patron is not None]
            assert len(whose) == len(set(whose))

    @invariant()
    def no_command_reaches_a_patron(self) -> None:
        if not hasattr(self, "library"):
            return
        for jid, client in self.clients.items():
            heard = bodies(client)
            if jid.partition("@")[0] in PATRONS:
                assert not [line for line in heard if "held" in line or line.lstrip()[:1] in "!\uff01"]

    def teardown(self) -> None:
        if hasattr(self, "library"):
            self.library.database.close_now()


def test_whatever_people_do_no_question_is_lost() -> None:
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
