"""Finds the Python that refserver is measured on.

Debian's python3 is built with profile-guided optimisation; builds without it, such as pyenv's, are up to
1.55 times slower here. So a virtual environment is made from it where it is there and recent enough.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.servers import ROOT, CannotStart

_SYSTEM = Path("/usr/bin/python3")
_SYSTEM_PREFIX = "/usr"
_OLDEST = (3, 11)
_ENVIRONMENT = ROOT / ".cache" / "benchmark-python"


def choose(asked_for: str | None) -> Path:
    """The interpreter asked for; else one made from the distribution's; else the one that runs this."""
    if asked_for:
        return Path(asked_for).absolute()
    if sys.base_prefix == _SYSTEM_PREFIX or not _SYSTEM.exists() or _version(_SYSTEM) < _OLDEST:
        return Path(sys.executable)
    dependencies = _dependencies()
    stamp = _ENVIRONMENT / "dependencies.txt"
    if not stamp.exists() or stamp.read_text() != dependencies:
        _make(dependencies.split("\n"))
        stamp.write_text(dependencies)
    return _ENVIRONMENT / "bin" / "python"


def _version(python: Path) -> tuple[int, ...]:
    program = "import sys; print(*sys.version_info[:2])"
    said = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split())


def _dependencies() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return "\n".join(project["project"]["dependencies"])


def _make(dependencies: list[str]) -> None:
    cache = _ENVIRONMENT.parent
    cache.mkdir(exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    commands: list[list[str | Path]] = [
        [_SYSTEM, "-m", "venv", _ENVIRONMENT],
        [_ENVIRONMENT / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *dependencies],
    ]
    for command in commands:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise CannotStart(f"no virtual environment from {_SYSTEM}: {made.stderr.strip()[-400:]}")
