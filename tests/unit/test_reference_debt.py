"""How long what is owed waits, and what an error stanza says."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.errors import Condition
from refserver.jid import JID
from refserver.reference.outbox import PAUSES, error_of, pause_after
from refserver.stanza import Stanza
from refserver.xml.write import parse

PAT = JID.parse("pat@home.example")
STANZAS = f"xmlns='{ns.STANZAS}'"


@pytest.mark.parametrize(
    "minutes, pause", [(0, 1), (0.9, 1), (1, 5), (5.9, 5), (6, 15), (21, 30), (51, 60), (111, 60), (4000, 60)]
)
def test_the_older_it_is_the_longer_it_waits(minutes: float, pause: float) -> None:
    assert 60 * pause == pause_after(60 * minutes)


@pytest.mark.parametrize("random, part", [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_pauses_are_scattered(random: float, part: float) -> None:
    assert PAUSES[0] * part == pytest.approx(pause_after(0, random))


@pytest.mark.parametrize(
    "error, expected",
    [
        (f"<error type='cancel'><gone {STANZAS}>xmpp:a@b</gone></error>", (Condition.GONE, "cancel")),
        (
            f"<error type='wait'><text {STANZAS}>Full</text><resource-constraint {STANZAS}/></error>",
            (Condition.RESOURCE_CONSTRAINT, "wait"),
        ),
        ("<error type='wait'><gone xmlns='urn:x'/></error>", (Condition.UNDEFINED_CONDITION, "wait")),
        (f"<error><new-one {STANZAS}/></error>", (Condition.UNDEFINED_CONDITION, "")),
        ("<body>no error at all</body>", (Condition.UNDEFINED_CONDITION, "")),
    ],
)
def test_what_an_error_says(error: str, expected: tuple[Condition, str]) -> None:
    element = parse(f"<message xmlns='{ns.CLIENT}' type='error'>{error}</message>".encode())
    assert expected == error_of(Stanza("message", element, PAT, PAT))
