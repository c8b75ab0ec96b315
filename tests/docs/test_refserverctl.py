"""docs/refserverctl.md documents every command with every argument and option, and its examples are right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from refserver.app.ctl import command

PAGE = (Path(__file__).parents[2] / "docs" / "refserverctl.md").read_text("utf-8")
SECTIONS = {
    section.partition("\n")[0]: section.partition("\n")[2].split("\n## ")[0]
    for section in PAGE.split("\n### ")[1:]
}
EXAMPLES = re.findall(r"^    (?:.*\| )?refserverctl ([^\[].*)$", PAGE, re.MULTILINE)


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        each = group.get_command(context, name)
        assert each is not None
        if isinstance(each, click.Group):
            yield from leaves(each, (*words, name))
        else:
            yield " ".join((*words, name)), each


COMMANDS = dict(leaves(command))


def test_each_command_is_documented_and_no_other() -> None:
    assert set(COMMANDS) == set(SECTIONS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_argument_and_option_is_documented(name: str) -> None:
    documented = set(re.findall(r"`([^`\s]+)`", _first_cells(SECTIONS[name])))
    assert documented == set(_parameters(COMMANDS[name]))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example_and_help(name: str) -> None:
    assert f"refserverctl {name}" in SECTIONS[name].replace("--json ", "")
    assert COMMANDS[name].help


def test_the_options_before_the_command_are_documented() -> None:
    head = PAGE.partition("\n## ")[0]
    for parameter in command.params:
        assert all(f"`{option}" in head for option in parameter.opts)


def test_each_choice_is_documented() -> None:
    for name, each in COMMANDS.items():
        for parameter in each.params:
            if isinstance(parameter.type, click.Choice) and name != "queue set":
                assert all(f"`{choice}`" in SECTIONS[name] for choice in parameter.type.choices)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_a_call_that_is_understood(example: str) -> None:
    group: click.Command = command
    context = command.make_context("refserverctl", shlex.split(example))
    while isinstance(group, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = group.resolve_command(context, rest)
        assert found is not None
        group, context = found, found.make_context(name, rest, parent=context)


def _first_cells(section: str) -> str:
    rows = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)
    return "\n".join(row for row in rows if row.startswith("`"))


def _parameters(each: click.Command) -> Iterator[str]:
    for parameter in each.params:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)
        else:
            yield from parameter.make_metavar(click.Context(each)).split("|")
