"""The make targets, their help and the page that documents them agree; so do versions and the layout."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import refserver

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PHONY = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split()


@pytest.mark.parametrize("target", PHONY)
def test_each_target_is_documented(target: str) -> None:
    assert f"| `make {target}` |" in (ROOT / "docs" / "contributing.md").read_text("utf-8")


def test_no_target_is_documented_that_does_not_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "certs" / "README.md"]
    named = {
        target
        for page in pages
        if page.exists()
        for target in re.findall(r"`make ([a-z]+)[`\s]", page.read_text("utf-8"))
    }
    assert set() == named - set(PHONY)


def test_help_lists_every_target() -> None:
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert PHONY == re.findall(r"^  make (\w+)  +\w", printed, re.MULTILINE)


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert refserver.__version__ == versions[0]


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: str(page.name)
)
def test_a_decision_has_its_number_and_its_headings(page: Path) -> None:
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name)
    text = page.read_text("utf-8")
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert ["Context", "Decision", "Consequences"] == re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_no_two_decisions_share_a_number() -> None:
    numbers = [page.name[:4] for page in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert sorted(set(numbers)) == numbers


def test_keys_and_certificates_are_not_in_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = files.stdout.split("\0")
    assert [] == [name for name in names if name.endswith((".pem", ".key", ".crt", ".p12"))]
