"""The configuration file: where it is found, how it is read, and what is wrong with it.

Owns the way from TOML to `Settings` and the words in which a fault is reported. What keys there are, their
defaults and their limits stand in `settings`. Nothing is guessed: an unknown key, a wrong type or an
impossible value is an error that names the file, the key, what was found and what is allowed.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from attrs import fields, frozen, has
from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from refserver.app.settings import NOT_BUILT, HostPort, ImpossibleValue, Settings
from refserver.jid import JID, InvalidJID

# Where a configuration file is looked for when none is named.
SEARCHED = (Path("refserver.toml"), Path("/etc/refserver/refserver.toml"))

_LONGEST_VALUE_SHOWN = 60


@frozen
class Problem:
    """One fault of a configuration: the key ("" is the whole file), what was found, what is allowed."""

    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.key}: " if self.key else ""
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        return f"{where}found {self.found}{allowed}"


class ConfigurationError(ValueError):
    """A configuration no server can be started with: one line for each fault, each with the file's name."""

    def __init__(self, file: Path, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))
        self.file = file
        self.problems = problems


def find(path: Path | None = None) -> Path | None:
    """The configuration file in effect: the named one, else the first of `SEARCHED`, else None."""
    if path is not None:
        return path.absolute()
    return next((candidate.absolute() for candidate in SEARCHED if candidate.is_file()), None)


def load(path: Path | None = None) -> Settings:
    """Read the configuration file in effect; without one, the built-in defaults, on loopback only.

    Relative paths are relative to the file's folder, without a file to the working directory, and are
    absolute in the result. Raises `ConfigurationError`.
    """
    file = find(path)
    if file is None:
        return Settings.without_file().relative_to(Path.cwd())
    tables = _read(file)
    try:
        settings: Settings = _converter().structure(tables, Settings)
    except ClassValidationError as error:
        raise ConfigurationError(file, tuple(_problems(error, ""))) from None
    return settings.relative_to(file.parent)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        found = f"no readable file ({error.strerror})"
    except UnicodeDecodeError as error:
        found = f"a byte that is not UTF-8 at offset {error.start}"
    except tomllib.TOMLDecodeError as error:
        found = f"a fault in its TOML: {error}"
    raise ConfigurationError(file, (Problem("", found, ""),))


def _converter() -> Converter:
    """A converter that takes each value as TOML typed it: `"1"` is no number and 1 is not true."""
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_factory(has, lambda cls: _table_of(cls, converter))
    converter.register_structure_hook(str, _exactly(str, "text in quotes"))
    converter.register_structure_hook(bool, _exactly(bool, "true or false"))
    converter.register_structure_hook(int, _exactly(int, "a whole number"))
    converter.register_structure_hook(Path, lambda value, _: _path(value))
    converter.register_structure_hook_func(_is(Path | None), _optional_path)
    converter.register_structure_hook_func(_is(tuple[str, ...]), _texts)
    converter.register_structure_hook_func(_is(tuple[HostPort, ...]), _places)
    converter.register_structure_hook_func(_is(Mapping[str, HostPort]), _hosts)
    converter.register_structure_hook_func(_is(Mapping[str, Path]), _files)
    converter.register_structure_hook_func(_is_choice, _one_of)
    return converter


def _is(wanted: object) -> Callable[[Any], bool]:
    return lambda kind: bool(kind == wanted)


def _is_choice(kind: Any) -> bool:
    origin: object = get_origin(kind)
    return origin is Literal


