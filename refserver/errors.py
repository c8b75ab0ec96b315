"""Stanza errors (RFC 6120 8.3) and stream errors (RFC 6120 4.9) as exceptions.

A feature raises `StanzaError`; the router makes the one reply. A `StreamError` closes
the stream. What a peer did wrong is one of these two; what we did wrong is any other
exception, and is logged.
"""

from __future__ import annotations

from enum import Enum
from xml.etree.ElementTree import Element, SubElement

from refserver import ns


class Condition(Enum):
    """A defined condition of a stanza error; the value is its element's name (RFC 6120 8.3.3)."""

    BAD_REQUEST = "bad-request"
    CONFLICT = "conflict"
    FEATURE_NOT_IMPLEMENTED = "feature-not-implemented"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    ITEM_NOT_FOUND = "item-not-found"
    JID_MALFORMED = "jid-malformed"
    NOT_ACCEPTABLE = "not-acceptable"
    NOT_ALLOWED = "not-allowed"
    NOT_AUTHORIZED = "not-authorized"
    POLICY_VIOLATION = "policy-violation"
    RECIPIENT_UNAVAILABLE = "recipient-unavailable"
    REDIRECT = "redirect"
    REGISTRATION_REQUIRED = "registration-required"
    REMOTE_SERVER_NOT_FOUND = "remote-server-not-found"
    REMOTE_SERVER_TIMEOUT = "remote-server-timeout"
    RESOURCE_CONSTRAINT = "resource-constraint"
    SERVICE_UNAVAILABLE = "service-unavailable"
    SUBSCRIPTION_REQUIRED = "subscription-required"
    UNDEFINED_CONDITION = "undefined-condition"
    UNEXPECTED_REQUEST = "unexpected-request"


_AUTH = {
    Condition.FORBIDDEN,
    Condition.NOT_AUTHORIZED,
    Condition.REGISTRATION_REQUIRED,
    Condition.SUBSCRIPTION_REQUIRED,
}
_MODIFY = {
    Condition.BAD_REQUEST,
    Condition.JID_MALFORMED,
    Condition.NOT_ACCEPTABLE,
    Condition.POLICY_VIOLATION,
    Condition.REDIRECT,
}
_WAIT = {
    Condition.RECIPIENT_UNAVAILABLE,
    Condition.REMOTE_SERVER_TIMEOUT,
    Condition.RESOURCE_CONSTRAINT,
    Condition.UNEXPECTED_REQUEST,
}


def default_type(condition: Condition) -> str:
    """The error type that RFC 6120 8.3.3 recommends for `condition`."""
    if condition in _AUTH:
        return "auth"
    if condition in _MODIFY:
        return "modify"
    if condition in _WAIT:
        return "wait"
    return "cancel"


class StanzaError(Exception):
    """A stanza cannot be processed; its sender is told the condition, the stream lives on.

    `text` is for people and must hold nothing private; `app` is an application-specific
    condition element (RFC 6120 8.3.4).
    """

    def __init__(
        self, condition: Condition, text: str = "", type: str | None = None, app: Element | None = None
    ) -> None:
        super().__init__(condition.value)
        self.condition = condition
        self.text = text
        self.type = type or default_type(condition)
        self.app = app

    def element(self) -> Element:
        """The `<error/>` child of the reply."""
        error = Element(f"{{{ns.CLIENT}}}error", {"type": self.type})
        SubElement(error, f"{{{ns.STANZAS}}}{self.condition.value}")
        if self.text:
            text = SubElement(error, f"{{{ns.STANZAS}}}text", {f"{{{ns.XML}}}lang": "en"})
            text.text = self.text
        if self.app is not None:
            error.append(self.app)
        return error


class StreamCondition(Enum):
    """A defined condition of a stream error; the value is its element's name (RFC 6120 4.9.3)."""

    BAD_FORMAT = "bad-format"
    BAD_NAMESPACE_PREFIX = "bad-namespace-prefix"
    CONFLICT = "conflict"
    CONNECTION_TIMEOUT = "connection-timeout"
    HOST_GONE = "host-gone"
    HOST_UNKNOWN = "host-unknown"
    IMPROPER_ADDRESSING = "improper-addressing"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    INVALID_FROM = "invalid-from"
    INVALID_NAMESPACE = "invalid-namespace"
    INVALID_XML = "invalid-xml"
    NOT_AUTHORIZED = "not-authorized"
    NOT_WELL_FORMED = "not-well-formed"
    POLICY_VIOLATION = "policy-violation"
    REMOTE_CONNECTION_FAILED = "remote-connection-failed"
    RESET = "reset"
    RESOURCE_CONSTRAINT = "resource-constraint"
    RESTRICTED_XML = "restricted-xml"
    SEE_OTHER_HOST = "see-other-host"
    SYSTEM_SHUTDOWN = "system-shutdown"
    UNDEFINED_CONDITION = "undefined-condition"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    UNSUPPORTED_FEATURE = "unsupported-feature"
    UNSUPPORTED_STANZA_TYPE = "unsupported-stanza-type"
    UNSUPPORTED_VERSION = "unsupported-version"


class StreamError(Exception):
    """The stream cannot go on: it is closed with this error (RFC 6120 4.9.1)."""

    def __init__(self, condition: StreamCondition, text: str = "", app: Element | None = None) -> None:
        super().__init__(condition.value)
        self.condition = condition
        self.text = text
        self.app = app

    def element(self) -> Element:
        """The `<stream:error/>` element."""
        error = Element(f"{{{ns.STREAM}}}error")
        SubElement(error, f"{{{ns.STREAMS}}}{self.condition.value}")
        if self.text:
            text = SubElement(error, f"{{{ns.STREAMS}}}text", {f"{{{ns.XML}}}lang": "en"})
            text.text = self.text
        if self.app is not None:
            error.append(self.app)
        return error
