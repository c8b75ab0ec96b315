"""DNS records as a zone file has them (RFC 1035 5), for operators to copy."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["address_record", "service_record"]


def service_record(owner: str, port: int, host: str) -> str:
    """An SRV record (RFC 2782): the service `owner` is at `host`."""
    return f"{owner}. IN SRV 0 5 {port} {host}."


def address_record(host: str, addresses: Sequence[str]) -> list[str]:
    """The addresses of a host; where none is known a line that says what belongs there."""
    if not addresses:
        return [f"{host}. IN A (the address by which others reach this machine)"]
    return [f"{host}. IN {'AAAA' if ':' in address else 'A'} {address}" for address in addresses]