def _table_of(cls: Any, converter: Converter) -> Callable[[object, Any], Any]:
    structure = make_dict_structure_fn(cls, converter)

    def take(value: object, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise ImpossibleValue("", value, f"a table of {', '.join(item.name for item in fields(cls))}")
        return structure(value, kind)

    return take


def _exactly(kind: type, allowed: str) -> Callable[[object, Any], Any]:
    def take(value: object, _: Any) -> Any:
        if type(value) is not kind:  # not isinstance: true is an int to Python, and is not one here
            raise ImpossibleValue("", value, allowed)
        return value

    return take


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ImpossibleValue("", value, "a path in quotes")
    return Path(value)


def _optional_path(value: object, _: Any) -> Path | None:
    return None if value == "" else _path(value)


def _texts(value: object, _: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ImpossibleValue("", value, "a list of texts")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise ImpossibleValue(f"[{index}]", item, "text in quotes")
    return tuple(value)


def _places(value: object, kind: Any) -> tuple[HostPort, ...]:
    return tuple(_host_port(f"[{index}]", text) for index, text in enumerate(_texts(value, kind)))


def _one_of(value: object, kind: Any) -> Any:
    choices = get_args(kind)
    if value not in choices:
        raise ImpossibleValue("", value, " or ".join(f'"{choice}"' for choice in choices))
    return value


def _hosts(value: object, _: Any) -> dict[str, HostPort]:
    table = _by_domain(value, "host:port")
    return {_domain(name): _host_port(_key(name), target) for name, target in table.items()}


def _files(value: object, _: Any) -> dict[str, Path]:
    table = _by_domain(value, "file")
    return {_domain(name): _file(name, target) for name, target in table.items()}


def _by_domain(value: object, target: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ImpossibleValue("", value, f'a table of "domain" = "{target}"')
    return value


def _domain(name: str) -> str:
    try:
        jid = JID.parse(name)
    except InvalidJID:
        raise ImpossibleValue("", name, "a domain before each =") from None
    if jid.localpart or jid.resourcepart:
        raise ImpossibleValue("", name, "a domain before each =")
    return jid.domainpart


def _host_port(key: str, target: object) -> HostPort:
    if not isinstance(target, str):
        raise ImpossibleValue(key, target, 'text in quotes: "host:port"')
    try:
        return HostPort.parse(target)
    except ValueError as error:
        raise ImpossibleValue(key, target, f"{error}") from None


def _file(name: str, target: object) -> Path:
    try:
        return _path(target)
    except ImpossibleValue as error:
        raise ImpossibleValue(_key(name), target, error.allowed) from None


def _key(name: str) -> str:
    return f".{name}" if re.fullmatch("[A-Za-z0-9_-]+", name) else f".{_shown(name)}"


def _problems(error: ClassValidationError, table: str) -> Iterator[Problem]:
    """All faults under one table; `table` is its key with a closing dot, "" at the top."""
    within_attributes, others = error.group_exceptions()
    for exception, note in within_attributes:
        key = f"{table}{note.name}"
        if isinstance(exception, ClassValidationError):
            yield from _problems(exception, f"{key}.")
        elif isinstance(exception, ImpossibleValue):
            yield _impossible(f"{key}{exception.key}", exception)
        else:
            raise exception
    for exception in others:
        if isinstance(exception, ForbiddenExtraKeysError):
            yield from _unknown_keys(exception, table)
        elif isinstance(exception, ImpossibleValue):
            yield _impossible(f"{table}{exception.key}", exception)
        else:
            raise exception


def _unknown_keys(error: ForbiddenExtraKeysError, table: str) -> Iterator[Problem]:
    known = [item.name for item in fields(error.cl)]
    for name in sorted(error.extra_fields):
        if f"{table}{name}" in NOT_BUILT:
            yield Problem(f"{table}{name}", "what is not built yet", "leaving it out")
            continue
        nearest = difflib.get_close_matches(name, known, n=1)
        guess = f", did you mean {nearest[0]}?" if nearest else ""
        yield Problem(f"{table}{name}", f"an unknown key{guess}", ", ".join(known))


def _impossible(key: str, error: ImpossibleValue) -> Problem:
    setting = f'{key} = "{error.found}"'
    found = _shown(error.found)
    if any(setting.startswith(planned) for planned in NOT_BUILT if "=" in planned):
        found += ", which is not built yet"
    return Problem(key, found, error.allowed)


def _shown(value: object) -> str:
    """A value as it may stand in a message: on one line, short, no database password in it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, str):
        value = re.sub(r"^(\w+)://.*", r"\1://…", value, flags=re.DOTALL)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE_SHOWN else f"{text[: _LONGEST_VALUE_SHOWN - 1]}…"
