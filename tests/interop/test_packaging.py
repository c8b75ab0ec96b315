"""The wheel, built and installed as a user gets it, works outside the checkout: plugin, command and data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "twisted/plugins/refserver_plugin.py"
# What an editable installation leaves behind, and what the test is to see made anew.
NOT_TAKEN = ("*refserver*", "dropin.cache", "__pycache__")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without this checkout on its path; return all it printed, fail where it fails."""
    ours = ("PYTHON", "COV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from the sdist, which is built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel in it, the dependencies linked from this one's."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    here = Path(sysconfig.get_path("purelib"))
    there = folder / here.relative_to(sys.prefix)
    shutil.copytree(
        here,
        there,
        copy_function=os.symlink,
        ignore=shutil.ignore_patterns(*NOT_TAKEN),
        dirs_exist_ok=True,
    )
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index")
    run(folder / "bin" / "python", *pip, wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_brings_one_file_of_twisteds_folder_and_the_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [PLUGIN] == [name for name in names if name.startswith("twisted")]
    assert {"refserver/py.typed", "refserver/app/tap.py"} <= set(names)
    assert any("/migrations/" in name for name in names)
    assert {"refserver", "twisted"} == {name.partition("/")[0] for name in names if ".dist-info" not in name}


def test_twistd_lists_refserver_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    commands = run(installed / "python", "-c", TWISTD, "--help", cwd=tmp_path).partition("Commands:")[2]
    assert "refserver" in [line.split()[0] for line in commands.splitlines() if line.strip()]
    usage = run(installed / "python", "-c", TWISTD, "refserver", "--help", cwd=tmp_path)
    assert "--config=" in usage
    assert "built-in defaults" in usage.replace("\n", " ")


def test_it_is_the_installed_refserver_that_runs(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import refserver; print(refserver.__file__)", cwd=tmp_path)
    assert installed.parent in Path(where).parents


def test_twistd_ends_with_one_line_and_status_1_where_the_configuration_is_faulty(
    installed: Path, tmp_path: Path
) -> None:
    file = tmp_path / "faulty.toml"
    file.write_text("[server]\ndatum = 1\n")
    command = [installed / "python", "-c", TWISTD, "-n", "--pidfile=", "refserver", "--config", file]
    done = subprocess.run(
        [str(word) for word in command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"refserver: {file}: server.datum: found an unknown key, did you mean data?; "
        "allowed: data, database\n"
    )
    assert done.stdout == ""


# What the script `twistd` does; the linked environment has no scripts but refserver's own.
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
