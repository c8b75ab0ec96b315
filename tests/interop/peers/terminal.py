"""A terminal for console clients: tmux on a socket of its own, typed into and read from."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.interop.peers.waiting import wait_until

_COLUMNS, _LINES = 160, 50


class Terminal:
    """One program on one screen of 160 columns and 50 lines."""

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="terminal-"))  # short: a socket's path has a limit
        words = [*(f"{name}={value}" for name, value in env.items()), *(str(word) for word in command)]
        size = ["-x", str(_COLUMNS), "-y", str(_LINES)]
        self._tmux("new-session", "-d", "-s", "peer", *size, "env", *words)
        self._tmux("set-option", "-g", "remain-on-exit", "on")
        self._pid = int(self._tmux("display-message", "-p", "-t", "peer", "#{pane_pid}"))

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        self._tmux("send-keys", "-t", "peer", "-l", "--", line)
        self.press("C-m")

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._tmux("send-keys", "-t", "peer", *keys)

    def screen(self) -> str:
        """The text on the screen now."""
        return self._tmux("capture-pane", "-p", "-t", "peer")

    def wait_for_text(self, text: str, timeout: float = 10) -> str:
        """Return the screen once `text` is on it; lines that the terminal broke are joined for the search."""

        def look() -> str | None:
            screen = self.screen()
            return screen if text in screen or text in screen.replace("\n", "") else None

        return wait_until(look, f"{text!r} on the screen", timeout, self.screen)

    def close(self) -> None:
        """End the program, then its tmux."""
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.kill(self._pid, signal.SIGTERM)
        self._tmux("kill-server", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tmux(self, *words: str, check: bool = True) -> str:
        environment = {**os.environ, "TMUX_TMPDIR": str(self._folder), "LC_ALL": "C.UTF-8"}
        environment.pop("TMUX", None)
        command = ["tmux", "-L", "peer", "-f", "/dev/null", *words]
        return subprocess.run(
            command, env=environment, check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL
        ).stdout.rstrip("\n")
