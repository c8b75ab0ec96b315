"""What refserverctl asks for, by name: all that it needs to talk to a running server.

Owns the lines of JSON that travel: `{"verb": "account add", "arguments": {…}}` is answered by `{"ok": data}`
or `{"refused": "line"}`. Does not know which verbs there are, nor what they do: wire.py does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from refserver.app.verbs.verb import Refused

__all__ = ["Wish", "line_of", "read_answer"]


@frozen
class Wish:
    """A verb to be done, by its words, with its arguments as JSON has them."""

    verb: str
    arguments: Mapping[str, Any] = field(factory=dict)

    @classmethod
    def to(cls, verb: str, /, **arguments: Any) -> Wish:
        """`Wish.to("library add", domain="library.example")`."""
        return cls(verb, arguments)

    @property
    def line(self) -> bytes:
        """The wish as a line."""
        return line_of({"verb": self.verb, "arguments": self.arguments})


def line_of(value: Any) -> bytes:
    """Anything of JSON as a line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_answer(line: bytes) -> Any:
    """The data of an answer. Raises `Refused` for one that says so."""
    answer = json.loads(line)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer["ok"]
