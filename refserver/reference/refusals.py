"""Why a verb was refused: the domain's errors, which the adapters turn into words.

A refusal changes nothing in the store. None of them carries a message's text or a patron's
address.
"""

from __future__ import annotations

from refserver.jid import JID

__all__ = [
    "AlreadyClaimed",
    "NoSuchCannedReply",
    "NoSuchLibrarian",
    "NoSuchQuestion",
    "NotALibrarian",
    "NotBlockable",
    "NotBlocked",
    "NotOffered",
    "NotYours",
    "PatronBusy",
    "PatronGone",
    "Refusal",
    "TooManyQuestions",
    "WrongState",
]


class Refusal(Exception):
    """The domain says no."""


class AlreadyClaimed(Refusal):
    """Somebody owns the question: `owner`, known to the desk as `by`."""

    def __init__(self, number: int, owner: JID, by: str) -> None:
        super().__init__(f"#{number} is claimed by {by}")
        self.number = number
        self.owner = owner
        self.by = by


class NotYours(Refusal):
    """Only its owner may do this; `by` is the owner's nick, "" when nobody owns it."""

    def __init__(self, number: int, by: str) -> None:
        super().__init__(f"#{number} is not yours")
        self.number = number
        self.by = by


class NoSuchQuestion(Refusal):
    """The queue has no question of that number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"no question #{number}")
        self.number = number


class WrongState(Refusal):
    """The table of states has no such move: `verb` in `state`."""

    def __init__(self, state: str, verb: str) -> None:
        super().__init__(f"cannot {verb} what is {state}")
        self.state = state
        self.verb = verb


class NotALibrarian(Refusal):
    """The address works at no desk of this queue."""

    def __init__(self, jid: JID) -> None:
        super().__init__("not a librarian of this queue")
        self.jid = jid


class NotBlockable(Refusal):
    """Who asked works for the library, or is somebody whom it always lets in."""

    def __init__(self, number: int) -> None:
        super().__init__(f"who asked #{number} cannot be blocked")
        self.number = number


class NotBlocked(Refusal):
    """Nobody was blocked because of this question, or no longer is."""

    def __init__(self, number: int) -> None:
        super().__init__(f"who asked #{number} is not blocked")
        self.number = number


class NoSuchLibrarian(Refusal):
    """No librarian of this queue has that nick."""

    def __init__(self, nick: str) -> None:
        super().__init__("no librarian of that nick")
        self.nick = nick


class NotOffered(Refusal):
    """Nobody offered to hand this question over to the librarian who answers the offer."""

    def __init__(self, number: int) -> None:
        super().__init__(f"#{number} was not handed to you")
        self.number = number


class NoSuchCannedReply(Refusal):
    """The queue has no canned reply of that name."""

    def __init__(self, name: str) -> None:
        super().__init__("no canned reply of that name")
        self.name = name


class TooManyQuestions(Refusal):
    """The patron asked more new questions in an hour than the limit allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} questions an hour")
        self.limit = limit


class PatronBusy(Refusal):
    """The patron has another open question here, `number`: there is one conversation a patron."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the patron has asked #{number} meanwhile")
        self.number = number


class PatronGone(Refusal):
    """The link to the patron has been deleted: nothing can be sent any more."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the patron of #{number} is no longer known")
        self.number = number
