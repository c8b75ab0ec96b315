"""Listening addresses in Twisted's endpoint syntax, checked before anything is bound.

Owns which kinds of endpoint may stand in the configuration and what each of them takes. Does not listen:
`twisted.internet.endpoints.serverFromString` does, with the same text. Twisted's own parser is not used for
the check, because it needs a reactor, looks for plugins, and refuses `systemd:` wherever systemd did not
start the process (refserverctl reads the same file).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from attrs import frozen

MAX_PORT = 65535

_WORD = re.compile(r":((?:\\.|[^:\\])*)")
_NAMED = re.compile(r"([^=\\]*)=(.*)")


class EndpointError(ValueError):
    """The text is no endpoint refserver listens on; the message says what is allowed."""


@frozen
class _Parameter:
    """One parameter of an endpoint: which values it takes, and those values in words."""

    accepts: Callable[[str], bool]
    allowed: str


def _is_number(text: str, lowest: int, highest: int) -> bool:
    return text.isascii() and text.isdecimal() and lowest <= int(text) <= highest


def _is_address(kind: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


_PORT = _Parameter(lambda text: _is_number(text, 0, MAX_PORT), f"a port from 0 to {MAX_PORT}")
_BACKLOG = _Parameter(lambda text: _is_number(text, 1, MAX_PORT), f"a number from 1 to {MAX_PORT}")
_NUMBER = _Parameter(lambda text: _is_number(text, 0, MAX_PORT), "a number from 0")
_SOME_TEXT = _Parameter(bool, "some text")
_MODE = _Parameter(lambda text: bool(re.fullmatch("[0-7]{1,4}", text)), "an octal file mode such as 660")
_SWITCH = _Parameter(lambda text: text in ("0", "1"), "0 or 1")
_FAMILY = _Parameter(lambda text: text in ("INET", "INET6", "UNIX"), "INET, INET6 or UNIX")
_IPV4 = _Parameter(lambda text: not text or _is_address(IPv4Address, text), "an IPv4 address")
_IPV6 = _Parameter(
    lambda text: _is_address(IPv6Address, text), r"an IPv6 address, its colons written \:, such as \:\:1"
)

# In the order in which Twisted takes them by position; the first of each kind is required.
_KINDS: Mapping[str, Mapping[str, _Parameter]] = {
    "tcp": {"port": _PORT, "interface": _IPV4, "backlog": _BACKLOG},
    "tcp6": {"port": _PORT, "backlog": _BACKLOG, "interface": _IPV6},
    "unix": {"address": _SOME_TEXT, "mode": _MODE, "backlog": _BACKLOG, "lockfile": _SWITCH},
    "systemd": {"domain": _FAMILY, "index": _NUMBER, "name": _SOME_TEXT},
}


def check_endpoint(description: str) -> None:
    """Raise `EndpointError` unless `description` is one of tcp, tcp6, unix or systemd, well-formed."""
    kind, given = _parse(description)
    parameters = _KINDS[kind]
    for name, value in given.items():
        if not parameters[name].accepts(value):
            raise EndpointError(f"{name} of {kind}: is {parameters[name].allowed}")
    required = next(iter(parameters))
    if required not in given:
        raise EndpointError(f"{kind}:{required} with {required} {parameters[required].allowed}")
    if kind == "systemd" and len(given.keys() & {"index", "name"}) != 1:
        raise EndpointError("systemd: takes exactly one of index and name")


def resolve_endpoint(description: str, folder: Path) -> str:
    """Make a unix socket's relative address absolute under `folder`; any other description is unchanged."""
    kind, given = _parse(description)
    if kind != "unix" or Path(given["address"]).is_absolute():
        return description
    options = {**given, "address": str(folder / given["address"])}
    return ":".join(["unix", *(f"{name}={_quoted(value)}" for name, value in options.items())])


def tcp_address(description: str) -> tuple[str, int] | None:
    """Return address ("" is all of IPv4, "::" all) and port of an endpoint; None if it is not TCP."""
    kind, given = _parse(description)
    if kind not in ("tcp", "tcp6"):
        return None
    return given.get("interface") or ("" if kind == "tcp" else "::"), int(given["port"])


def _quoted(value: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", value)


def _parse(description: str) -> tuple[str, dict[str, str]]:
    """Split into the kind and its parameters by name, as Twisted does, backslashes resolved."""
    kind, *words = _WORD.findall(f":{description}")
    if kind not in _KINDS or not re.fullmatch(r"(\\.|[^\\])*", description):
        raise EndpointError(f"begins with one of {', '.join(f'{known}:' for known in _KINDS)}")
    names = list(_KINDS[kind])
    given: dict[str, str] = {}
    positions = iter(names)
    for word in words:
        named = _NAMED.fullmatch(word)
        name, value = named.groups() if named else (next(positions, ""), word)
        if name not in names or name in given:
            raise EndpointError(f"{kind}: takes {', '.join(names)}, each once")
        given[name] = re.sub(r"\\(.)", r"\1", value)
    return kind, given
