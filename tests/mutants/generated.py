"""Mutate modules with cosmic-ray, in a copy of the project, and tell which mutants no test notices.

    python -m tests.mutants.generated "refserver/jid.py" "tests/unit/test_jid.py tests/property/test_jid.py"

Each mutant costs one run of the tests, so name the few that are about the modules. Exit status 0 if all are
noticed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutants.telling import Tree

TIMEOUT_SECONDS = 60.0


def main(modules: str, tests: str) -> int:
    """Try all mutants of `modules` with `tests`, both separated by spaces."""
    with TemporaryDirectory(prefix="refserver-mutants-") as folder:
        copy = Tree(Path(folder, "copy")).root
        command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider -p no:cov -p no:xdist {tests}"
        (copy / "cosmic-ray.toml").write_text(
            f"[cosmic-ray]\nmodule-path = {modules.split()!r}\ntimeout = {TIMEOUT_SECONDS}\n"
            f"excluded-modules = []\ntest-command = {command!r}\n\n"
            '[cosmic-ray.distributor]\nname = "local"\n'
        )

        def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [Path(sys.executable).with_name(program), *arguments],
                cwd=copy,
                env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                check=True,
            )

        run("cosmic-ray", "baseline", "cosmic-ray.toml")
        run("cosmic-ray", "init", "cosmic-ray.toml", "session.sqlite")
        run("cosmic-ray", "exec", "cosmic-ray.toml", "session.sqlite")
        report = run("cr-report", "--surviving-only", "--show-diff", "session.sqlite").stdout
    print(report)
    return 0 if "surviving mutants: 0 " in report else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
