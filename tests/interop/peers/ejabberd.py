"""ejabberd as a peer: rooms, archive, offline messages, carbons and federation, all in its own folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.interop.peers.name_server import NameServer
from tests.interop.peers.server import PeerServer

_CONFIGURATION = """
hosts: ["{domain}"]
loglevel: info
certfiles: ["{certificate}"]
ca_file: "{ca}"
default_db: mnesia
auth_password_format: scram
registration_timeout: infinity
s2s_use_starttls: required
outgoing_s2s_families: [ipv4]
listen:
  - {{port: {port}, ip: "{host}", module: ejabberd_c2s, starttls: true, access: all, shaper: none}}
  - {{port: {tls_port}, ip: "{host}", module: ejabberd_c2s, tls: true, access: all, shaper: none}}
  - {{port: {s2s_port}, ip: "{host}", module: ejabberd_s2s_in, max_stanza_size: 524288}}
  - {{port: {s2s_tls_port}, ip: "{host}", module: ejabberd_s2s_in, tls: true, max_stanza_size: 524288}}
modules:
  mod_roster: {{versioning: true}}
  mod_disco: {{}}
  mod_caps: {{}}
  mod_ping: {{}}
  mod_version: {{}}
  mod_time: {{}}
  mod_last: {{}}
  mod_offline: {{}}
  mod_mam: {{default: always}}
  mod_carboncopy: {{}}
  mod_blocking: {{}}
  mod_privacy: {{}}
  mod_private: {{}}
  mod_pubsub: {{plugins: [flat, pep]}}
  mod_vcard: {{}}
  mod_stream_mgmt: {{}}
{dialback}  mod_register: {{ip_access: all, password_strength: 0}}
  mod_muc: {{host: "{rooms}"}}
"""

# None of Erlang's schedulers waits busily: they would take turns with the tests for the same few cores.
_IDLE = ("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none")


class EjabberdServer(PeerServer):
    """ejabberd 23 or later, in the foreground, without distribution: no epmd, no cookie."""

    name = "ejabberd"
    conference = "conference"
    _names: NameServer | None = None

    def start(self) -> None:
        """Start it, and the name server by which it finds the routes."""
        if self.resolv_conf is None:
            self._names = NameServer(self.routes)
        super().start()

    def stop(self) -> None:
        """End both."""
        super().stop()
        if self._names is not None:
            self._names.close()
            self._names = None

    def _command(self) -> list[str | Path]:
        (self.folder / "ejabberd.yml").write_text(
            _CONFIGURATION.format(
                domain=self.domain,
                rooms=self.rooms,
                certificate=self.authority.folder / f"{self.domain}.pem",
                ca=self.authority.ca,
                host=self.host,
                port=self.port,
                tls_port=self.tls_port,
                s2s_port=self.s2s_port,
                s2s_tls_port=self.s2s_tls_port,
                dialback="" if self.strict_s2s else "  mod_s2s_dialback: {}\n",
            )
        )
        place = ["-mnesia", "dir", f'"{self.folder}/mnesia"']
        return ["erl", *_IDLE, "-noinput", *place, *self._resolving(), "-s", "ejabberd"]

    def _resolving(self) -> list[str]:
        """Erlang's resolver: the system's, unless routes are to be found."""
        if self._names is None:
            return []
        address = self._names.host.replace(".", ",")
        (self.folder / "inetrc").write_text(
            f'{{resolv_conf, ""}}.\n{{lookup, [dns]}}.\n{{nameserver, {{{address}}}, {self._names.port}}}.\n'
        )
        return ["-kernel", "inetrc", f'"{self.folder}/inetrc"']

    def _environment(self) -> Mapping[str, str]:
        return {
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_CRASH_DUMP": str(self.folder / "crash.dump"),
            "ERL_LIBS": _libraries(),
            "HOME": str(self.folder),
        }


def _libraries() -> str:
    """The ERL_LIBS of ejabberd's start script: where the package keeps its modules."""
    script = Path(shutil.which("ejabberdctl") or "/usr/sbin/ejabberdctl")
    lines = (line for line in script.read_text().splitlines() if line.startswith("ERL_LIBS="))
    return next(lines, "").partition("=")[2].strip("'\"")
