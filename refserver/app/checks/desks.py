"""Checks of what patrons find: a library, a queue, and somebody at its desk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refserver.app.checks.finding import Finding

__all__ = ["check_desks"]


def check_desks(
    libraries: Sequence[Mapping[str, Any]], queues: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Findings on libraries and queues, as `library list` and `queue list` have them."""
    if not libraries:
        yield Finding.note("libraries", "there is none yet", "refserverctl library add DOMAIN")
        return
    yield Finding.good("libraries", ", ".join(library["domain"] for library in libraries))
    if not queues:
        yield Finding.note("queues", "there is none yet", "refserverctl queue add ask@DOMAIN")
    for queue in queues:
        if queue["librarians"]:
            yield Finding.good("queues", f"{queue['queue']}: librarians {queue['librarians']}")
        else:
            yield Finding.note(
                "queues",
                f"{queue['queue']}: nobody works there, so every question waits",
                f"refserverctl librarian add {queue['queue']} JID",
            )
