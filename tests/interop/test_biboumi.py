"""Biboumi, Debian's gateway to IRC, as an external component (XEP-0114)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from tests.interop.conftest import UNLIMITED, complaints, require
from tests.interop.peers import Library, RefserverProcess, free_port, wait_until
from tests.interop.peers.biboumi import Biboumi
from tests.interop.peers.people import Person

IRC = "irc.library.example"
INFO = "{http://jabber.org/protocol/disco#info}"
COMMAND = "{http://jabber.org/protocol/commands}command"


def disco(person: Person, to: str, id: str) -> Element:
    query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    return person.iq(f"<iq type='get' id='{id}' to='{to}'>{query}</iq>")


@pytest.mark.peers
def test_biboumi_attaches_answers_dies_and_comes_back(
    start_refserver: Callable[..., RefserverProcess], new_folder: Callable[[str], Path]
):
    """Service discovery and commands through it; while it is away it is told to be so."""
    require("biboumi")
    port = free_port("127.0.0.1")
    secret = new_folder("secrets") / "irc"
    secret.write_text("known to biboumi too")
    server = start_refserver(
        settings={
            **UNLIMITED,
            "listen": {"component": [f"tcp:{port}:interface=127.0.0.1"]},
            "components": {"secret_files": {IRC: str(secret)}},
        }
    )

    def is_attached(times: int) -> bool:
        return server.log.count(f"the component {IRC} is attached") == times

    folder = new_folder("biboumi")
    with Library(server, "library.example") as library:
        library.set_up(patrons=("pat",))
        pat = library.patron("pat")
        with Biboumi(folder, IRC, "known to biboumi too", port) as biboumi:
            wait_until(lambda: is_attached(1), "biboumi", 10, lambda: biboumi.output)
            identity = disco(pat, IRC, "d1").find(f"{INFO}query/{INFO}identity")
            assert identity is not None
            assert ("conference", "irc") == (identity.get("category"), identity.get("type"))
            ping = "<command xmlns='http://jabber.org/protocol/commands' node='ping' action='execute'/>"
            answer = pat.iq(f"<iq type='set' id='c1' to='{IRC}'>{ping}</iq>").find(COMMAND)
            assert answer is not None
            assert "completed" == answer.get("status")
            biboumi.kill()
            away = f"the component {IRC} is away"
            wait_until(lambda: away in server.log, away, 10, lambda: server.log)
            assert "error" == disco(pat, IRC, "d2").get("type")
        with Biboumi(folder, IRC, "known to biboumi too", port) as biboumi:
            wait_until(lambda: is_attached(2), "biboumi again", 10, lambda: biboumi.output)
            assert "result" == disco(pat, IRC, "d3").get("type")
            server.restart()
            wait_until(lambda: is_attached(3), "biboumi after a restart", 20, lambda: biboumi.output)
    assert complaints(server.log) == []
