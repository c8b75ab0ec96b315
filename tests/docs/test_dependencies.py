"""What refserver imports is declared, what is declared is imported, and each has its reason on a page."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = packages_distributions()


def normal(name: str) -> str:
    """PEP 503's form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    """The distributions that pyproject.toml requires at run time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {normal(re.split(r"[\[<>=]", requirement)[0]) for requirement in project["dependencies"]}


def imported() -> set[str]:
    """The distributions that modules of refserver import, at any depth of their code."""
    modules = {
        name
        for file in (ROOT / "refserver").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        for name in _names(node)
    }
    ours_or_pythons = sys.stdlib_module_names | {"refserver"}
    return {_distribution(name) for name in modules if name.partition(".")[0] not in ours_or_pythons}


def _distribution(module: str) -> str:
    """The distribution a module belongs to: zope is a package of several, and a file of twisted is ours."""
    package = module.partition(".")[0]
    names = {normal(name) for name in DISTRIBUTIONS.get(package, [package])} - {"refserver"}
    return names.pop() if len(names) == 1 else normal(".".join(module.split(".")[:2]))


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    assert declared() == imported() | {"service-identity"}  # Twisted imports it for us


def test_each_dependency_has_its_reason() -> None:
    page = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text("utf-8")
    assert declared() == set(re.findall(r"^\| ([a-z0-9-]+) \|", page, re.MULTILINE)) - {"package"}
