"""The files with the secrets of components: what is read, and what stops the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs

from refserver.app.listeners import Components, read_secrets
from refserver.app.parts import CannotStart
from refserver.components.service import DomainTaken

DOMAIN = "sms.library.example"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a name with a password"
    path.write_text("a shared secret\n")
    path.chmod(0o600)
    return path


class Service:
    """Stands in for the service: keeps what it takes up."""

    def __init__(self, taken: str = "") -> None:
        self.taken = taken
        self.secrets: dict[str, str] = {}
        self.ports: list[object] = []

    def take_up(self, secrets: dict[str, str]) -> None:
        if self.taken in secrets:
            raise DomainTaken(self.taken)
        self.secrets = secrets

    def listen(self, port: object) -> None:
        self.ports.append(port)


def part(service: Any, files: dict[str, Path]) -> Components:
    return Components(None, service, (), files)


def test_a_secret_is_what_the_file_holds_without_space_around_it(file: Path) -> None:
    file.write_text("  ein Geheimnis mit Lücke \r\n", "utf-8")
    with capturedLogs() as logged:
        assert read_secrets({DOMAIN: file}) == {DOMAIN: "ein Geheimnis mit Lücke"}
    assert logged == []


def test_a_file_that_everybody_can_read_is_a_warning(file: Path) -> None:
    file.chmod(0o644)
    with capturedLogs() as logged:
        read_secrets({DOMAIN: file})
    assert [event["domain"] for event in logged] == [DOMAIN]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b" \n\n\n", "is empty"),
        (b"\xff" * 9, "UTF-8"),
    ],
)
def test_what_cannot_be_a_secret_stops_the_start_and_is_not_told(
    file: Path, content: bytes | None, why: str
) -> None:
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(CannotStart) as caught:
        read_secrets({DOMAIN: file})
    said = str(caught.value)
    assert said.startswith(f"the file of {DOMAIN} ")
    assert why in said
    assert "components.secret_files" in said
    assert "password" not in said


def test_a_short_secret_is_a_warning_that_does_not_tell_it(file: Path) -> None:
    file.write_text("seven77\n")
    with capturedLogs() as logged:
        assert read_secrets({DOMAIN: file}) == {DOMAIN: "seven77"}
    assert [(event["domain"], event["least"]) for event in logged] == [(DOMAIN, 8)]
    assert "seven77" not in str(logged)


def test_a_domain_that_is_a_librarys_stops_the_start(file: Path) -> None:
    with pytest.raises(CannotStart, match=f"{DOMAIN} is a library here"):
        part(Service(taken=DOMAIN), {DOMAIN: file}).start()


def test_a_secret_that_went_bad_leaves_the_others_as_they_were(file: Path) -> None:
    service = Service()
    components = part(service, {DOMAIN: file})
    components.start()
    file.write_text("")
    with pytest.raises(CannotStart):
        components.reload()
    assert service.secrets == {DOMAIN: "a shared secret"}


class Reactor:
    """Must not be asked to listen."""


def test_nothing_listens_while_no_component_is_configured() -> None:
    service: Any = Service()
    components = Components(Reactor(), service, ("tcp:5347",), {})
    components.start()
    assert not components.listening
    assert service.ports == []
