"""Our own stream to another server as a state machine.

1. CONNECTING until the shell has a connection; then our header is sent and the peer's awaited
   (HEADER), then its features (FEATURES).
2. Without TLS, STARTTLS is asked for (PROCEED), granted, and the handshake is the shell's turn (SECURING);
   then the stream begins anew with HEADER.
3. With TLS, either SASL EXTERNAL is tried (SASL), whose success begins the stream anew; or
   there is dialback, or nothing to authenticate, and the stream is OPEN.
4. In OPEN keys and stanzas go out and answers come in.
5. We are CLOSING when our closing tag is sent and the peer's is awaited; CLOSED is the end. Both are
   possible everywhere.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Phase(Enum):
    """What the stream waits for."""

    CONNECTING = auto()
    HEADER = auto()
    FEATURES = auto()
    PROCEED = auto()
    SECURING = auto()
    SASL = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()

    # Enum's own hash is a Python function; members are single, so their identity serves and is free.
    __hash__ = object.__hash__


_END: Final = frozenset({Phase.CLOSING, Phase.CLOSED})

FOLLOWS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.CONNECTING: _END | {Phase.HEADER},
    Phase.HEADER: _END | {Phase.FEATURES},
    Phase.FEATURES: _END | {Phase.PROCEED, Phase.SASL, Phase.OPEN},
    Phase.PROCEED: _END | {Phase.SECURING},
    Phase.SECURING: _END | {Phase.HEADER},
    Phase.SASL: _END | {Phase.HEADER, Phase.OPEN},
    Phase.OPEN: _END,
    Phase.CLOSING: _END,
    Phase.CLOSED: _END,
}

DEAF: Final = frozenset({Phase.CONNECTING, Phase.SECURING, Phase.CLOSED})
"""Nothing is read: before the stream, in the handshake, after the end."""

SILENT: Final = DEAF | {Phase.CLOSING}
"""Nothing may be sent in the stream."""
