"""@xmpp/client, the JavaScript library, on Node: from tests that know nothing of either."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["XmppJs", "install"]

_HERE = Path(__file__).parent
_INSTALL_SECONDS = 60.0


class XmppJs:
    """A client with TLS verified against one authority. As a context manager it is logged in inside."""

    def __init__(
        self, installed: Path, jid: str, password: str, ca: Path, port: int, host: str = "127.0.0.1"
    ) -> None:
        self._installed = installed
        self._jid = jid
        self._service = f"xmpp://{host}:{port}"
        self._environment = {"PASSWORD": password, "NODE_EXTRA_CA_CERTS": str(ca)}
        self._told: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        username, _, domain = self._jid.partition("@")
        self._process = subprocess.Popen(
            ["node", self._installed / "person.mjs", self._service, domain, username],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self._environment},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def message(self, to: str, text: str) -> None:
        """Send a chat message."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"to": to, "body": text}) + "\n")
        self._process.stdin.flush()

    def wait_for(self, predicate: Callable[[dict[str, Any]], object], timeout: float = 10) -> dict[str, Any]:
        """Take the first thing told that `predicate` accepts; see person.mjs for what is told."""
        with self._news:
            self._news.wait_for(lambda: any(predicate(one) for one in self._told), timeout)
            for one in self._told:
                if predicate(one):
                    self._told.remove(one)
                    return one
            raise AssertionError(f"{self._jid} waited {timeout:g} s; it was told: {self._told}")

    def wait_for_online(self) -> None:
        """Return when it is logged in."""
        self.wait_for(lambda one: "online" in one, 20)

    def wait_for_message(self, containing: str, sender: str) -> dict[str, Any]:
        """Take a message with these words from that bare JID."""
        return self.wait_for(
            lambda one: (
                containing in (one.get("body") or "") and one.get("from", "").partition("/")[0] == sender
            )
        )

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._told.append(json.loads(line))
                self._news.notify_all()


def install(folder: Path) -> str:
    """Have npm install what person.mjs needs, once; "" if it is there, else why not."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # another run of the tests may be at it
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _install(folder)


def _install(folder: Path) -> str:
    wanted = (_HERE / "package.json").read_text()
    for name in ("package.json", "person.mjs"):
        shutil.copy(_HERE / name, folder)
    stamp = folder / "installed.json"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm took more than {_INSTALL_SECONDS:g} s"
    if done.returncode:
        return f"npm: {done.stderr.strip()[-500:]}"
    stamp.write_text(wanted)
    return ""
