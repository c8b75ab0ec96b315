"""The refusals of verbs: the errors of the domain, which the adapters turn into words.

A refusal changes nothing in the store. None of them carries a message's text or a patron's
address.
"""

from __future__ import annotations

from attrs import define

from refserver.jid import JID


class Refusal(Exception):
    """The domain says no."""


@define
class AlreadyClaimed(Refusal):
    """Somebody owns the question: `owner`, known to the desk as `by`."""

    number: int
    owner: JID
    by: str


@define
class NotYours(Refusal):
    """Only its owner may do this; `by` is the owner's nick, "" when nobody owns it."""

    number: int
    by: str


@define
class NoSuchQuestion(Refusal):
    """The library has no question of that number."""

    number: int


@define
class WrongState(Refusal):
    """The table of states has no such move: `verb` in `state`."""

    state: str
    verb: str


@define
class NotALibrarian(Refusal):
    """The address works at no desk of this queue."""

    jid: JID


@define
class NotBlockable(Refusal):
    """Who asked works for the library, or is somebody whom it always lets in."""

    number: int


@define
class NotBlocked(Refusal):
    """Nobody was blocked because of this question, or no longer is."""

    number: int


@define
class NoSuchLibrarian(Refusal):
    """No librarian of this queue has that nick."""

    nick: str


@define
class NotOffered(Refusal):
    """Nobody offered to hand this question over to the librarian who answers the offer."""

    number: int


@define
class NoSuchCannedReply(Refusal):
    """The queue has no canned reply of that name."""

    name: str


@define
class TooManyQuestions(Refusal):
    """The patron asked more new questions in an hour than the limit allows."""

    limit: int


@define
class PatronBusy(Refusal):
    """The patron has another open question here, `number`: there is one conversation a patron."""

    number: int


@define
class PatronGone(Refusal):
    """The link to the patron has been deleted: nothing can be sent any more."""

    number: int
