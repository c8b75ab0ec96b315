"""Which mechanisms there are, in order of preference, and which a stream may use.

A mechanism is added by one line in `_MECHANISMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from attrs import frozen

from refserver.sasl.external import External
from refserver.sasl.failure import SaslCondition, SaslFailure
from refserver.sasl.mechanism import Mechanism, Surroundings
from refserver.sasl.plain import Plain
from refserver.sasl.scram import ScramServer

# XEP-0440: the order is that of preference; both types are always offered under TLS when there is data.
TLS_EXPORTER: Final = "tls-exporter"  # RFC 9266
TLS_SERVER_END_POINT: Final = "tls-server-end-point"  # RFC 5929 4

EXTERNAL: Final = "EXTERNAL"


@frozen
class _Entry:
    make: Callable[[Surroundings], Mechanism]
    binds: bool = False  # needs channel-binding data
    reveals: bool = False  # sends the password: needs TLS
    outside: bool = False  # only where the stream knows of a proof outside SASL


_MECHANISMS: Final = {
    "SCRAM-SHA-256-PLUS": _Entry(partial(ScramServer, hash_name="SHA-256", plus=True), binds=True),
    "SCRAM-SHA-1-PLUS": _Entry(partial(ScramServer, hash_name="SHA-1", plus=True), binds=True),
    "SCRAM-SHA-256": _Entry(partial(ScramServer, hash_name="SHA-256", plus=False)),
    "SCRAM-SHA-1": _Entry(partial(ScramServer, hash_name="SHA-1", plus=False)),
    "PLAIN": _Entry(Plain, reveals=True),
    EXTERNAL: _Entry(External, outside=True),
}


def offered(tls: bool, bindings: Collection[str], plain_without_tls: bool = False) -> tuple[str, ...]:
    """The mechanisms with passwords for a stream, best first, given the channel-binding types it has
    data for.
    """
    return tuple(
        name
        for name, entry in _MECHANISMS.items()
        if (bindings or not entry.binds)
        and (tls or plain_without_tls or not entry.reveals)
        and not entry.outside
    )


def begin(name: str, surroundings: Surroundings) -> Mechanism:
    """A new exchange. Raises `SaslFailure`: invalid-mechanism, or encryption-required for one
    that this stream could use under TLS (RFC 6120 6.5.4).
    """
    entry = _MECHANISMS.get(name)
    if entry is not None and name in surroundings.offered:
        return entry.make(surroundings)
    if entry is not None and entry.reveals:
        raise SaslFailure(SaslCondition.ENCRYPTION_REQUIRED)
    raise SaslFailure(SaslCondition.INVALID_MECHANISM)
