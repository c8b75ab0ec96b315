"""profanity, a console client, as its users run it: in a terminal, with a configuration file."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.terminal import Terminal
from tests.interop.peers.waiting import wait_until

_LOGIN_SECONDS = 20.0


class Profanity:
    """A logged-in profanity. Its TLS is required and verified; its DEBUG log holds every stanza.

    Use it as a context manager: it is logged in inside, and gone afterwards.
    """

    def __init__(
        self,
        folder: Path,
        jid: str,
        password: str,
        authority: TestAuthority,
        port: int,
        host: str = "127.0.0.1",
        resource: str = "profanity",
    ) -> None:
        self.jid = jid
        self._folder = folder
        self._log = folder / "log"
        self._read = 0
        self._terminal: Terminal | None = None
        self._write_configuration(password, authority, host, port, resource)

    def __enter__(self) -> Self:
        environment = {
            "XDG_CONFIG_HOME": str(self._folder / "config"),
            "XDG_DATA_HOME": str(self._folder / "data"),
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "TERM": "screen-256color",
        }
        self._terminal = Terminal(["profanity", "-l", "DEBUG", "-f", self._log], environment)
        try:
            self.wait_for_log("logged in successfully", _LOGIN_SECONDS)
        except AssertionError:
            self._terminal.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminal.close()

    @property
    def terminal(self) -> Terminal:
        """The terminal it runs in: for single keys, and to see the whole screen."""
        assert self._terminal is not None, "profanity was not started: use `with`"
        return self._terminal

    def type(self, line: str) -> None:
        """Type a command, or a line of the chat that is open."""
        self.terminal.type(line)

    def message(self, jid: str, text: str) -> None:
        """Send a message, which opens the chat with `jid`."""
        self.type(f"/msg {jid} {text}")

    def wait_for_text(self, text: str, timeout: float = 10) -> str:
        """Return the screen once `text` is on it."""
        return self.terminal.wait_for_text(text, timeout)

    def wait_for_log(self, pattern: str, timeout: float = 10) -> re.Match[str]:
        """Wait for a regular expression in the log, after what the last call found.

        Stanzas stand there as `SENT: <…/>` and `RECV: <…/>`, with double quotes.
        """
        compiled = re.compile(pattern)

        def look() -> re.Match[str] | None:
            return compiled.search(self.log, self._read)

        match = wait_until(look, f"/{pattern}/ in profanity's log", timeout, self._last_words)
        self._read = match.end()
        return match

    @property
    def log(self) -> str:
        """The whole DEBUG log."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("log*")))

    def _last_words(self) -> str:
        return f"{self.log[-3000:]}\n--- screen ---\n{self.terminal.screen()}"

    def _write_configuration(
        self, password: str, authority: TestAuthority, host: str, port: int, resource: str
    ) -> None:
        accounts = self._folder / "data" / "profanity" / "accounts"
        profrc = self._folder / "config" / "profanity" / "profrc"
        for path in (accounts, profrc):
            path.parent.mkdir(parents=True)
            path.touch(0o600)
        accounts.write_text(
            f"[peer]\nenabled=true\njid={self.jid}\nserver={host}\nport={port}\nresource={resource}\n"
            f"password={password}\ntls.policy=force\n"
        )
        profrc.write_text(
            f"[connection]\ntls.certpath={authority.hashed_folder()}\naccount=peer\n"
            "[ui]\nsplash=false\n[notifications]\nmessage=false\nroom=off\n[omemo]\npolicy=manual\n"
        )
