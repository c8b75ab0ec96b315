"""However commits are delayed and fail, what is in memory, what is stored and what clients know agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from refserver.features.roster import Roster, Rosters
from refserver.features.roster.states import SUBSCRIPTION_TYPES
from refserver.jid import JID
from refserver.storage import rosters
from tests.server.harness import Client, Harness

MIA = JID.parse("mia@library.example")
CONTACTS = ("a@elsewhere.example", "b@elsewhere.example", "pat@library.example")

contacts = st.sampled_from(CONTACTS)
acts = st.one_of(
    st.tuples(st.just("set"), contacts, st.sampled_from(["", "x", "y"])),
    st.tuples(st.just("remove"), contacts, st.just("")),
    st.tuples(st.just("send"), contacts, st.sampled_from(SUBSCRIPTION_TYPES)),
    st.tuples(st.just("arrive"), contacts, st.sampled_from(SUBSCRIPTION_TYPES)),
)
batches = st.lists(st.lists(acts, min_size=1, max_size=5), max_size=6)


def do(server: Harness, mia: Client, act: tuple[str, str, str]) -> None:
    kind, contact, detail = act
    if kind == "send":
        mia.send(f"<presence type='{detail}' to='{contact}'/>")
    elif kind == "arrive":
        server.arrive(f"<presence type='{detail}' from='{contact}' to='{MIA}'/>")
    else:
        change = "subscription='remove'" if kind == "remove" else f"name='{detail}'"
        mia.send(
            "<iq type='set' id='s'><query xmlns='jabber:iq:roster'>"
            f"<item jid='{contact}' {change}/></query></iq>"
        )


def learn(known: dict[str, dict[str, str]], mia: Client) -> None:
    """Take in the pushes as a client does."""
    for stanza in mia.received():
        if stanza.kind == "iq" and stanza.type == "set":
            assert stanza.payload is not None
            item = dict(stanza.payload[0].attrib)
            if item["subscription"] == "remove":
                known.pop(item["jid"], None)
            else:
                known[item["jid"]] = item


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(batches, st.sets(st.integers(0, 30), max_size=4))
@example([[("set", "a@elsewhere.example", ""), ("arrive", "a@elsewhere.example", "subscribe")]], {1})
@example(
    [
        [("set", "a@elsewhere.example", "")],
        [("remove", "a@elsewhere.example", ""), ("arrive", "a@elsewhere.example", "subscribe")],
    ],
    {2},
)
def test_memory_store_and_client_agree(batches: list[list[tuple[str, str, str]]], failing: set[int]) -> None:
    server = Harness()
    server.account("pat@library.example")
    mia = server.online("mia@library.example/desk")
    known: dict[str, dict[str, str]] = {}
    commits = 0

    def sometimes(store: Callable[..., int]) -> Callable[..., int]:
        def stored(*args: Any) -> int:
            nonlocal commits
            commits += 1
            if commits in failing:
                raise OSError("disk full")
            return store(*args)

        return stored

    save, delete = sometimes(rosters.save), sometimes(rosters.delete)
    with patch.object(rosters, "save", save), patch.object(rosters, "delete", delete):
        for batch in batches:
            with server.holding():
                for act in batch:
                    do(server, mia, act)
            learn(known, mia)
    found = server.core.feature(Rosters).roster_of(MIA)
    roster = found if isinstance(found, Roster) else server.run(found)
    stored = server.database.read_now(rosters.load, MIA)
    assert roster.items == stored.items
    assert roster.version == stored.version
    answer = mia.ask("get", "<query xmlns='jabber:iq:roster'/>")
    assert answer.payload is not None
    assert {item.attrib["jid"]: dict(item.attrib) for item in answer.payload} == known
