"""What a mutant is: one place in refserver made wrong on purpose, and the tests that must notice."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Mutant"]


@frozen
class Mutant:
    """`text`, which stands exactly once in `file`, becomes `replacement`; one of `tests` must fail then.

    `file` is a path from the root of the project, `tests` are pytest's node ids. `why` says what
    a server with this fault would do. A `telling` one is checked by every run of the suite.
    """

    name: str
    file: str
    text: str
    replacement: str
    why: str
    tests: tuple[str, ...]
    telling: bool = False
