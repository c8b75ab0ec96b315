"""What a way sees of a stream on which its stanzas go out: one of ours, or one of the peer's (XEP-0288)."""

from __future__ import annotations

from typing import Protocol

from refserver.errors import StreamError, StreamFault

__all__ = ["BidiLink", "Link", "LinkUser"]


class LinkUser(Protocol):
    """A way that uses the stream."""

    def managed(self, link: Link) -> None:
        """It is decided whether the peer tells what it has handled (XEP-0198)."""

    def confirmed(self, link: Link, number: int) -> None:
        """The peer has handled everything up to the stanza with that number."""

    def ended(self, link: Link, fault: StreamFault) -> None:
        """The stream is over."""


class Link(Protocol):
    """A stream that carries stanzas from one of our domains to one of the peer's."""

    users: list[LinkUser]

    @property
    def usable(self) -> bool:
        """Whether what is sent now has a chance to arrive."""

    @property
    def managed(self) -> bool | None:
        """Whether the peer tells what it has handled (XEP-0198); None while that is open."""

    @property
    def unsent(self) -> int:
        """Bytes that have not reached the peer's machine yet."""

    def send_bytes(self, data: bytes) -> int:
        """Send a stanza, only while `usable`; its number on the stream.

        Raises `StanzaError` if the peer takes none of that size.
        """

    def ask(self) -> None:
        """Ask the peer what it has handled, if it is managed and does not owe the answer already."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, at once with an error, in order without."""


class BidiLink(Link, Protocol):
    """A stream that the other server opened, and on which it may take our stanzas too (XEP-0288)."""

    def carries(self, from_: str, to: str) -> bool:
        """Whether it takes stanzas from our domain `from_` to the peer's `to`."""
