"""An account with two devices, one of which answers nothing though its socket is alive."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.storage import offline
from tests.server.library import ASK, DOMAIN, Library, bodies, chat, write

PAT = JID.parse(f"pat@{DOMAIN}")


@pytest.fixture
def library() -> Library:
    return Library()


def test_an_answer_that_a_dead_phone_does_not_acknowledge_comes_to_the_tablet(library: Library) -> None:
    mia, phone = library.on_duty("mia"), library.patron()
    write(phone, ASK.text, "Where are the maps?")
    library.clock.advance(0)
    phone.drop()
    write(mia, chat(), "Upstairs.", "a1")
    library.clock.pump([10] * 7)
    tablet = library.client(f"{PAT}/tablet")
    tablet.send("<presence/>")
    library.clock.pump([1] * 5)
    assert bodies(tablet, ASK.text).count("Upstairs.") == 1
    library.clock.pump([60] * 20)
    assert bodies(tablet, ASK.text) == []


def test_the_same_if_the_tablet_was_there_before_the_phone_fell_silent(library: Library) -> None:
    mia, phone = library.on_duty("mia"), library.patron()
    write(phone, ASK.text, "Where are the maps?")
    tablet = library.online(f"{PAT}/tablet", "<presence><priority>-1</priority></presence>")
    library.clock.advance(0)
    phone.drop()
    write(mia, chat(), "Upstairs.", "a1")
    tablet.send("<presence/>")
    library.clock.pump([10] * 8)
    assert bodies(tablet, ASK.text).count("Upstairs.") == 1


def test_offline_messages_that_a_dead_phone_was_sent_come_to_the_tablet(library: Library) -> None:
    library.account(f"{PAT}")
    for number in range(3):
        library.arrive(
            f"<message from='sam@{DOMAIN}/x' to='{PAT}' type='chat'><body>{number}</body></message>"
        )
    phone = library.client(f"{PAT}/phone")
    phone.drop()
    phone.send("<presence/>")
    library.clock.pump([10] * 7)
    tablet = library.client(f"{PAT}/tablet")
    tablet.send("<presence/>")
    library.clock.pump([1] * 5)
    assert bodies(tablet) == ["0", "1", "2"]
    assert library.database.read_now(offline.fetch, PAT) == []
    phone.end()
    library.clock.pump([60] * 5)
    assert bodies(tablet) == []


def test_offline_messages_do_not_go_to_the_dead_phone_again(library: Library) -> None:
    library.account(f"{PAT}")
    library.arrive(f"<message from='sam@{DOMAIN}/x' to='{PAT}' type='chat'><body>0</body></message>")
    phone = library.client(f"{PAT}/phone")
    phone.drop()
    phone.send("<presence><priority>5</priority></presence>")
    tablet = library.client(f"{PAT}/tablet")
    tablet.send("<presence/>")
    library.clock.pump([10] * 8)
    assert bodies(tablet) == ["0"]
    assert library.database.read_now(offline.fetch, PAT) == []
