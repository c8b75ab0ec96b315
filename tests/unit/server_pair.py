"""Plays the shells at both ends of a stream between servers: library.example is ours, peer.example theirs."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from refserver.errors import Cause, StreamFault
from refserver.stanza import Stanza
from refserver.stream.dialback import check_key
from refserver.stream.events import CountWanted, KeyToVerify, StartTLS, StreamFailed
from refserver.stream.policy import ServerPolicy, TLSInfo
from refserver.stream.server_inbound import ServerInbound
from refserver.stream.server_outbound import ServerOutbound
from refserver.xml import Limits

PEER, OURS = "peer.example", "library.example"
HOSTS = {OURS, "other.example"}
SECRET, THEIR_SECRET = b"our secret", b"their secret"
BEFORE, AFTER = Limits(10_000), Limits(262_144)
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
BIDI = b"<bidi xmlns='urn:xmpp:bidi'/>"


def tls(*domains: str, cause: Cause = Cause.WRONG_NAME) -> TLSInfo:
    """A session in which the other end's certificate proves `domains`."""
    return TLSInfo(
        "TLSv1.3", proves=lambda domain: domain in domains, why_not=lambda domain: StreamFault(cause)
    )


def policy(**changes) -> ServerPolicy:
    return ServerPolicy(BEFORE, AFTER, **{"management": False, **changes})


def header(from_: str | None = PEER, to: str | None = OURS, more="", content="jabber:server") -> bytes:
    attributes = "".join(f" {name}='{value}'" for name, value in (("from", from_), ("to", to)) if value)
    return (
        f"<?xml version='1.0'?><stream:stream{attributes} version='1.0' xmlns='{content}'"
        f" xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams'{more}>"
    ).encode()


def answer(id_="s1", from_=PEER, to=OURS) -> bytes:
    """The header of a serving peer."""
    return header(from_, to, f" id='{id_}'")


HEADER = header()


def external(authzid: str | None = "") -> bytes:
    text = "" if authzid is None else base64.b64encode(authzid.encode()).decode() or "="
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{text}</auth>".encode()


def result(from_=PEER, to=OURS, key="k1", type_="") -> bytes:
    attribute = f" type='{type_}'" if type_ else ""
    return f"<db:result from='{from_}' to='{to}'{attribute}>{key}</db:result>".encode()


def verify(from_=PEER, to=OURS, key="k1", id_="s1", type_="") -> bytes:
    attribute = f" type='{type_}'" if type_ else ""
    return f"<db:verify from='{from_}' to='{to}' id='{id_}'{attribute}>{key}</db:verify>".encode()


def message(from_: str | None = f"pat@{PEER}/home", to: str | None = f"mia@{OURS}", more="") -> bytes:
    attributes = "".join(f" {name}='{value}'" for name, value in (("from", from_), ("to", to)) if value)
    return f"<message{attributes} id='m1'{more}><body>a &amp; b</body></message>".encode()


class End:
    """One end: `events` are all so far; `send` gives bytes in and returns what came out."""

    stream: Any

    def __init__(self):
        self.events: list[Any] = []
        self.output = b""

    def send(self, data: bytes) -> bytes:
        self.walk(self.stream.receive(data))
        return self.take()

    def take(self) -> bytes:
        self.output += self.stream.take_output()
        output, self.output = self.output, b""
        return output

    def walk(self, events: Iterable[Any]) -> None:
        for event in events:
            self.events.append(event)
            self.output += self.stream.take_output()
            self.react(event)

    def react(self, event: Any) -> None:
        """Answer what the stream asks."""
        if isinstance(event, CountWanted):
            self.stream.tell_count(event.handled)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def condition(self) -> str:
        """The condition of the stream error that ended the stream; "" if it lives."""
        last = self.events[-1] if self.events else None
        return last.error.condition.value if isinstance(last, StreamFailed) else ""


class Serving(End):
    """Our receiving side. `proofs` is what the TLS session proves once there is one; `verdict` is the
    answer about keys, None to leave them waiting.
    """

    def __init__(self, proofs: TLSInfo | None = None, direct=True, verdict: Any = None, **changes):
        super().__init__()
        self.proofs = proofs or tls()
        self.verdict = verdict
        more = {"welcomes": changes.pop("welcomes")} if "welcomes" in changes else {}
        more["tls"] = self.proofs if direct else None
        self.stream = ServerInbound(HOSTS.__contains__, policy(**changes), SECRET, **more)

    def react(self, event: Any) -> None:
        if isinstance(event, StartTLS):
            self.stream.tls_started(self.proofs)
        elif isinstance(event, KeyToVerify) and self.verdict is not None:
            self.walk(self.stream.key_verified(event, self.verdict))
        else:
            super().react(event)


class Initiating(End):
    """Our stream to peer.example, begun."""

    def __init__(self, proofs: TLSInfo | None = None, direct=True, verify_only=False, **changes):
        super().__init__()
        self.proofs = proofs or tls(PEER)
        self.stream = ServerOutbound(
            OURS, PEER, policy(**changes), SECRET, self.proofs if direct else None, verify_only=verify_only
        )
        self.walk(self.stream.start())

    def react(self, event: Any) -> None:
        if isinstance(event, StartTLS):
            self.walk(self.stream.tls_started(self.proofs))
        else:
            super().react(event)


class Federation:
    """peer.example connects to us: their initiating stream and our serving one, joined by bytes.

    `proof` is what their certificate proves to us, `our_proof` what ours does to them. Keys are checked as by
    the authoritative server of peer.example, even if it is somebody else who connects (`liar`).
    """

    def __init__(
        self, proof=None, our_proof=None, liar=False, offer_tls=True, chunk=0, theirs=None, **changes
    ):
        self.ours = Serving(proof or tls(PEER), direct=False, offer_tls=offer_tls, **changes)
        self.theirs = End()
        self.chunk = chunk
        seen = our_proof or tls(OURS)
        secret = b"a liar's secret" if liar else THEIR_SECRET
        self.theirs.stream = stream = ServerOutbound(PEER, OURS, policy(**(theirs or changes)), secret)
        self.theirs.react = lambda event: (  # type: ignore[method-assign]  # as a shell would
            self.theirs.walk(stream.tls_started(seen)) if isinstance(event, StartTLS) else None
        )
        self.theirs.walk(stream.start())
        self.run()

    def run(self) -> None:
        """Carry bytes to and fro, and answer keys as their domain's own server would, until all is quiet."""
        busy = True
        while busy:
            data = self.theirs.take()
            back = self._feed(self.ours, data) + self.ours.take()
            self.theirs.output += self._feed(self.theirs, back)
            for asked in self.ours.of(KeyToVerify):
                right = check_key(THEIR_SECRET, asked.to, asked.from_, asked.stream_id, asked.key)
                self.ours.walk(self.ours.stream.key_verified(asked, right))
            self.ours.output += self.ours.stream.take_output()
            busy = bool(data or back or self.theirs.output or self.ours.output)

    def _feed(self, end: End, data: bytes) -> bytes:
        size = self.chunk or len(data) or 1
        return b"".join(end.send(data[start : start + size]) for start in range(0, len(data), size))

    def deliver(self, data: bytes) -> list[Stanza]:
        """The events that a stanza of theirs leads to."""
        self.ours.send(data)
        return self.ours.of(Stanza)
