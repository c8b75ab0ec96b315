"""The wheel, built and installed as a user gets it, works outside the checkout: plugin, command and data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
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


# -- docs/installing.md ------------------------------------------------------------

PAGE = (ROOT / "docs" / "installing.md").read_text("utf-8")
# What needs a machine of its own. certbot leaves what a real one does, and calls the script.
STAND_INS = {
    "useradd": "exit 0",
    "chown": "exit 0",
    "systemctl": '[ "$1" != is-active ]',
    "certbot": (
        "cd {root}/live && {python} -m refserver.app.certificates . library.example >/dev/null && "
        "mv library.example.pem privkey.pem && : >fullchain.pem && "
        "RENEWED_LINEAGE={root}/live RENEWED_DOMAINS='library.example rooms.library.example' "
        "CERTIFICATES={root}/etc/refserver/certs {root}/etc/letsencrypt/renewal-hooks/deploy/refserver"
    ),
}


def commands(installed: Path, root: Path) -> list[str]:
    """The page's blocks of commands, under another root, without what would install from elsewhere."""
    page = PAGE.partition("## Every day")[0]
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, re.MULTILINE)
    script = "\n".join(textwrap.dedent(block).strip("\n") for block in blocks if " IN SRV " not in block)
    script = script.replace("/opt/refserver/bin", str(installed))
    for folder in ("/etc/", "/var/lib/", "/usr/local/bin"):
        script = script.replace(folder, f"{root}{folder}")
    script = script.replace(
        "account add mia@library.example", "account add mia@library.example --password-stdin <password"
    )
    left_out = ("python3 -m venv", "pip install", "refserverctl check")
    return [line for line in script.splitlines() if not any(words in line for words in left_out)]


def test_the_page_on_installing_works_to_the_letter(installed: Path, tmp_path: Path) -> None:
    for folder in ("bin", "live", "etc/systemd/system", "var/lib/refserver", "usr/local/bin"):
        (tmp_path / folder).mkdir(parents=True)
    python = installed / "python"
    for name, code in STAND_INS.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{code.format(root=tmp_path, python=python)}\n")
        program.chmod(0o755)
    twistd = installed / "twistd"
    twistd.write_text(f"#!{python}\n{TWISTD}\n")
    twistd.chmod(0o755)
    (tmp_path / "password").write_text("a long password\n")
    paths = ":".join([f"{tmp_path}/bin", f"{tmp_path}/usr/local/bin", os.environ["PATH"]])
    config = tmp_path / "etc" / "refserver" / "refserver.toml"
    # refserverctl looks into /etc, which is not ours here.
    lines = [
        re.sub("^refserverctl ", f"refserverctl -c {config} ", line) for line in commands(installed, tmp_path)
    ]
    script = "\n".join(lines)
    run("sh", "-ec", f"export PATH={paths}\n{script}", cwd=tmp_path)
    listed = run(installed / "refserverctl", "-c", config, "librarian", "list", cwd=tmp_path)
    assert "ask@library.example  mia@library.example" in listed
    certificate = tmp_path / "etc" / "refserver" / "certs" / "library.example.pem"
    assert certificate.stat().st_mode & 0o777 == 0o600
    unit = (tmp_path / "etc" / "systemd" / "system" / "refserver.service").read_text()
    assert f"ExecStart={installed}/twistd --nodaemon --pidfile= refserver --config " in unit
    checked = subprocess.run(
        [installed / "refserverctl", "-c", config, "check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    good = [line for line in checked.stdout.splitlines() if line.startswith("good   certificate:")]
    assert len(good) == 2, checked.stdout + checked.stderr


def test_the_examples_of_the_wheel_are_those_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    config = run(installed / "refserverctl", "example", "config", cwd=tmp_path)
    assert config == (ROOT / "conf" / "refserver.toml").read_text("utf-8")
