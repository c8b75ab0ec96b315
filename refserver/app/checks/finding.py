"""What a check has found."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["Finding", "Result"]


class Result(StrEnum):
    """GOOD needs nothing, NOTE is worth knowing, WRONG keeps something from working."""

    GOOD = "good"
    NOTE = "note"
    WRONG = "wrong"


@frozen
class Finding:
    """One thing looked at: about what, what was found, and how to mend it ("" where nothing is to do)."""

    result: Result
    about: str
    found: str
    mend: str = ""

    @classmethod
    def good(cls, about: str, found: str) -> Finding:
        """It is as it should be."""
        return cls(Result.GOOD, about, found)

    @classmethod
    def note(cls, about: str, found: str, mend: str = "") -> Finding:
        """It works, but is worth knowing."""
        return cls(Result.NOTE, about, found, mend)

    @classmethod
    def wrong(cls, about: str, found: str, mend: str) -> Finding:
        """It does not work."""
        return cls(Result.WRONG, about, found, mend)
