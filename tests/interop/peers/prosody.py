"""Prosody as a peer: rooms, archive, offline messages, carbons and federation, all in its own folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.interop.peers.server import PeerServer

# There is no setting for where a domain is: this module puts a fixed address in place of the SRV look-up.
_ROUTES = """
module:set_global();
local service = require "net.resolvers.service";
local basic = require "net.resolvers.basic";
local routes = module:get_option("routes", {});
local look_up = service.new;
local nowhere = { next = function (_, found) found(nil); end };
service.new = function (name, kind, ...)
    local route = routes[name];
    if not route then return look_up(name, kind, ...); end
    return kind == "xmpp-server" and basic.new(route[1], route[2], ...) or nowhere;
end
"""

_CONFIGURATION = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
plugin_paths = {{ "{folder}/modules" }}
network_settings = {{ nagle = false }}
interfaces = {{ "{host}" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ {tls_port} }}
s2s_ports = {{ {s2s_port} }}
s2s_direct_tls_ports = {{ {s2s_tls_port} }}
c2s_require_encryption = false
s2s_require_encryption = true
s2s_secure_auth = {strict}
authentication = "internal_hashed"
allow_registration = true
ssl = {{ certificate = "{certificate}", key = "{certificate}", cafile = "{ca}" }}
modules_enabled = {{
    "roster"; "saslauth"; "tls"; "disco"; "ping"; "register_ibr"; "dialback"; "vcard_legacy"; "private";
    "carbons"; "mam"; "smacks"; "blocklist"; "bookmarks"; "pep"; "version"; "time"; "limits"; "routes"
}}
routes = {{ {routes} }}
log = {{ {{ levels = {{ min = "debug" }}, to = "file", filename = "{folder}/prosody.log" }} }}
VirtualHost "{domain}"
Component "{rooms}" "muc"
    modules_enabled = {{ "muc_mam" }}
    ssl = {{ certificate = "{certificate}", key = "{certificate}", cafile = "{ca}" }}
"""


class ProsodyServer(PeerServer):
    """Prosody 0.12 or later, in the foreground."""

    name = "prosody"
    conference = "conference"

    def _command(self) -> list[str | Path]:
        (self.folder / "data").mkdir(exist_ok=True)
        modules = self.folder / "modules"
        modules.mkdir(exist_ok=True)
        (modules / "mod_routes.lua").write_text(_ROUTES)
        routes = (f'["{to}"] = {{ "{at.host}", {at.port} }}' for to, at in self.routes.items())
        configuration = self.folder / "prosody.cfg.lua"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                host=self.host,
                port=self.port,
                tls_port=self.tls_port,
                s2s_port=self.s2s_port,
                s2s_tls_port=self.s2s_tls_port,
                strict=str(self.strict_s2s).lower(),
                certificate=self.authority.folder / f"{self.domain}.pem",
                ca=self.authority.ca,
                routes=", ".join(routes),
                domain=self.domain,
                rooms=self.rooms,
            )
        )
        return ["prosody", "--config", configuration, "-F"]

    def _environment(self) -> Mapping[str, str]:
        return {}
