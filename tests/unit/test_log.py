"""The log: the level that was chosen, and one time stamp whoever reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, Any

import pytest
from twisted.logger import Logger

from refserver.app.tap import Log, Options


@pytest.fixture
def output(tmp_path: Path) -> Iterator[IO[str]]:
    """A file that takes the place of standard output."""
    with (tmp_path / "output").open("w+") as made:
        yield made


def written(log: Log, output: IO[str]) -> list[str]:
    with redirect_stdout(output):
        logger = Logger("refserver.test", observer=log())
    logger.debug("one")
    logger.info("two")
    logger.warn("three\nlines\nlong")
    logger.error("four")
    output.seek(0)
    return output.read().splitlines()


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_what_is_below_the_level_is_not_written(output: IO[str], level: str, count: int) -> None:
    log = Log({"nodaemon": True})
    log.set_level(level)
    assert len([line for line in written(log, output) if "refserver.test" in line]) == count


def test_a_line_has_the_time_and_where_it_comes_from(output: IO[str]) -> None:
    line = written(Log({"nodaemon": True}), output)[0]
    stamp, _, rest = line.partition(" ")
    assert stamp[:2] == "20"
    assert rest == "[refserver.test#info] two"


def test_the_journal_gets_the_level_of_each_line_and_no_time(
    output: IO[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.fstat(output.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert written(Log({"nodaemon": True}), output) == [
        "<6>[refserver.test#info] two",
        "<4>[refserver.test#warn] three",
        "<4>lines",
        "<4>long",
        "<3>[refserver.test#error] four",
    ]


def test_a_journal_that_somebody_else_writes_to_is_none_of_ours(
    output: IO[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert written(Log({"nodaemon": True}), output)[0][:2] == "20"


def test_a_file_is_written_where_twistd_is_told_to(tmp_path: Path) -> None:
    file = tmp_path / "refserver.log"
    Logger("refserver.test", observer=Log({"nodaemon": True, "logfile": str(file)})()).info("here")
    assert file.read_text().endswith("[refserver.test#info] here\n")


def test_a_logger_that_twistd_is_told_of_is_left_alone() -> None:
    options: Any = Options()
    options.parent = {"logger": "theirs"}
    options.parseOptions([])
    assert options.parent["logger"] == "theirs"
