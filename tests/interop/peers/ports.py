"""Ports and loopback addresses that nobody else uses, also when several runs of the tests go on at once.

What is handed out is reserved by binding a name in Linux' abstract namespace of unix sockets. That
namespace is as wide as the one of ports, and the kernel gives the name back when the process ends, however
it ends. Nothing is handed out twice by one process.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import SystemRandom

# Below the ports that the system hands out by itself (32768 and above).
_LOW_PORT, _HIGH_PORT = 10000, 30000
_BLOCK = 100

_random = SystemRandom()
_reserved: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `host` that nobody listens on, and that no other run of the tests is given."""
    return next(port for port in _ports if _is_free(host, port))


def free_address() -> str:
    """An address of 127.0.0.0/8 that no other run of the tests is given."""
    while True:
        address = f"127.{_random.randrange(1, 255)}.{_random.randrange(256)}.{_random.randrange(1, 255)}"
        if _reserve(address):
            return address


def _own_ports() -> Iterator[int]:
    """Ports by blocks, each reserved for this process when the one before it is used up."""
    blocks = range(_LOW_PORT, _HIGH_PORT, _BLOCK)
    for first in _random.sample(blocks, len(blocks)):
        if _reserve(f"ports {first}"):
            yield from range(first, first + _BLOCK)
    raise AssertionError(
        f"all ports from {_LOW_PORT} to {_HIGH_PORT} are reserved; are old runs of the tests still going on?"
    )


_ports = _own_ports()


def _reserve(what: str) -> bool:
    """Reserve it for as long as this process runs; False if somebody else has it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0refserver tests: {what}")
    except OSError:
        claim.close()
        return False
    _reserved.append(claim)
    return True


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
