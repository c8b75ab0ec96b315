"""Plays the shell of a `ClientStream`: what the stream asks is answered at once from a few accounts."""

from __future__ import annotations

import base64
import re
from typing import Any

from refserver.errors import Condition, StanzaError
from refserver.sasl import Credentials, FakeVerifiers, check_password, make_verifier
from refserver.stanza import Stanza
from refserver.stream.client import ClientStream
from refserver.stream.events import (
    BindRequested,
    CredentialsWanted,
    PasswordCheckWanted,
    RegistrationRequest,
    Reply,
    StartTLS,
    StreamFailed,
)
from refserver.stream.policy import StreamPolicy, TLSInfo
from refserver.xml import Limits
from tests.unit.scram_client import ScramClient

STREAMS = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
HOSTS = {"library.example", "other.example"}
FAKE = FakeVerifiers(b"k" * 32, iterations=2)
TLS = TLSInfo("TLSv1.3", exporter=b"e" * 32, server_end_point=b"s" * 32)
STORED = Credentials({name: make_verifier("secret", name, b"salt" * 4, 2) for name in ("SHA-1", "SHA-256")})
BEFORE, AFTER = Limits(10_000), Limits(262_144)


def header(to="library.example", version="1.0", content="jabber:client", stream=STREAMS, more=""):
    attributes = "".join(
        f" {name}='{value}'" for name, value in (("to", to), ("version", version)) if value is not None
    )
    text = f"<?xml version='1.0'?><stream:stream{attributes} xmlns='{content}' xmlns:stream='{stream}'{more}>"
    return text.encode()


HEADER = header()
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
BIND = b"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"


def sasl(name: str, data: bytes | None = None, mechanism="") -> bytes:
    attribute = f" mechanism='{mechanism}'" if mechanism else ""
    text = "" if data is None else base64.b64encode(data).decode() or "="
    return f"<{name} xmlns='{SASL}'{attribute}>{text}</{name}>".encode()


def auth(mechanism: str, data: bytes | None = None) -> bytes:
    return sasl("auth", data, mechanism)


def plain(username="pat", password="secret", authzid="") -> bytes:
    return auth("PLAIN", f"{authzid}\0{username}\0{password}".encode())


def policy(**changes) -> StreamPolicy:
    return StreamPolicy(BEFORE, AFTER, **changes)


class Shell:
    """`events` are all so far; `send` gives bytes in and returns what came out."""

    def __init__(self, tls: TLSInfo | None = TLS, asks=True, **changes):
        # Any: a test knows which event or value it looks at
        self.stream: Any = ClientStream(HOSTS.__contains__, policy(**changes), FAKE, tls=tls)
        self.accounts = {"pat@library.example": STORED}
        self.events: list[Any] = []
        self.asks = asks  # whether questions are answered
        self.output = b""

    def send(self, data: bytes) -> bytes:
        self.walk(self.stream.receive(data))
        return self.take()

    def take(self) -> bytes:
        self.output += self.stream.take_output()
        output, self.output = self.output, b""
        return output

    def walk(self, events) -> None:
        for event in events:
            self.events.append(event)
            self.output += self.stream.take_output()
            if isinstance(event, Reply):
                self.output += event.stanza.wire()
            if self.asks:
                self._answer(event)

    def _answer(self, event: object) -> None:
        stream = self.stream
        if isinstance(event, CredentialsWanted):
            self.walk(stream.credentials(self.accounts.get(event.account.text)))
        elif isinstance(event, PasswordCheckWanted):
            self.walk(stream.password_checked(check_password(event.verifier, event.password)))
        elif isinstance(event, BindRequested):
            if event.resource == "taken":
                self.walk(stream.bind_refused(StanzaError(Condition.CONFLICT)))
            else:
                self.walk(stream.bound(event.jid))
        elif isinstance(event, StartTLS):
            stream.tls_started(TLS)
        elif isinstance(event, RegistrationRequest):
            self.walk(stream.registration_answered(event.stanza.result()))

    @property
    def last(self) -> Any:
        return self.events[-1]

    @property
    def stanzas(self) -> list[Stanza]:
        return [event for event in self.events if isinstance(event, Stanza)]

    @property
    def condition(self) -> str:
        """The condition of the stream error that ended the stream; "" if it lives."""
        last = self.events[-1] if self.events else None
        return last.error.condition.value if isinstance(last, StreamFailed) else ""


def opened(**options) -> Shell:
    """A stream whose features have been sent."""
    shell = Shell(**options)
    shell.send(HEADER)
    return shell


def authenticated(more="", **options) -> Shell:
    """… that is authenticated and restarted, with `more` in the second header."""
    shell = opened(**options)
    shell.send(plain() + header(more=more))
    shell.events.clear()
    return shell


def bound(resource="desk", **options) -> Shell:
    """… that is bound as pat@library.example/desk."""
    shell = authenticated(**options)
    shell.send(BIND.replace(b"bind'/>", f"bind'><resource>{resource}</resource></bind>".encode()))
    shell.events.clear()
    return shell


def log_in_with_scram(shell: Shell, hash_name="SHA-256", **options) -> bytes:
    """The success or failure that a SCRAM client gets."""
    client = ScramClient("pat", "secret", hash_name, **options)
    name = f"SCRAM-{hash_name}" + ("-PLUS" if client.binding_data else "")
    answer = shell.send(auth(name, client.first()))
    challenge = re.fullmatch(rb"<challenge xmlns='[^']*'>([^<]*)</challenge>", answer)
    if challenge is None:
        return answer
    return shell.send(sasl("response", client.final(base64.b64decode(challenge[1]))))
