-- Prosody for benchmarks between servers: as prosody.cfg.lua, and with what Debian's configuration loads for
-- other servers. Its limits are off, as refserver's are. benchmarks/federated.py sets the BENCH_* variables.
run_as_root = true
pidfile = ENV_BENCH_DATA .. "/prosody.pid"
data_path = ENV_BENCH_DATA
certificates = ENV_BENCH_CERTS
plugin_paths = { ENV_BENCH_MODULES }
network_backend = "epoll"
network_settings = { nagle = false, tcp_backlog = 1024 }
gc = { mode = "generational" }
storage = "internal"
interfaces = { ENV_BENCH_HOST }
c2s_ports = { tonumber(ENV_BENCH_PORT) }
s2s_ports = { tonumber(ENV_BENCH_S2S_PORT) }
c2s_require_encryption = false
s2s_require_encryption = true
s2s_secure_auth = true
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "dialback", "smacks", "benchmark_route" }
modules_disabled = { "offline" }
benchmark_route = { ENV_BENCH_OTHER, ENV_BENCH_OTHER_HOST, tonumber(ENV_BENCH_OTHER_PORT) }
log = { warn = ENV_BENCH_DATA .. "/prosody.log" }
ssl = {
	certificate = ENV_BENCH_CERTS .. "/" .. ENV_BENCH_DOMAIN .. ".pem",
	key = ENV_BENCH_CERTS .. "/" .. ENV_BENCH_DOMAIN .. ".pem",
	cafile = ENV_BENCH_CERTS .. "/ca.pem",
}
VirtualHost (ENV_BENCH_DOMAIN)
