"""The framer against expat reading the whole stream, on random streams in random pieces.

Several framers take turns, so that whatever one leaves behind in the shared parser would
show in another's elements. `REFSERVER_FUZZ_STREAMS` raises the number of streams.
"""

from __future__ import annotations

import os
import random
import re
from xml.etree.ElementTree import Element, XMLParser
from xml.parsers.expat import ExpatError, ParserCreate

import pytest
from attrs import define, field

from refserver.errors import StreamError
from refserver.xml import Framer, Limits, StreamEnd, StreamHeader

STREAMS = int(os.environ.get("REFSERVER_FUZZ_STREAMS", "20000"))
TOGETHER = 4  # streams that take turns
SEEDS = 10

STREAM = b" xmlns:stream='http://etherx.jabber.org/streams'"
HEADERS = {
    b"<stream:stream xmlns='jabber:client'" + STREAM + b">": b"</stream:stream>",
    b"<stream:stream xmlns='jabber:server'" + STREAM + b">": b"</stream:stream>",
    b"<stream:stream xmlns='jabber:server' xmlns:x='jabber:server:dialback'"
    + STREAM
    + b">": b"</stream:stream>",
    b"<x:stream xmlns='jabber:client' xmlns:x='http://etherx.jabber.org/streams'>": b"</x:stream>",
    b"<stream xmlns='http://etherx.jabber.org/streams'>": b"</stream>",
}
WHOLE = [
    b"<message to='a'><body>hi</body></message>",
    b"<presence/>",
    b"<iq type='get' id='1'><q xmlns='u'/></iq>",
    b"<message><a b='>'/></message>",
    b"<message id='x/>y'><body/></message>",
    b"<message><body><![CDATA[</message>]]></body></message>",
    b"<message><f xmlns='u'><message xmlns='jabber:client'><body/></message></f></message>",
    b"<message xmlns='jabber:client' xmlns:p='q'><p:message></p:message><p:x p:y='z'/></message>",
    b"<r xmlns='urn:xmpp:sm:3'/>",
    b"<a xmlns='urn:xmpp:sm:3' h='5'/>",
    b"<auth xmlns='s'>AGE=</auth>",
    b"<message><body>x</body></message >",
    b"<iq id='1' ></iq>",
    b"<iq\nid='1'\n/>",
    b'<presence id="\'>"><show>a</show></presence>',
    b"<message><body>wow! <b>what?</b></body></message>",
    b"<message><body>" + b"many words " * 80 + b"</body></message>",
    b"<iq id='1'>" + b"<item a='b=c' d=\"e\"/>" * 90 + b"</iq>",
    b"<iq id='1'>" + b"<a>" * 98 + b"</a>" * 98 + b"</iq>",
    "<message><body>žluť &amp; 漢 😀 &#x1F600;</body></message>".encode(),
    b" \n",
]
PIECES = [
    *(b"<message to='a'>", b"</message>", b"</message >", b"<message/>", b"<message ", b"<message", b"<mess"),
    *(b"<iq type='get' id='1'>", b"<iq>", b"</iq>", b"<iq/>", b"<presence/>", b"<presence>", b"</presence>"),
    *(b"<body>hi &amp; > x</body>", b"<body>", b"</body>", b"<a>", b"</a>", b"<a b='/>'/>", b"<a ", b"/ >"),
    *(b"<![CDATA[</message>]]>", b"<![CDATA[", b"]]>", b"]]", b"<!-- </message> -->", b"<!", b"<!--", b"-->"),
    *(b"<?pi </message>?>", b"<?", b"?>", b"<?xml version='1.0'?>", b"<!DOCTYPE x>", b"<!ENTITY a 'b'>"),
    *(
        b"<x:message xmlns:x='jabber:client'>",
        b"</x:message>",
        b"<x:y/>",
        b"<foo:y/>",
        b"xmlns='u'",
        b" x:a='1'",
    ),
    *(b"<f xmlns='u'><message xmlns='jabber:client'><body/></message></f>", b"<message xmlns='other'>"),
    *(
        b"<message xmlns=''><a/></message>",
        b"<messagex/>",
        b"<messagex>",
        b"</messagex>",
        b"<m/>",
        b"<>",
        b"</>",
    ),
    *(b" ", b"\n", b"\r", b"\t", b"x", b"!", b"?", b"=", b"a='>'", b"a='/>'", b' id="</message>"', b" a='b'"),
    *(
        b"'",
        b'"',
        b">",
        b"<",
        b"/>",
        b"</",
        b"/",
        b"&lt;",
        b"&foo;",
        b"&",
        b"&#0;",
        b"&#13;",
        b"&#xFFFE;",
        b";",
    ),
    *(b"</stream:stream>", b"</x:stream>", b"</stream>", b"<stream:error/>", b"<x:result>", b"</x:result>"),
    *(b"\xc0\xbc", b"\xe2\x82", b"\xac", b"\xed\xa0\x80", b"\x00", b"\xff", "é".encode(), "漢".encode()),
]
STANZA = re.compile(rb"\{jabber:server\}(message|presence|iq)$")
# Ends whatever a stream may have stopped in, so that an error in that must be noticed: CDATA, tags
# without and with an open quote; then text enough that expat 2.6 defers no longer.
ENDINGS = b"]]>" + b">'>\"><q>" + b"x" * 200 + b"<q>"


