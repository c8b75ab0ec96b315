"""The settings of a running server: every key of the configuration file, its default and its limits.

Owns names, defaults and what is possible; `config` reads them from a file. Immutable: a configuration that is
read again makes new settings. The defaults are those of conf/refserver.toml, which documents every key; where
there is no configuration file at all, `Settings.without_file` listens on loopback only.

Listening addresses are in Twisted's endpoint syntax, and are checked before anything is bound. Twisted's own
parser is not used for the check: it needs a reactor, looks for plugins, and refuses `systemd:` wherever
systemd did not start the process (refserverctl reads the same file).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final, Literal, Self

from attrs import Attribute, asdict, evolve, field, fields, frozen

from refserver.sasl.verifier import ITERATIONS, LEAST_ITERATIONS

# -- listening addresses -------------------------------------------------------------


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


# -- tables and keys -----------------------------------------------------------------


Endpoints = tuple[str, ...]
LogLevel = Literal["debug", "info", "warn", "error"]
_Validator = Callable[[Any, "Attribute[Any]", Any], None]

NOT_BUILT: Final = frozenset(
    {
        "listen.web",
        "listen.web_tls",
        "web",
        "mail",
        "turn",
        'c2s.registration = "invite"',
        'server.database = "postgresql',
    }
)
"""Tables, keys and the beginnings of values that are planned, and refused by name until they work."""

# RFC 6120, 13.12: a server must not refuse stanzas of 10,000 bytes for their size.
SMALLEST_STANZA_LIMIT = 10_000


class ImpossibleValue(ValueError):
    """A value no server can run with: the key (within its table), the value, and what is allowed."""

    def __init__(self, key: str, found: object, allowed: str) -> None:
        super().__init__(f"{key}: allowed is {allowed}")
        self.key = key
        self.found = found
        self.allowed = allowed


def _must(be: Callable[[Any], bool], allowed: str) -> _Validator:
    def validate(_: object, attribute: Attribute[Any], value: object) -> None:
        if not be(value):
            raise ImpossibleValue(attribute.name, value, allowed)

    return validate


def _must_be_endpoints(_: object, attribute: Attribute[Any], value: Endpoints) -> None:
    for index, description in enumerate(value):
        try:
            check_endpoint(description)
        except EndpointError as error:
            raise ImpossibleValue(f"{attribute.name}[{index}]", description, f"{error}") from error


_must_be_limit = _must(lambda value: value >= 0, "0 (no limit) or a whole number above it")
_must_be_stanza_limit = _must(
    lambda value: value == 0 or value >= SMALLEST_STANZA_LIMIT,
    f"0 (no limit) or a whole number from {SMALLEST_STANZA_LIMIT} (RFC 6120, 13.12)",
)
_must_be_resumption = _must(lambda value: 0 <= value <= 3600, "0 (none) or a number of seconds up to 3600")
_must_be_iterations = _must(
    lambda value: LEAST_ITERATIONS <= value <= 10_000_000,
    f"a whole number from {LEAST_ITERATIONS} (RFC 7677, 4) to 10000000",
)
_must_be_timeout = _must(lambda value: 1 <= value <= 3600, "a number of seconds from 1 to 3600")


@frozen
class HostPort:
    """The place of a server: a host name or address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port` or `[IPv6 address]:port`; ValueError says what is allowed."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+)):([0-9]{1,5})", text)
        if match is None or not 1 <= int(match[3]) <= 65535:
            raise ValueError('"host:port" or "[address]:port", the port from 1 to 65535')
        return cls(match[1] or match[2], int(match[3]))


def _must_be_addresses(_: object, attribute: Attribute[Any], value: tuple[HostPort, ...]) -> None:
    for index, place in enumerate(value):
        try:
            ip_address(place.host)
        except ValueError:
            allowed = '"address:port", the address an IP address'
            raise ImpossibleValue(f"{attribute.name}[{index}]", f"{place}", allowed) from None


@frozen
class Server:
    """The place of all that is stored."""

    data: Path = Path("var")
    database: Literal["sqlite"] = "sqlite"


@frozen
class Listen:
    """Twisted endpoint descriptions to listen on; an empty list switches a listener off."""

    c2s: Endpoints = field(default=("tcp:5222",), validator=_must_be_endpoints)
    c2s_tls: Endpoints = field(default=("tcp:5223",), validator=_must_be_endpoints)
    s2s: Endpoints = field(default=("tcp:5269",), validator=_must_be_endpoints)
    s2s_tls: Endpoints = field(default=("tcp:5270",), validator=_must_be_endpoints)
    component: Endpoints = field(default=("tcp:5347:interface=127.0.0.1",), validator=_must_be_endpoints)

    @classmethod
    def on_loopback(cls) -> Self:
        """The default listeners, each where only this machine reaches it."""
        listeners: dict[str, Endpoints] = asdict(cls())
        return cls(
            **{
                name: tuple(f"{':'.join(text.split(':')[:2])}:interface=127.0.0.1" for text in endpoints)
                for name, endpoints in listeners.items()
            }
        )


@frozen
class TLS:
    """Certificates: `<domain>.pem`, private key and chain, for each domain of the server."""

    certificates: Path = Path("certs")


@frozen
class C2S:
    """Conditions for sessions of clients; times in seconds."""

    require_tls: bool = True
    plain_without_tls: bool = False
    registration: Literal["closed", "open"] = "closed"
    unauthenticated_timeout: int = field(default=30, validator=_must_be_timeout)
    resume_seconds: int = field(default=300, validator=_must_be_resumption)
    scram_iterations: int = field(default=ITERATIONS, validator=_must_be_iterations)
    scram_sha_1: bool = True


@frozen
class S2S:
    """Other servers: how they are trusted, and the places of those that DNS does not know."""

    enabled: bool = True
    authentication: Literal["certificate", "dialback"] = "certificate"
    trusted_ca: Path | None = None
    hosts: Mapping[str, HostPort] = field(factory=dict)
    name_servers: tuple[HostPort, ...] = field(default=(), validator=_must_be_addresses)


@frozen
class Components:
    """The files with the secrets that components (XEP-0114) share with the server, by their domains."""

    secret_files: Mapping[str, Path] = field(factory=dict)


@frozen
class Log:
    """Events of `level` and above are logged."""

    level: LogLevel = "info"


@frozen
class Limits:
    """Limits for one stranger; 0 is no limit. Rates are per connection unless the name says otherwise."""

    c2s_bytes_per_second: int = field(default=16_384, validator=_must_be_limit)
    s2s_bytes_per_second: int = field(default=65_536, validator=_must_be_limit)
    stanza_bytes: int = field(default=262_144, validator=_must_be_stanza_limit)
    connections_per_ip: int = field(default=64, validator=_must_be_limit)
    registrations_per_ip_hour: int = field(default=5, validator=_must_be_limit)
    questions_per_patron_hour: int = field(default=20, validator=_must_be_limit)
    questions_per_domain_hour: int = field(default=200, validator=_must_be_limit)
    rooms_per_account: int = field(default=20, validator=_must_be_limit)


@frozen
class Settings:
    """All settings, one attribute a table of the file."""

    server: Server = Server()
    listen: Listen = Listen()
    tls: TLS = TLS()
    c2s: C2S = C2S()
    s2s: S2S = S2S()
    components: Components = Components()
    limits: Limits = Limits()
    log: Log = Log()

    @classmethod
    def without_file(cls) -> Self:
        """Return the settings without a configuration file: the defaults, on loopback only."""
        return cls(listen=Listen.on_loopback())

    def relative_to(self, folder: Path) -> Self:
        """These settings with every relative path, unix sockets included, taken as relative to `folder`."""
        listen = {
            item.name: tuple(resolve_endpoint(text, folder) for text in getattr(self.listen, item.name))
            for item in fields(Listen)
        }
        trusted_ca = self.s2s.trusted_ca
        secret_files = {domain: folder / file for domain, file in self.components.secret_files.items()}
        return evolve(
            self,
            server=evolve(self.server, data=folder / self.server.data),
            listen=Listen(**listen),
            tls=evolve(self.tls, certificates=folder / self.tls.certificates),
            s2s=evolve(self.s2s, trusted_ca=folder / trusted_ca if trusted_ca else None),
            components=Components(secret_files),
        )
