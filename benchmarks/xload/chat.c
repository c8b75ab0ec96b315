/* Messages between pairs; with --peer-domain each pair has one session at each of two servers. */
#define _GNU_SOURCE
#include "run.h"
#include <stdio.h>
#include <stdlib.h>

static char **addr;                     /* where messages for session i go */
static void chat_send(Conn *c, uint64_t ts) {
    uint32_t peer = c->idx ^ 1;
    if (conns[peer].fd < 0) return;
    put_message(c, "chat", addr[peer], ts, peer);
}
static void on_chat(Conn *c, const Mark *m, uint64_t now) {
    if (m->dst != c->idx) {             /* an error that came back to its sender */
        bounced++;
        return;
    }
    delivered++;
    life_delivered++;
    if (measuring) hist_add(&lat, now - m->ts);
    if (opt.rate <= 0 && !stopped) chat_send(opt.one_way ? &conns[c->idx ^ 1] : c, now);
}
static uint32_t *order, order_at, order_n;
static void chat_due(uint64_t due) {
    chat_send(&conns[order[order_at]], due);
    if (++order_at == order_n) order_at = 0;
}
void run_chat(void) {
    if (total % 2) die("chat needs an even --users");
    ProcUse a = {0}, b = {0};
    int have = !proc_tree(opt.server_pid, &a, 1);
    uint64_t t = now_ns();
    open_sessions(0, total);
    double opened = (double)(now_ns() - t) / 1e9;
    int pairs = opt.active_pairs > 0 && opt.active_pairs < total / 2 ? opt.active_pairs : total / 2;
    addr = calloc((size_t)total, sizeof *addr);
    for (int i = 0; i < total; i++) {
        if (opt.to_full) addr[i] = conns[i].jid;
        else if (asprintf(&addr[i], "%s%u@%s", opt.prefix, conns[i].user, domain_of(&conns[i])) < 0) die("out of memory");
    }
    wait_s(opt.settle);
    if (have) have = !proc_tree(opt.server_pid, &b, 1);
    hooks.mark = on_chat;
    if (opt.rate > 0) {                 /* every session in turn, in an order of no pattern */
        uint32_t step = opt.one_way ? 2 : 1;
        order_n = (uint32_t)pairs * 2 / step;
        order = malloc(order_n * sizeof *order);
        for (uint32_t i = 0; i < order_n; i++) order[i] = i * step;
        for (uint32_t i = order_n - 1; i > 0; i--) {
            uint32_t k = (uint32_t)random() % (i + 1), t = order[i];
            order[i] = order[k];
            order[k] = t;
        }
        send_due = chat_due;
    } else
        for (int w = 0; w < opt.window; w++)
            for (int p = 0; p < pairs; p++) chat_send(&conns[2 * p + (opt.one_way ? 0 : w & 1)], now_ns());
    measure();
    report_begin();
    j_int("pairs", pairs);
    if (opt.rate > 0) j_num("rate", opt.rate);
    else j_int("window", opt.window);
    j_str("to", opt.to_full ? "full" : "bare");
    j_int("sent", (long long)sent);
    j_int("delivered", (long long)delivered);
    j_num("delivered_per_s", (double)delivered / win.secs);
    j_int("errors", (long long)bounced);
    j_int("lost", (long long)(life_sent - life_delivered));
    j_num("opened_per_s", total / opened);
    if (have) j_num("rss_kib_per_session", (b.rss_mib - a.rss_mib) * 1024 / total);
    j_latency();
    report_end("messages", (double)delivered);
    fprintf(stderr, "chat: %.0f msg/s, p50 %.3f p99 %.3f p99.9 %.3f ms, %.4f server CPU s per 1000, server %.0f %%, generator %.0f %%, lost %lld\n",
            (double)delivered / win.secs, hist_ms(&lat, .5), hist_ms(&lat, .99), hist_ms(&lat, .999),
            cpu_k((double)delivered), win.have_server ? 100 * (win.s1.cpu_s - win.s0.cpu_s) / win.secs : 0,
            100 * win.self / win.secs, (long long)(life_sent - life_delivered));
    close_all();
}