class _Refused(Exception):
    """The stream has what XMPP prohibits, or is at its end."""


@define
class Expected:
    """What a whole-stream parse finds: where elements begin and end, and how it stops."""

    elements: list[tuple[int, int]] = field(factory=list)
    fault: bool = False
    end: bool = False
    doomed: bool = False  # expat waits for more, but of a thing that cannot be right


class _Reference:
    """Expat's handlers for a whole stream."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.expected = Expected()
        self.depth = 0
        self.begin = 0
        self.fresh = False  # nothing came since the opening tag
        self.parser = parser = ParserCreate("utf-8", "}")
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.close
        parser.CharacterDataHandler = self.text
        parser.CommentHandler = parser.ProcessingInstructionHandler = self.refuse
        parser.StartCdataSectionHandler = self.cdata

    def start(self, name, attributes):
        if self.depth == 1:
            self.begin = self.parser.CurrentByteIndex
        self.depth += 1
        self.fresh = True

    def close(self, name):
        index = self.parser.CurrentByteIndex
        self.depth -= 1
        if self.depth == 1:
            empty = self.fresh and self.data[index - 2 : index] == b"/>"
            self.expected.elements.append((self.begin, index if empty else self.data.index(b">", index) + 1))
        if self.depth == 0:
            self.expected.end = True
            raise _Refused
        self.fresh = False

    def text(self, text):
        self.fresh = False
        reference = self.data[self.parser.CurrentByteIndex] == ord("&")  # even if it is one to a space
        if self.depth == 1 and (reference or text.strip(" \t\r\n")):
            raise _Refused

    def cdata(self):
        self.fresh = False
        if self.depth == 1:
            raise _Refused

    def refuse(self, *_):
        raise _Refused


def reference(header: bytes, body: bytes) -> Expected:
    """What expat makes of the whole stream; offsets are those in `body`."""
    watch = _Reference(header + body)
    try:
        watch.parser.Parse(watch.data)
    except (ExpatError, _Refused):
        watch.expected.fault = not watch.expected.end
    else:
        rest = watch.data[watch.parser.CurrentByteIndex :]
        watch.expected.doomed = (
            re.match(rb"<[!?]" if watch.depth > 1 else rb"<[!?]|[^< \t\r\n]", rest) is not None
        )
    watch.expected.elements = [(a - len(header), b - len(header)) for a, b in watch.expected.elements]
    return watch.expected


def same(one: Element, other: Element) -> bool:
    """True if two trees are the same in everything."""
    return (
        one.tag == other.tag
        and one.attrib == other.attrib
        and (one.text or "") == (other.text or "")
        and (one.tail or "") == (other.tail or "")
        and len(one) == len(other)
        and all(map(same, one, other))
    )


def alone(header: bytes, raw: bytes, closing: bytes) -> Element:
    """The element `raw` as it is in a stream of its own."""
    parser = XMLParser()
    parser.feed(header)
    parser.feed(raw)
    parser.feed(closing)
    [element] = parser.close()
    if STANZA.match(element.tag.encode()):
        for each in element.iter():
            each.tag = each.tag.replace("{jabber:server}", "{jabber:client}")
    return element


class Run:
    """One framer with its stream, and the check of all that comes out."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.header, self.closing = chance.choice(list(HEADERS.items()))
        if chance.random() < 0.6:
            self.header, self.closing = next(iter(HEADERS.items()))
        self.body = stream(chance)
        self.expected = reference(self.header, self.body)
        self.framer = Framer(Limits(0, depth=1000, attributes=1000))
        assert isinstance(next(self.framer.feed(self.header)), StreamHeader)
        self.fed = self.got = 0
        self.ended = self.failed = False

    @property
    def over(self) -> bool:
        return self.failed or self.fed >= len(self.body)

    def turn(self) -> None:
        size = self.chance.choice((1, 3, 7, 50, 1000))
        chunk = self.body[self.fed : self.fed + size]
        self.fed += len(chunk)
        self.feed(chunk)
        if not self.failed:
            due = sum(end <= self.fed for _, end in self.expected.elements)
            assert self.got == due, (self.header, self.body, "an element is late, early, missing or too many")

    def feed(self, chunk: bytes) -> None:
        try:
            if self.chance.random() < 0.2:  # a caller who stops after the first item
                for frame in self.framer.feed(chunk):
                    self.check(frame)
                    break
                chunk = b""
            for frame in self.framer.feed(chunk):
                self.check(frame)
        except StreamError:
            self.failed = True

    def check(self, frame: StreamHeader | Element | StreamEnd) -> None:
        assert not self.ended
        if isinstance(frame, StreamEnd):
            self.ended = True
            return
        assert not isinstance(frame, StreamHeader)
        assert self.got < len(self.expected.elements), (self.header, self.body, "no such element")
        begin, end = self.expected.elements[self.got]
        raw = self.body[begin:end]
        self.got += 1
        assert same(frame, alone(self.header, raw, self.closing)), (self.header, self.body)
        assert self.framer.raw in (b"", raw)

    def finish(self) -> None:
        context = (self.header, self.body)
        if self.expected.fault and not self.failed:
            self.feed(ENDINGS)
            assert self.failed, (*context, "a fault was not noticed")
        if self.failed and not self.expected.fault:
            assert self.expected.doomed, (*context, "refused without a fault")
        assert self.failed or self.got == len(self.expected.elements), context
        assert self.ended == (self.expected.end and not self.failed), context


def stream(chance: random.Random) -> bytes:
    """Elements mixed with awkward pieces, or such pieces only; sometimes with a byte lost or changed."""
    whole = chance.choice((0.0, 0.6, 0.9, 1.0))
    parts = [
        chance.choice(WHOLE) if chance.random() < whole else chance.choice(PIECES)
        for _ in range(chance.randint(1, 9))
    ]
    data = b"".join(parts)
    if chance.random() < 0.15:
        at = chance.randrange(len(data))
        data = data[:at] + chance.choice((b"", b"<", b">", b"/", b"'", b"\x80")) + data[at + 1 :]
    return data


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_framers_taking_turns_find_what_expat_finds(seed: int):
    chance = random.Random(seed)
    faults = elements = 0
    for _ in range(STREAMS // SEEDS // TOGETHER):
        runs = [Run(chance) for _ in range(TOGETHER)]
        waiting = list(runs)
        while waiting:
            run = chance.choice(waiting)
            run.turn()
            if run.over:
                waiting.remove(run)
        for run in runs:
            run.finish()
            faults += run.failed
            elements += run.got
    assert faults
    assert elements
