-- Prosody for benchmarks: plain and meant for speed. benchmarks/servers.py sets the BENCH_* variables.
run_as_root = true
pidfile = ENV_BENCH_DATA .. "/prosody.pid"
data_path = ENV_BENCH_DATA
certificates = ENV_BENCH_CERTS
network_backend = "epoll"
-- Nagle's algorithm is on by default in 0.12, which delays every second small write.
network_settings = { nagle = false, tcp_backlog = 1024 }
-- 0.12 collects garbage in steps by default, which costs it two thirds of its throughput here.
gc = { mode = "generational" }
storage = "internal"
interfaces = { "127.0.0.1" }
c2s_ports = { tonumber(ENV_BENCH_PORT) }
c2s_direct_tls_ports = { tonumber(ENV_BENCH_TLS_PORT) }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
muc_room_default_public = true
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping" }
modules_disabled = { "s2s", "offline" }
log = { warn = ENV_BENCH_DATA .. "/prosody.log" }
VirtualHost "localhost"
	ssl = { certificate = ENV_BENCH_CERTS .. "/localhost.crt", key = ENV_BENCH_CERTS .. "/localhost.key" }
Component "conference.localhost" "muc"
	modules_enabled = {}
