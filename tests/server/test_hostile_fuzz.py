"""Garbage over a real socket: random bytes, and valid streams with something wrong in them.

Whatever comes, the server answers in well-formed XML (the client's parser would raise),
logs no unexpected exception, takes no more memory, and serves the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.server.live import SASL, LiveServer, Raw, bind, header, plain

pytestmark = pytest.mark.usefixtures("unharmed")

STREAMS = 250
MEMORY = 12_000_000  # bytes that the server may have grown by, caches included

LOGIN = [header(), plain("u20"), header(), bind("fuzz")]
ROOM = "room@rooms.library.example"
STANZAS = [
    "<presence><show>away</show><priority>3</priority><c xmlns='urn:c'/></presence>",
    "<presence type='unavailable'><status>gone</status></presence>",
    "<presence to='u21@library.example' type='subscribe' id='s'/>",
    "<presence to='u20@library.example' type='probe'/>",
    "<message to='u21@library.example/x' type='chat' id='m'><body>a &amp; b</body><thread/></message>",
    "<message to='u20@library.example'><body xml:lang='de'>ü</body><delay xmlns='urn:xmpp:delay'/></message>",
    "<message to='u20@library.example'><stanza-id xmlns='urn:xmpp:sid:0' by='@'/></message>",
    "<iq type='get' id='1'><query xmlns='jabber:iq:roster' ver='7'/></iq>",
    "<iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='a@b'><group/></item></query></iq>",
    "<iq type='get' id='3' to='library.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    "<iq type='get' id='3' to='u21@library.example'><query xmlns='jabber:iq:last'/></iq>",
    "<iq type='set' id='4'><vCard xmlns='vcard-temp'><FN>F</FN></vCard></iq>",
    "<iq type='set' id='5'><query xmlns='jabber:iq:private'><x xmlns='urn:x'><y/></x></query></iq>",
    "<iq type='set' id='6'><query xmlns='jabber:iq:register'><username>u20</username></query></iq>",
    "<iq type='result' id='7' to='u20@library.example/fuzz'/>",
    f"<presence to='{ROOM}/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
    f"<message to='{ROOM}' type='groupchat'><body>b</body></message>",
    f"<iq type='get' id='8' to='{ROOM}'><query xmlns='http://jabber.org/protocol/muc#owner'/></iq>",
    " \n",
]
TOKENS = [
    *(b"<", b">", b"/>", b"</", b"&", b"&#x1F4DA;", b"&lt;", b"&#0;", b"'", b'"', b"=", b"@", b"/", b" "),
    *(b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?", b"?>", b"<!DOCTYPE x>", b"<?xml version='1.0'?>"),
    *(b"xmlns='", b"xmlns=''", b"xmlns:a='urn:a'", b"a:b='c'", b"type='error'", b"id=''", b"from='x'"),
    *(b"to='library.example'", b"to=''", b"to='u20@library.example'", b"\x00", b"\xff", b"\xc3"),
    *(b"\xe2\x80\xae", b"x" * 3000, b"<a>" * 150, b"<a>", b"</a>", b"<body>", b"</body>", b"<error/>"),
    *(b"</message>", b"</presence>", b"</iq>", b"<iq type='get'>", b"<stream:stream>", b"</stream:stream>"),
    f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>biwsbj11MjAscj1h</auth>".encode(),
    f"<response xmlns='{SASL}'>=</response>".encode(),
]


def mutated(chance: random.Random, data: bytes) -> bytes:
    """The bytes with one thing wrong."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice([0, 1, 1, 5, 40, 400]))
    piece = data[start:end]
    wrong = [
        b"",
        piece + piece,
        chance.choice(TOKENS),
        chance.choice(TOKENS) + piece,
        bytes(byte ^ (1 << chance.randrange(8)) for byte in piece),
        piece[::-1],
        chance.randbytes(len(piece)),
    ]
    return data[:start] + chance.choice(wrong) + data[end:]


def pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """The bytes cut somewhere, as they may arrive."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 1, 3])))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def session(live: LiveServer, chance: random.Random) -> tuple[Raw, bytes]:
    """Who has logged in, and then sends stanzas of which the last, or another, is wrong."""
    stanzas = [stanza.encode() for stanza in chance.choices(STANZAS, k=chance.randrange(1, 12))]
    for _ in range(chance.choice([1, 1, 1, 3])):
        number = chance.choice([-1, chance.randrange(len(stanzas))])
        stanzas[number] = mutated(chance, stanzas[number])
    return live.login("u20@library.example/fuzz"), b"".join(stanzas)


def beginning(live: LiveServer, chance: random.Random) -> tuple[Raw, bytes]:
    """Who sends all of a log-in at once, something wrong in it."""
    return live.connect(), mutated(chance, b"".join(LOGIN))


def garbage(live: LiveServer, chance: random.Random) -> tuple[Raw, bytes]:
    """Who sends what makes no sense, perhaps behind a header."""
    noise = chance.randbytes(chance.choice([1, 10, 100, 5000, 20_000]))
    tokens = b"".join(chance.choices(TOKENS, k=chance.randrange(60)))
    return live.connect(), chance.choice([noise, header() + noise, tokens, header() + tokens])


@pytest.mark.parametrize("make", [session, beginning, garbage])
def test_nothing_a_stranger_sends_does_harm(
    live: LiveServer, make: Callable[[LiveServer, random.Random], tuple[Raw, bytes]]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    before = live.memory()
    for number in range(STREAMS):
        chance = random.Random(f"{seed} {number}")
        raw, data = make(live, chance)
        if all(raw.try_send(piece) for piece in pieces(chance, data)):
            raw.end()
        raw.closed()
        assert not live.complaints(), f"seed {seed} {number}: {data!r}"
    assert live.memory() - before < MEMORY
