"""The counters of stream management: what is confirmed, what is handled, and what cannot be."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from refserver.errors import StreamCondition, StreamError
from refserver.stream.management import Management

SM = "urn:xmpp:sm:3"


def managed(sent: int = 0) -> Management:
    management = Management()
    management.start()
    management.turned_on()
    management.sent = sent
    return management


def ack(management: Management, count: object) -> int:
    management.acknowledged(fromstring(f"<a xmlns='{SM}' h='{count}'/>"))
    return management.confirmed


def test_what_the_peer_has_counted_is_confirmed():
    management = managed(5)
    assert [0, 2, 2, 5] == [ack(management, count) for count in (0, 2, 2, 5)]


@pytest.mark.parametrize("count", [4, 1 << 31, (1 << 32) - 1, 1 << 32, 10**19])
def test_more_than_was_sent_is_an_error_with_both_counts(count):
    management = managed(3)
    with pytest.raises(StreamError) as raised:
        ack(management, count)
    error = raised.value.element()
    assert StreamCondition.UNDEFINED_CONDITION is raised.value.condition
    (detail,) = error.findall(f"{{{SM}}}handled-count-too-high")
    assert {"h": str(count), "send-count": "3"} == detail.attrib
    assert 0 == management.confirmed


def test_a_count_that_goes_back_is_an_error():
    management = managed(3)
    ack(management, 3)
    with pytest.raises(StreamError) as raised:
        ack(management, 2)
    assert StreamCondition.UNDEFINED_CONDITION is raised.value.condition


@pytest.mark.parametrize("count", ["", "-1", "1.0", "one", " 1", "٣", "1" * 21])
def test_what_is_no_count_is_an_error(count):
    with pytest.raises(StreamError) as raised:
        ack(managed(3), count)
    assert StreamCondition.BAD_FORMAT is raised.value.condition


def test_an_acknowledgement_without_a_count_is_an_error():
    with pytest.raises(StreamError):
        managed(3).acknowledged(fromstring(f"<a xmlns='{SM}'/>"))


def test_counts_begin_again_at_zero_after_the_largest():
    management = managed((1 << 32) - 2)
    ack(management, (1 << 32) - 2)
    management.sent += 3
    assert (1 << 32) - 1 == ack(management, (1 << 32) - 1)
    assert (1 << 32) + 1 == ack(management, 1)
    management.handled = (1 << 32) + 7
    assert f"<a xmlns='{SM}' h='7'/>".encode() == management.answer()


def test_what_was_sent_before_it_was_managed_does_not_count_but_is_confirmed_with_the_rest():
    management = Management()
    management.sent = 4
    management.start()
    management.turned_on()
    management.sent += 2
    assert 4 == ack(management, 0)
    with pytest.raises(StreamError):
        ack(management, 3)
    assert 6 == ack(management, 2)


def test_only_one_question_is_open_at_a_time():
    management = managed(1)
    assert f"<r xmlns='{SM}'/>".encode() == management.request()
    assert b"" == management.request()
    ack(management, 0)
    assert b"" != management.request()


def test_without_management_nothing_is_asked_or_told():
    management = Management()
    management.handled = 3
    assert (b"", b"") == (management.request(), management.answer())
    management.turned_on()
    assert f"<a xmlns='{SM}' h='0'/>".encode() == management.answer()
