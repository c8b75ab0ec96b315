"""Stanza errors (RFC 6120 8.3) and stream errors (RFC 6120 4.9) as exceptions.

A feature raises `StanzaError`; the router makes the one reply. A `StreamError` closes
the stream. What a peer did wrong is one of these two; what we did wrong is any other
exception, and is logged.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from xml.etree.ElementTree import Element, SubElement

from attrs import frozen

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
        return _described(error, ns.STANZAS, self.condition.value, self.text, self.app)


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
        return _described(error, ns.STREAMS, self.condition.value, self.text, self.app)


def _described(error: Element, namespace: str, condition: str, text: str, app: Element | None) -> Element:
    SubElement(error, f"{{{namespace}}}{condition}")
    if text:
        SubElement(error, f"{{{namespace}}}text", {f"{{{ns.XML}}}lang": "en"}).text = text
    if app is not None:
        error.append(app)
    return error


class Cause(StrEnum):
    """Why there is no stream with another server, or why one ended. The values are for logs."""

    # finding the server
    NO_SERVER = "DNS has no XMPP server for it"
    NO_ADDRESS = "DNS has no address for its server"
    NO_DNS_ANSWER = "the name servers do not answer"
    # connecting
    CONNECTION_REFUSED = "connection refused"
    CONNECTION_TIMEOUT = "no connection in time"
    NO_ROUTE = "no route to its server"
    CONNECTION_FAILED = "the connection failed"
    CONNECTION_LOST = "the connection was lost"
    TLS_FAILED = "the TLS handshake failed"
    NO_TLS = "the server offers no TLS"
    TOO_MANY = "too many servers do not answer"
    # its certificate
    NO_CERTIFICATE = "no certificate was shown"
    UNREADABLE_CERTIFICATE = "the certificate cannot be read"
    UNVERIFIED_CERTIFICATE = "the certificate was not verified"
    CERTIFICATE_NOT_YET_VALID = "the certificate is not valid yet"
    CERTIFICATE_EXPIRED = "the certificate has expired"
    SELF_SIGNED = "the certificate is self-signed"
    UNKNOWN_AUTHORITY = "the certificate was signed by an authority that is not trusted here"
    INCOMPLETE_CHAIN = (
        "the certificate was signed by an authority that is not trusted here, "
        "or certificates between the two are missing"
    )
    INVALID_CERTIFICATE = "the certificate is not valid"
    WRONG_NAME = "the certificate is not for this domain"
    # what it says of us
    OUR_CERTIFICATE_REFUSED = "the server does not accept our certificate"
    OUR_KEY_REFUSED = "the server says that our dialback key is not valid"
    WE_ARE_UNREACHABLE = "the server cannot reach us for dialback"
    DIALBACK_REFUSED = "the server refuses dialback"
    NOT_SERVED = "the server does not serve this domain"
    WE_ARE_REFUSED = "the server does not accept that we are who we say"
    AGAINST_POLICY = "our stream is against the server's policy"
    SHUT_DOWN = "the server is being shut down"
    BUSY = "the server is too busy"
    # what it does
    TOO_SLOW = "the server did not answer in time"
    NOTHING_ACKNOWLEDGED = "the server acknowledged nothing in time"
    KEY_NOT_VERIFIED = "the server did not verify its dialback key"
    PROTOCOL_BROKEN = "the server broke the protocol"
    WE_CLOSED = "its stream was closed here"
    CLOSED_WITH_ERROR = "the server closed the stream with an error"
    CLOSED = "the stream was closed"


@frozen
class StreamFault:
    """A fault in dealing with another server.

    `detail` names the address, host or error condition that the cause is about. `said` is the peer's text.
    Both may be the peer's choice of words.
    """

    cause: Cause
    detail: str = ""
    said: str = ""

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.cause}{detail}" + (f" ({self.said})" if self.said else "")
