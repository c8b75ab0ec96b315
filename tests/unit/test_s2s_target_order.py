"""The order in which the places of another server are tried."""

from __future__ import annotations

from collections import Counter
from random import Random

from refserver.s2s.resolver import Record, Target, arrange, fallback, interleave, literal


def hosts(targets: list[Target]) -> list[str]:
    return [target.host for target in targets]


def test_lower_priorities_come_first_whatever_their_weight():
    records = [Record(20, 1000, "c", 1), Record(10, 0, "b", 1), Record(5, 1, "a", 1)]
    assert ["a", "b", "c"] == hosts(arrange(records, Random(1).random))


def test_weights_say_how_often_a_record_is_first():
    records = [Record(1, 10, "seldom", 1), Record(1, 90, "often", 1)]
    random = Random(7).random
    first = Counter(arrange(records, random)[0].host for _ in range(2000))
    assert 1700 < first["often"] < 1900
    assert 100 < first["seldom"] < 300


def test_weight_zero_is_chosen_seldom_beside_others_but_never_left_out():
    records = [Record(1, 0, "spare", 1), Record(1, 100, "main", 1)]
    random = Random(7).random
    orders = Counter(tuple(hosts(arrange(records, random))) for _ in range(2000))
    assert {("main", "spare"), ("spare", "main")} == set(orders)
    assert orders["spare", "main"] < 60


def test_records_of_weight_zero_share_evenly():
    records = [Record(1, 0, "left", 1), Record(1, 0, "right", 1)]
    random = Random(3).random
    first = Counter(arrange(records, random)[0].host for _ in range(1000))
    assert 400 < first["left"] < 600


def test_records_with_and_without_direct_tls_are_one_set():
    records = [Record(2, 0, "a", 5269), Record(1, 0, "b", 5270, direct_tls=True)]
    assert [Target("b", 5270, True), Target("a", 5269, False)] == arrange(records, Random(1).random)


def test_the_root_as_target_is_no_service():
    assert [] == arrange([Record(0, 0, "", 0)], Random(1).random)
    assert ["a"] == hosts(arrange([Record(0, 0, "", 0), Record(1, 0, "a", 1)], Random(1).random))


def test_a_domain_without_records_is_tried_itself():
    assert [Target("library.example", 5269)] == fallback("library.example")


def test_families_take_turns_and_version_6_begins():
    assert ["6a", "4a", "6b", "4b", "4c"] == interleave(["6a", "6b"], ["4a", "4b", "4c"])


def test_addresses_are_told_from_names():
    assert "127.0.0.2" == literal("127.0.0.2")
    assert "::1" == literal("[::1]")
    assert literal("library.example") is None
    assert literal("1.2.3") is None
