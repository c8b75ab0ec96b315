/* What a run used and did: the measured window, and the report as one line of JSON. */
#define _GNU_SOURCE
#include "run.h"
#include <stdio.h>
#include <string.h>

Window win;
int measuring, failed, dropped;
char first_error[300];
Hist lat, whole;
uint64_t sent, delivered, done, bounced, life_sent, life_delivered;

/* ---- the measured window ---- */
void window_open(void) {
    memset(&lat, 0, sizeof lat);
    memset(&whole, 0, sizeof whole);
    sent = delivered = done = bounced = 0;
    win.load = load1();
    win.have_server = !proc_tree(opt.server_pid, &win.s0, 0);
    win.have_peer = !proc_tree(opt.peer_pid, &win.p0, 0);
    mach_use(&win.m0);
    win.g0 = self_cpu();
    win.in0 = bytes_in;
    win.out0 = bytes_out;
    win.t0 = now_ns();
    measuring = 1;
}
void window_close(void) {
    measuring = 0;
    win.secs = (double)(now_ns() - win.t0) / 1e9;
    win.self = self_cpu() - win.g0;
    mach_use(&win.m1);
    win.in = bytes_in - win.in0;
    win.out = bytes_out - win.out0;
    if (win.have_server) win.have_server = !proc_tree(opt.server_pid, &win.s1, 1);
    if (win.have_peer) win.have_peer = !proc_tree(opt.peer_pid, &win.p1, 0);
}

/* ---- report ---- */
static Buf js;
void j_num(const char *k, double v) { buf_fmt(&js, ",\"%s\":%.6g", k, v); }
void j_int(const char *k, long long v) { buf_fmt(&js, ",\"%s\":%lld", k, v); }
void j_str(const char *k, const char *v) {
    buf_fmt(&js, ",\"%s\":\"", k);
    for (; *v; v++) {
        if ((unsigned char)*v < 32) continue;
        if (*v == '"' || *v == '\\') buf_put(&js, "\\", 1);
        buf_put(&js, v, 1);
    }
    buf_put(&js, "\"", 1);
}
void j_hist(const char *k, const Hist *h) {
    if (!h->n) return;
    buf_fmt(&js, ",\"%s\":{\"n\":%llu,\"mean\":%.4g,\"p50\":%.4g,\"p90\":%.4g,\"p99\":%.4g,\"p99.9\":%.4g,\"max\":%.4g}",
            k, (unsigned long long)h->n, (double)h->sum / (double)h->n / 1e6, hist_ms(h, .5), hist_ms(h, .9),
            hist_ms(h, .99), hist_ms(h, .999), (double)h->max / 1e6);
}
void report_begin(void) {
    static const char *tls[] = {"none", "starttls", "direct"}, *mech[] = {"plain", "scram-sha-1", "scram-sha-256"};
    js.len = 0;
    buf_fmt(&js, "{\"scenario\":\"%s\"", opt.scenario);
    j_str("label", opt.label);
    j_str("tls", tls[opt.tls]);
    j_str("mech", mech[opt.mech]);
    j_int("sessions", total);
}
/* `units` is what the server did in the window: messages delivered, log-ins, presences. */
void report_end(const char *unit, double units) {
    char key[64];
    if (win.secs > 0) j_num("seconds", win.secs);
    if (win.have_server) {
        double cpu = win.s1.cpu_s - win.s0.cpu_s;
        j_num("server_cpu_s", cpu);
        j_num("server_cpu_pct", 100 * cpu / win.secs);
        if (cpu > 0) j_num("server_system_share", (win.s1.system_s - win.s0.system_s) / cpu);
        if (units > 0) {
            snprintf(key, sizeof key, "server_cpu_s_per_1000_%s", unit);
            j_num(key, 1000 * cpu / units);
            if (cpu > 0) {
                snprintf(key, sizeof key, "%s_per_server_cpu_s", unit);
                j_num(key, units / cpu);
            }
        }
        j_num("server_rss_mib", win.s1.rss_mib);
        j_num("server_pss_mib", win.s1.pss_mib);
        j_int("server_procs", win.s1.procs);
    }
    double peer = win.have_peer ? win.p1.cpu_s - win.p0.cpu_s : 0;
    if (win.have_peer) {
        j_num("peer_cpu_s", peer);
        j_num("peer_cpu_pct", 100 * peer / win.secs);
        if (peer > 0) j_num("peer_system_share", (win.p1.system_s - win.p0.system_s) / peer);
        snprintf(key, sizeof key, "peer_cpu_s_per_1000_%s", unit);
        if (units > 0) j_num(key, 1000 * peer / units);
    }
    if (win.secs > 0) {
        double steal = win.m1.steal_s - win.m0.steal_s, busy = win.m1.busy_s - win.m0.busy_s;
        double other = busy - win.self - peer - (win.have_server ? win.s1.cpu_s - win.s0.cpu_s : 0);
        j_num("generator_cpu_pct", 100 * win.self / win.secs);
        j_num("load1_at_start", win.load);
        j_num("steal_pct", 100 * steal / win.secs);
        if (win.have_server) j_num("other_cpu_pct", 100 * (other > 0 ? other : 0) / win.secs);
        j_num("bytes_in", (double)win.in);
        j_num("bytes_out", (double)win.out);
    }
    j_int("failed", failed);
    j_int("dropped", dropped);
    if (*first_error) j_str("first_error", first_error);
    buf_put(&js, "}\n", 2);
    fwrite(js.p, 1, js.len, stdout);
    fflush(stdout);
}
void j_latency(void) { j_hist("latency_ms", &lat); }
double cpu_k(double units) {
    return win.have_server && units > 0 ? 1000 * (win.s1.cpu_s - win.s0.cpu_s) / units : 0;
}
