"""This machine's addresses, as far as checks need them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from attrs import frozen

from refserver.app.checks.ports import bind_error

__all__ = ["Machine", "this_machine"]

# For documentation (RFC 5737, RFC 3849), and nothing is sent there: only the way to it is looked up.
_SOMEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


@frozen
class Machine:
    """This machine: which addresses are its own, and those by which others may reach it, if it knows."""

    has: Callable[[str], bool]
    public_addresses: Sequence[str] = ()


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(lambda address: bind_error(address, 0) == 0, tuple(_public_addresses()))


def _public_addresses() -> Iterator[str]:
    """The addresses that packets to others would come from, where those are not private ones."""
    for family, elsewhere in _SOMEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                address: str = probe.getsockname()[0]
        except OSError:
            continue
        if ip_address(address).is_global:
            yield address
