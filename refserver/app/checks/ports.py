"""Checks of this machine: the addresses that the server listens on, and those by which others reach it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from attrs import frozen

from refserver.app.checks import Finding
from refserver.app.settings import Settings, tcp_address

_LOOPBACK: Final = ("127.", "::1")


def listeners(settings: Settings) -> tuple[str, ...]:
    """The keys of [listen] that hold: other servers' where they are let in, components' once there is one."""
    servers = ("s2s", "s2s_tls") if settings.s2s.enabled else ()
    components = ("component",) if settings.components.secret_files else ()
    return ("c2s", "c2s_tls", *servers, *components)


def check_ports(settings: Settings, held: Collection[str] | None) -> Iterator[Finding]:
    """Findings on the addresses in `settings`; `held`: those our server listens on, None: it does not run."""
    for key in listeners(settings):
        for description in getattr(settings.listen, key):
            address = tcp_address(description)
            if address is not None:
                yield _check(f"listen.{key}", description, address, held)
    if not settings.c2s.require_tls and any(map(_is_public, settings.listen.c2s)):
        yield Finding.wrong(
            "c2s.require_tls",
            "clients may talk unencrypted, and not from this machine alone",
            "set it to true, or let listen.c2s be on 127.0.0.1 only",
        )


def _check(about: str, description: str, address: tuple[str, int], held: Collection[str] | None) -> Finding:
    code = bind_error(*address)
    if held is not None and description in held:
        return Finding.good(about, f"{description}: our server listens there")
    if code == 0 and held is not None:
        return Finding.wrong(
            about,
            f"{description}: our server runs, and does not listen there",
            "the configuration was changed since it started: restart it",
        )
    if code == 0:
        return Finding.good(about, f"{description}: free")
    found, mend = why_not(code, *address, about)
    return Finding.wrong(about, f"{description}: {found}", mend)


def why_not(code: int, host: str, port: int, key: str) -> tuple[str, str]:
    """Return why an address cannot be listened on, and how to mend it; `code` is the error's number."""
    if code == errno.EADDRINUSE:
        mend = f"end the other program (ss -ltnp 'sport = :{port}' names it), or choose another port: {key}"
        return "another program listens there", mend
    if code == errno.EADDRNOTAVAIL:
        mend = f"choose one of its addresses (ip address lists them): {key}"
        return f"this machine has no address {host}", mend
    if code == errno.EACCES:
        mend = (
            "ports below 1024 need a privilege: let systemd open it (systemd:), "
            f"give the server CAP_NET_BIND_SERVICE, or choose another port: {key}"
        )
        return "not allowed to this user", mend
    return os.strerror(code), f"choose another: {key}"


def bind_error(host: str, port: int) -> int:
    """Bind an address and let go; the error's number, 0 if it went well."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
            probe.bind((host, port))
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0


def _is_public(description: str) -> bool:
    address = tcp_address(description)
    return address is not None and not address[0].startswith(_LOOPBACK)


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
