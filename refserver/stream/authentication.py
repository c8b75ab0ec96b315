"""SASL as elements on a stream (RFC 6120 6.4): one exchange after the other.

The mechanisms are in `refserver.sasl`. When which element may come is the stream's business.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from refserver import ns
from refserver.jid import JID
from refserver.sasl import (
    Challenge,
    Credentials,
    Mechanism,
    NeedCredentials,
    SaslCondition,
    SaslFailure,
    Step,
    Success,
    Surroundings,
    begin,
    decode,
    encode,
)
from refserver.xml.element import Element, element
from refserver.xml.write import serialise

AUTH: Final = f"{{{ns.SASL}}}auth"
RESPONSE: Final = f"{{{ns.SASL}}}response"
ABORT: Final = f"{{{ns.SASL}}}abort"


@define
class Authentication:
    """The exchanges between one header and the next. Its methods raise `SaslFailure`.

    `mechanism` and `account` are those of the newest exchange; `account` is None as long as
    no possible one was named.
    """

    surroundings: Surroundings
    mechanism: str = ""
    account: JID | None = None
    _exchange: Mechanism | None = field(default=None, init=False)

    def take(self, received: Element) -> Step:
        """Let the peer's element have its effect: `<auth/>`, `<response/>` or `<abort/>`."""
        if received.tag == AUTH:
            return self._begin(received)
        if received.tag == ABORT:
            raise SaslFailure(SaslCondition.ABORTED)
        if self._exchange is None:
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
        return self._claimed(self._exchange.respond(decode(received.text or "")))

    def _begin(self, auth: Element) -> Step:
        if self._exchange is not None:  # begun amid another one, which fails of it
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST)
        self.mechanism, self.account = "", None
        name = auth.get("mechanism", "")
        exchange = begin(name, self.surroundings)
        self.mechanism, self._exchange = name, exchange
        return self._claimed(exchange.respond(decode(auth.text) if auth.text else None))

    def _claimed(self, step: Step) -> Step:
        if isinstance(step, NeedCredentials):
            self.account = step.account
        return step

    def credentials(self, found: Credentials | SaslFailure | None) -> Step:
        """Pass on what the shell has found."""
        if isinstance(found, SaslFailure):
            raise found
        return self._running().credentials(found)

    def password_checked(self, right: bool) -> Step:
        """Pass on whether the password was right."""
        return self._running().password_checked(right)

    def _running(self) -> Mechanism:
        if self._exchange is None:
            raise RuntimeError("no exchange is under way")
        return self._exchange

    def failed(self) -> None:
        """The exchange is over; another may begin."""
        self._exchange = None


def challenge(step: Challenge) -> bytes:
    """`<challenge/>`; empty if there is no data."""
    return serialise(element(ns.SASL, "challenge", text=encode(step.data)))


def success(step: Success) -> bytes:
    """`<success/>` with the mechanism's last word, if it has one."""
    return serialise(element(ns.SASL, "success", text=encode(step.data)))


def failure(reason: SaslFailure) -> bytes:
    """`<failure/>` with its condition."""
    made = element(ns.SASL, "failure", None, element(ns.SASL, reason.condition.value))
    if reason.text:
        made.append(element(ns.SASL, "text", {f"{{{ns.XML}}}lang": "en"}, text=reason.text))
    return serialise(made)
