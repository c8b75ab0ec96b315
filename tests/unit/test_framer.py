"""The framer: what comes out of a stream's bytes, when, and how each fault is answered."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from xml.etree.ElementTree import Element, tostring

import pytest

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.xml import Frame, Framer, Limits, StreamEnd, StreamHeader
from refserver.xml.context import SharedParser

HEADER = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
SERVER_HEADER = HEADER.replace(b"jabber:client", b"jabber:server")
MESSAGE = b"<message to='a@b' id='1'><body>hi</body><x xmlns='u'/></message>"
LIMITS = Limits(stanza_bytes=10_000)


def opened(header: bytes = HEADER, limits: Limits = LIMITS) -> Framer:
    framer = Framer(limits)
    [first] = framer.feed(header)
    assert isinstance(first, StreamHeader)
    return framer


def elements(frames: Iterable[Frame]) -> list[Element]:
    found = []
    for frame in frames:
        assert not isinstance(frame, StreamHeader | StreamEnd)
        found.append(frame)
    return found


def only(frames: Iterable[Frame]) -> Element:
    [element] = elements(frames)
    return element


def tag(frame: Frame) -> str:
    return only([frame]).tag


def tags(frames: Iterable[Frame]) -> list[str]:
    return [element.tag.rpartition("}")[2] for element in elements(frames)]


def condition(framer: Framer, *chunks: bytes) -> StreamCondition:
    """The condition with which the last of `chunks`, and none before, is refused."""
    *before, last = chunks
    for chunk in before:
        list(framer.feed(chunk))
    with pytest.raises(StreamError) as caught:
        list(framer.feed(last))
    return caught.value.condition


class TestElements:
    def test_several_in_one_chunk_come_one_by_one(self):
        assert tags(opened().feed(MESSAGE + b"<presence/>\n<iq id='1'><q/></iq>")) == [
            "message",
            "presence",
            "iq",
        ]

    def test_comes_with_its_last_byte_however_it_is_chunked(self):
        framer = opened()
        for count in range(3):
            for position in range(len(MESSAGE) - 1):
                assert list(framer.feed(MESSAGE[position : position + 1])) == [], (count, position)
                assert framer.pending == position + 1
            element = only(framer.feed(MESSAGE[-1:]))
            assert tostring(element) == tostring(only(opened().feed(MESSAGE)))
            assert framer.pending == 0

    def test_content_is_what_was_sent(self):
        [message] = elements(
            opened().feed(
                b"<message xml:lang='en'>a<body k='&lt;\"'>&amp;&#x1F600;\xe2\x82\xac</body>b</message>"
            )
        )
        assert message.attrib == {f"{{{ns.XML}}}lang": "en"}
        assert (message.text, message[0].tail) == ("a", "b")
        assert (message[0].text, message[0].attrib) == ("&\U0001f600€", {"k": '<"'})

    @pytest.mark.parametrize(
        "stanza",
        [
            b"<presence id='x>y'/>",
            b"<presence id='x/>y'/>",
            b'<presence id="\'/>"/>',
            b"<message></message >",
            b"<message\n></message\t>",
            b"<message><message/></message>",
            b"<message><x:message xmlns:x='u'></x:message></message>",
            b"<message><f xmlns='u'><message xmlns='jabber:client'></message></f></message>",
            b"<message><body><![CDATA[</message>]]></body></message>",
            b"<message><a b='>'/></message>",
            b"<message>/></message>",
            b"<messagex></messagex>",
            b"<m></m>",
            b"<r xmlns='urn:xmpp:sm:3'/>",
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>",
            b"<stream:error><a/></stream:error>",
            b"<\xc3\xa9/>",
        ],
    )
    def test_awkward_ones_end_where_expat_says(self, stanza: bytes):
        framer = opened()
        frames = elements(framer.feed(stanza + MESSAGE + stanza))
        assert len(frames) == 3
        assert tag(frames[1]) == f"{{{ns.CLIENT}}}message"
        assert tostring(frames[0]) == tostring(frames[2])
        assert list(framer.feed(stanza[:-1])) == []
        assert len(list(framer.feed(stanza[-1:]))) == 1

    @pytest.mark.parametrize("start", [b"<iq>", b"<message>", b"<presence>"])
    def test_opening_tag_alone_is_no_element(self, start: bytes):
        framer = opened()
        assert list(framer.feed(start)) == []
        other = opened()
        assert tags(other.feed(MESSAGE)) == ["message"]
        assert tags(framer.feed(b"</" + start[1:])) == [start[1:-1].decode()]

    def test_whitespace_between_is_skipped_and_not_kept(self):
        framer = opened()
        assert list(framer.feed(b" \r\n\t" * 100_000)) == []
        assert framer.pending == 0
        assert tags(framer.feed(b"\n<presence/> \n")) == ["presence"]
        assert framer.pending == 0

    def test_stanzas_of_other_content_namespaces_come_out_as_clients(self):
        message = only(opened(SERVER_HEADER).feed(MESSAGE))
        assert [each.tag for each in message.iter()] == [
            f"{{{ns.CLIENT}}}message",
            f"{{{ns.CLIENT}}}body",
            "{u}x",
        ]

    def test_only_stanzas_change_namespace(self):
        header = HEADER.replace(b"jabber:client", b"jabber:component:accept")
        handshake = only(opened(header).feed(b"<handshake>00</handshake>"))
        assert handshake.tag == "{jabber:component:accept}handshake"

    def test_prefixes_of_the_header_are_known_in_elements(self):
        header = HEADER[:-1] + b" xmlns:db='jabber:server:dialback' xmlns:q='a&amp;&apos;b'>"
        framer = opened(header)
        assert only(framer.feed(b"<db:result>x</db:result>")).tag == "{jabber:server:dialback}result"
        assert only(framer.feed(b"<q:x/>")).tag == "{a&'b}x"
        assert condition(opened(), b"<db:result/>") is StreamCondition.NOT_WELL_FORMED


class TestRaw:
    def test_is_the_element_as_it_was_sent(self):
        framer = opened()
        seen = [framer.raw for _ in framer.feed(MESSAGE + b" <presence/>" + b"<iq id='1'\n></iq >")]
        assert seen == [MESSAGE, b"<presence/>", b"<iq id='1'\n></iq >"]
        assert framer.raw == b""

    def test_is_there_for_a_stanza_in_pieces(self):
        framer = opened()
        list(framer.feed(MESSAGE[:20]))
        assert [framer.raw for _ in framer.feed(MESSAGE[20:])] == [MESSAGE]

    @pytest.mark.parametrize(
        "stanza",
        [
            b"<message xmlns='jabber:client'/>",
            b"<message xmlns='jabber:client'><body>x</body></message>",
            b"<message xmlns:x='u'><x:y/></message>",
            b"<c:message xmlns:c='jabber:client'/>",
            b"<message><body><![CDATA[x]]></body></message>",
            b"<r xmlns='urn:xmpp:sm:3'/>",
        ],
    )
    def test_is_empty_where_it_would_not_mean_the_same_elsewhere(self, stanza: bytes):
        framer = opened()
        assert [framer.raw for _ in framer.feed(MESSAGE + stanza)] == [MESSAGE, b""]

    def test_is_empty_on_streams_that_declared_more(self):
        framer = opened(HEADER[:-1] + b" xmlns:x='u'>")
        assert [framer.raw for _ in framer.feed(MESSAGE)] == [b""]

    def test_is_what_a_server_sent_if_it_means_the_same_to_clients(self):
        framer = opened(SERVER_HEADER[:-1] + b" xmlns:db='jabber:server:dialback'>")
        named = b"<message><x xmlns='jabber:server'/></message>"
        covert = b"<message><x xmlns='jabber&#58;server'/></message>"
        prefixed = b"<message><db:x/></message>"
        other = b"<messages><x/></messages>"
        frames = framer.feed(MESSAGE + named + covert + prefixed + other)
        seen = [(frame, framer.raw) for frame in frames if isinstance(frame, Element)]
        assert [raw for _, raw in seen] == [MESSAGE, b"", b"", b"", b""]
        assert [element[0].tag for element, _ in seen[1:3]] == ["{jabber:client}x"] * 2
        assert [element[0].tag for element, _ in seen[3:]] == [f"{{{ns.DIALBACK}}}x", f"{{{ns.SERVER}}}x"]


class TestFaults:
    @pytest.mark.parametrize(
        "data",
        [
            b"<message></iq>",
            b"<message><body></message>",
            b"<presence/></presence>",
            b"<x:message/>",
            b"<message x:a='1'/>",
            b"<message a='1' a='2'/>",
            b"<message a=1/>",
            b"<message a='&lt'/>",
            b"<message a='<'/>",
            b"<message <body/>",
            b"<>",
            b"< />",
            b"</message>",
            b"</stream:stream x='y'>",
            b"<message>]]></message>",
            b"<message>&#0;</message>",
            b"<message>&#1;</message>",
            b"<message>&#xFFFF;</message>",
            b"<message>&#xD800;</message>",
            b"<message>\x00</message>",
            b"<message>\x01</message>",
            b"<message>\xef\xbf\xbf</message>",
            b"<message>\xff</message>",
            b"<message>\xc0\xbc</message>",
            b"<message>\xed\xa0\x80</message>",
            b"<message>\xe2\x82</message>",
            b"\x00",
            b"\xff",
            b"]]>",
        ],
    )
    def test_not_well_formed(self, data: bytes):
        assert condition(opened(), data) is StreamCondition.NOT_WELL_FORMED

    @pytest.mark.parametrize(
        "inside", [b"<!-- x -->", b"<?x y?>", b"<!DOCTYPE x>", b"<!ENTITY x 'y'>", b"<?xml version='1.0'?>"]
    )
    def test_restricted_xml_inside_and_between(self, inside: bytes):
        assert condition(opened(), b"<message>" + inside + b"</message>") is StreamCondition.RESTRICTED_XML
        assert condition(opened(), b"<foo><b>" + inside) is StreamCondition.RESTRICTED_XML
        assert condition(opened(), b"<presence/>", inside) is StreamCondition.RESTRICTED_XML
        assert condition(opened(), inside[:2]) is StreamCondition.RESTRICTED_XML

    def test_entities_that_nobody_declared_are_restricted_xml(self):
        assert condition(opened(), b"<message>&foo;</message>") is StreamCondition.RESTRICTED_XML
        assert condition(opened(), b"<message a='&foo;'/>") is StreamCondition.RESTRICTED_XML

    def test_cdata_between_elements_is_restricted_xml(self):
        assert condition(opened(), b"<![CDATA[ ]]>") is StreamCondition.RESTRICTED_XML

    @pytest.mark.parametrize("text", [b"hello", b"\n x <presence/>", b"&amp;", b"\xe2\x82\xac"])
    def test_text_between_elements_is_bad_format(self, text: bytes):
        assert condition(opened(), text) is StreamCondition.BAD_FORMAT

    def test_what_came_before_a_fault_is_delivered(self):
        framer = opened()
        frames = framer.feed(MESSAGE + b"<presence/>" + b"</foo>")
        assert tag(next(frames)) == f"{{{ns.CLIENT}}}message"
        assert tag(next(frames)) == f"{{{ns.CLIENT}}}presence"
        with pytest.raises(StreamError):
            next(frames)

    @pytest.mark.parametrize(
        "start",
        [
            b"<message></body>",
            b"<message><a></b>",
            b"<m a='1' a='2'>",
            b"<message>\xff",
            b"<message><a <",
            b"<a b='<",
        ],
    )
    def test_unfinished_element_is_refused_at_once(self, start: bytes):
        assert condition(opened(), start) is StreamCondition.NOT_WELL_FORMED
        assert condition(opened(), start[:3], start[3:]) is StreamCondition.NOT_WELL_FORMED

    def test_fault_of_one_connection_is_not_seen_by_another(self):
        healthy = opened()
        for data in (b"<message></body></message>", b"<presence id='/>", b"<message></message ></message>"):
            broken = opened()
            with suppress(StreamError):
                list(broken.feed(data))
            assert tags(healthy.feed(MESSAGE)) == ["message"]


class TestLimits:
    def test_size_counts_for_whole_elements(self):
        limits = Limits(stanza_bytes=len(MESSAGE))
        framer = opened()
        framer.limits = limits
        assert len(list(framer.feed(MESSAGE * 3))) == 3
        assert condition(framer, MESSAGE.replace(b"hi", b"hi!")) is StreamCondition.POLICY_VIOLATION

    @pytest.mark.parametrize(
        "start", [b"<message>", b"<message a='", b"<foo>", b"<", b"<message><![CDATA[", b"</stream"]
    )
    def test_size_counts_for_unfinished_elements_before_they_end(self, start: bytes):
        rest = LIMITS.stanza_bytes - len(start)
        framer = opened()
        assert list(framer.feed(start)) == []
        for _ in range(rest // 100):
            assert list(framer.feed(b"x" * 100)) == []
        assert list(framer.feed(b"x" * (rest % 100))) == []
        assert condition(framer, b"x") is StreamCondition.POLICY_VIOLATION

    def test_size_zero_is_no_limit(self):
        framer = opened(limits=Limits(stanza_bytes=0))
        assert tags(framer.feed(b"<message>" + b"x" * 1_000_000 + b"</message>")) == ["message"]

    def test_limits_can_be_loosened_between_elements(self):
        framer = opened(limits=Limits(stanza_bytes=100))
        large = b"<message>" + b"x" * 100 + b"</message>"
        frames = framer.feed(b"<presence/>" + large)
        next(frames)
        framer.limits = LIMITS
        assert tags(frames) == ["message"]

    @pytest.mark.parametrize("inner", [b"<a>%b</a>", b"<a b='/'>%b</a >"])
    def test_depth(self, inner: bytes):
        def nested(levels: int) -> bytes:
            data = b""
            for _ in range(levels - 1):
                data = inner.replace(b"%b", data)
            return b"<message>" + data + b"</message>"

        framer = opened()
        assert len(list(framer.feed(nested(100) + nested(100)))) == 2
        assert condition(opened(), nested(101)) is StreamCondition.POLICY_VIOLATION
        assert (
            condition(opened(), nested(100).replace(b"></a", b"><b/></a", 1))
            is StreamCondition.POLICY_VIOLATION
        )

    def test_depth_is_noticed_before_the_element_ends(self):
        framer = opened()
        assert list(framer.feed(b"<a>" * 100)) == []
        assert condition(framer, b"<a>") is StreamCondition.POLICY_VIOLATION

    def test_attributes(self):
        def wide(count: int) -> bytes:
            return b"<message" + b"".join(b" a%d='='" % number for number in range(count))

        for tail in (b"/>", b"></message>"):
            assert tags(opened().feed(wide(200) + tail)) == ["message"]
            assert condition(opened(), wide(201) + tail) is StreamCondition.POLICY_VIOLATION
        assert condition(opened(), wide(201)) is StreamCondition.POLICY_VIOLATION

    def test_attributes_are_counted_for_each_element(self):
        item = b"<item jid='a' name='b' subscription='both'/>"
        framer = opened()
        assert tags(framer.feed(b"<iq id='1'><q xmlns='u'>" + item * 150 + b"</q></iq>")) == ["iq"]
        assert tags(framer.feed(b"<message><body>" + b"=" * 3000 + b"</body></message>")) == ["message"]

    def test_a_stream_may_go_on_for_ever(self):
        """Nothing is kept of what went by: neither bytes nor names."""
        framer = opened()

        def send(rounds: range) -> None:
            for number in rounds:
                for _ in framer.feed(
                    b"<message><x%d xmlns='u%d' a%d=''/></message>" % (number, number, number)
                ):
                    pass

        send(range(20_000))
        tracemalloc.start()
        send(range(20_000, 40_000))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert grown < 5_000_000


class TestEnd:
    @pytest.mark.parametrize("end", [b"</stream:stream>", b"</stream:stream\n>"])
    def test_end_of_stream(self, end: bytes):
        framer = opened()
        frames = list(framer.feed(b"<presence/>" + end))
        assert frames[1:] == [StreamEnd()]
        in_pieces = opened()
        assert list(in_pieces.feed(end[:7])) == []
        assert list(in_pieces.feed(end[7:])) == [StreamEnd()]

    def test_what_follows_the_end_is_ignored(self):
        framer = opened()
        assert list(framer.feed(b"</stream:stream>\n<presence/>rubbish")) == [StreamEnd()]
        assert list(framer.feed(b"more")) == []
        assert framer.pending == 0

    def test_end_has_the_prefix_of_the_header(self):
        header = b"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>"
        assert list(opened(header).feed(b"</s:stream>")) == [StreamEnd()]
        assert condition(opened(header), b"</stream:stream>") is StreamCondition.NOT_WELL_FORMED


class TestBetweenItems:
    def test_reset_keeps_what_was_not_read(self):
        framer = opened()
        frames = framer.feed(b"<auth xmlns='a'/>\n" + HEADER + b"<presence/>")
        assert tag(next(frames)) == "{a}auth"
        framer.reset()
        assert isinstance(next(frames), StreamHeader)
        assert tags(frames) == ["presence"]

    def test_whitespace_before_a_restart_belonged_to_the_old_stream(self):
        framer = opened()
        list(framer.feed(b"<auth xmlns='a'/>"))
        framer.reset()
        assert list(framer.feed(b"\n")) == []
        assert isinstance(next(framer.feed(b"\n<?xml version='1.0'?>" + HEADER)), StreamHeader)

    def test_restart_may_have_other_namespaces(self):
        framer = opened()
        framer.reset()
        list(framer.feed(HEADER[:-1] + b" xmlns:x='u'>"))
        assert [framer.raw for _ in framer.feed(MESSAGE)] == [b""]

    def test_discard_drops_what_was_pipelined(self):
        framer = opened()
        frames = framer.feed(b"<starttls xmlns='t'/><auth xmlns='evil'/>" + MESSAGE[:10])
        next(frames)
        framer.discard()
        framer.reset()
        assert list(frames) == []
        assert framer.pending == 0
        assert isinstance(next(framer.feed(HEADER)), StreamHeader)

    def test_discard_drops_an_unfinished_element(self):
        framer = opened()
        list(framer.feed(MESSAGE[:40]))
        framer.discard()
        assert tags(framer.feed(b"<presence/>")) == ["presence"]

    def test_items_not_asked_for_come_later(self):
        framer = opened()
        next(framer.feed(MESSAGE + b"<presence/><iq"))
        assert framer.pending == len(b"<presence/><iq")
        assert tags(framer.feed(b"/>")) == ["presence", "iq"]

    def test_bytes_are_taken_even_if_nothing_is_asked_for(self):
        framer = opened()
        framer.feed(MESSAGE[:30])
        assert tags(framer.feed(MESSAGE[30:])) == ["message"]


class TestSharedParser:
    @pytest.mark.parametrize("data", [b"<message></iq>", b"<presence a='/>", b"<presence"])
    def test_reads_on_after_what_was_no_element(self, data: bytes):
        parser = SharedParser(HEADER)
        assert parser.read(data) is None
        read = parser.read(MESSAGE)
        assert read is not None
        assert tostring(read) == tostring(only(opened().feed(MESSAGE)))

    def test_keeps_no_half_element_after_an_unexpected_exception(self):
        parser = SharedParser(HEADER)
        feed = parser._feed

        def interrupted(data: object) -> None:
            assert isinstance(data, bytes)
            feed(data[:20])
            raise KeyboardInterrupt

        parser._feed = interrupted
        with pytest.raises(KeyboardInterrupt):
            parser.read(MESSAGE)
        read = parser.read(b"<presence/>")
        assert read is not None
        assert (read.tag, len(read)) == (f"{{{ns.CLIENT}}}presence", 0)


@pytest.mark.parametrize(
    ("start", "byte"), [(b"<message a='", b">"), (b"<message><![CDATA[", b"]"), (b"<m>", b"x")]
)
def test_the_last_bytes_of_a_large_element_cost_no_more_than_the_first(start: bytes, byte: bytes):
    """Nobody can make us read what came already again and again, by sending single bytes."""
    framer = opened(limits=Limits(stanza_bytes=0))
    list(framer.feed(start))

    def spent_on_single_bytes() -> float:
        began = time.process_time()
        for _ in range(5_000):
            for _ in framer.feed(byte):
                pass
        return time.process_time() - began

    first = min(spent_on_single_bytes() for _ in range(3))
    for _ in range(1_500):
        list(framer.feed(100 * byte))
    assert min(spent_on_single_bytes() for _ in range(3)) < 4 * first
