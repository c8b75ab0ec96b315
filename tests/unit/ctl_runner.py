"""refserverctl in this process, on a data folder of its own, with no server running."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner, Result

from refserver.app.ctl import command
from refserver.app.data import DATABASE
from refserver.storage import Database

__all__ = ["Ctl"]

CONFIGURATION = """\
[server]
data = "data"
[listen]
c2s = []
c2s_tls = []
[tls]
certificates = "certs"
[s2s]
enabled = false
"""


@cache
def _empty_database() -> bytes:
    """A new database; making it takes longer than all else in a test."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / DATABASE
        Database.open(path).close_now()
        return path.read_bytes()


class Ctl:
    """`ctl.ok("library", "add", "library.example")`: what it printed; `refused`: the line on stderr."""

    def __init__(self, folder: Path, configuration: str = CONFIGURATION) -> None:
        self.folder = folder
        self.config = folder / "refserver.toml"
        self.config.write_text(configuration)
        self.database = folder / "data" / DATABASE
        self.database.parent.mkdir(mode=0o700)
        self.database.write_bytes(_empty_database())
        self.database.chmod(0o600)

    def run(self, *words: str, stdin: str | bytes = "") -> Result:
        """Call it; what came of it, whatever that is but a crash."""
        result = CliRunner().invoke(command, ["-c", str(self.config), *words], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *words: str, stdin: str = "") -> str:
        """The output of a command that must be done."""
        result = self.run(*words, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    def json(self, *words: str, stdin: str = "") -> Any:
        """The output with --json of a command that must be done."""
        result = self.run("--json", *words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, *words: str, stdin: str | bytes = "") -> str:
        """The one line with which it was refused, without the program's name; nothing is printed besides."""
        result = self.run(*words, stdin=stdin)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        (line,) = result.stderr.splitlines()
        name, _, text = line.partition(": ")
        assert name == "refserverctl"
        return text

    def add_account(self, jid: str, password: str = "a secret") -> None:
        """Make an account."""
        self.ok("account", "add", jid, "--password-stdin", stdin=f"{password}\n")
