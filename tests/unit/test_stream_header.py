"""Stream headers: what is read from them, and how each fault is answered."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.xml import Framer, Limits, StreamEnd, StreamHeader

STREAM = b"xmlns:stream='http://etherx.jabber.org/streams'"
HEADER = b"<stream:stream xmlns='jabber:client' " + STREAM + b">"
DECLARATION = b"<?xml version='1.0'?>"


def read(data: bytes, in_pieces: bool = False) -> StreamHeader:
    framer = Framer(Limits(10_000))
    chunks = [data[i : i + 1] for i in range(len(data))] if in_pieces else [data]
    [header] = [frame for chunk in chunks for frame in framer.feed(chunk)]
    assert isinstance(header, StreamHeader)
    return header


def condition(data: bytes) -> StreamCondition:
    with pytest.raises(StreamError) as caught:
        list(Framer(Limits(10_000)).feed(data))
    return caught.value.condition


@pytest.mark.parametrize("in_pieces", [False, True])
def test_attributes_are_read(in_pieces: bool):
    data = (
        DECLARATION
        + b"\n<stream:stream from='a@b' to='&quot;c' id='>1' version='1.0' xml:lang='de' x='ignored' "
        + b"xmlns='jabber:server' "
        + STREAM
        + b" >"
    )
    expected = StreamHeader(
        to='"c', from_="a@b", version="1.0", id=">1", lang="de", content_namespace="jabber:server"
    )
    assert read(data, in_pieces) == expected


def test_absent_attributes_are_none():
    assert read(HEADER) == StreamHeader(None, None, None, None, None, "jabber:client")


@pytest.mark.parametrize(
    ("header", "content"),
    [
        (b"<x:stream xmlns:x='http://etherx.jabber.org/streams' xmlns='jabber:client'>", ns.CLIENT),
        (b"<stream:stream " + STREAM + b">", ""),
        (b"<stream xmlns='http://etherx.jabber.org/streams'>", ns.STREAM),
        (b"<stream:stream xmlns='foo' " + STREAM + b">", "foo"),
    ],
)
def test_content_namespace_is_the_default_namespace(header: bytes, content: str):
    assert read(header).content_namespace == content


@pytest.mark.parametrize(
    "declaration", [b"", b" \r\n", DECLARATION, b"<?xml version='1.0' encoding='utf-8'?>\n"]
)
def test_what_may_come_before(declaration: bytes):
    assert read(declaration + HEADER, in_pieces=True).content_namespace == ns.CLIENT


@pytest.mark.parametrize("encoding", [b"utf-16", b"iso-8859-1", b"us-ascii", b"foo"])
def test_other_encodings_are_refused(encoding: bytes):
    data = b"<?xml version='1.0' encoding='" + encoding + b"'?>" + HEADER
    assert condition(data) is StreamCondition.UNSUPPORTED_ENCODING


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be"])
def test_utf_16_is_refused(codec: str):
    data = HEADER.decode().encode(codec)
    assert condition(data) in (StreamCondition.UNSUPPORTED_ENCODING, StreamCondition.NOT_WELL_FORMED)


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02",
        b"\x00",
        b"  x",
        b"\xef\xbb\xbf" + HEADER,
        b" " + DECLARATION + HEADER,
        DECLARATION + b"x",
        DECLARATION + DECLARATION + HEADER,
        b"<?xml version='1.1'?>" + HEADER,
        b"<?xml encoding='UTF-8'?>" + HEADER,
        b"<?xml version='1.0'" + HEADER,
        b"<stream:stream>",
        b"<stream:stream to='a' to='b' " + STREAM + b">",
        b"<stream:stream x:to='a' " + STREAM + b">",
        b"<stream:stream to='\xff' " + STREAM + b">",
        b"<stream:stream to='a <",
        b"</stream:stream>",
    ],
)
def test_not_well_formed(data: bytes):
    expected = StreamCondition.RESTRICTED_XML if data.count(b"<?xml") > 1 else StreamCondition.NOT_WELL_FORMED
    assert condition(data) is expected


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + HEADER,
        DECLARATION + b"<!DOCTYPE x>",
        b"<!-- x -->",
        b"<?php ?>",
        b"<?xml-stylesheet href='x'?>",
        b"<stream:stream to='&foo;' " + STREAM + b">",
    ],
)
def test_restricted_xml(data: bytes):
    assert condition(data) is StreamCondition.RESTRICTED_XML


@pytest.mark.parametrize(
    "data", [b"<stream>", b"<html>", b"<stream:stream xmlns:stream='http://etherx.jabber.org/'>"]
)
def test_root_in_another_namespace_is_invalid_namespace(data: bytes):
    assert condition(data) is StreamCondition.INVALID_NAMESPACE


def test_another_root_in_the_stream_namespace_is_bad_format():
    assert condition(b"<stream:features " + STREAM + b">") is StreamCondition.BAD_FORMAT


@pytest.mark.parametrize(
    "start", [b"<stream:stream to='", b" ", b"<?xml version='1.0", HEADER[:-1] + b" a='"]
)
def test_size_is_limited_while_the_header_is_unfinished(start: bytes):
    framer = Framer(Limits(1000))
    fill = b" " if start == b" " else b"x"
    assert list(framer.feed(start)) == []
    assert list(framer.feed(fill * (1000 - len(start)))) == []
    with pytest.raises(StreamError) as caught:
        list(framer.feed(fill))
    assert caught.value.condition is StreamCondition.POLICY_VIOLATION


def test_size_is_limited_for_a_whole_header():
    long = HEADER[:-1] + b" to='" + b"x" * 10_000 + b"'>"
    assert condition(long) is StreamCondition.POLICY_VIOLATION


def test_attributes_are_limited():
    many = b"".join(b" xmlns:a%d='u'" % number for number in range(201))
    assert condition(HEADER[:-1] + many + b">") is StreamCondition.POLICY_VIOLATION


def test_an_empty_stream_ends_at_once():
    frames = list(Framer(Limits(1000)).feed(HEADER[:-1] + b"/>"))
    assert isinstance(frames[0], StreamHeader)
    assert frames[1:] == [StreamEnd()]
