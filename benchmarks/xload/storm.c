/* Many short streams: register accounts, or log in again and again. */
#define _GNU_SOURCE
#include "run.h"
#include <stdio.h>

static Conn *restart[65536];
static int restart_n, existed;
static void on_registered(Conn *c) {
    existed += c->flag;
    done++;
    conn_close(c, 1);
    restart[restart_n++] = c;
}
static void on_storm_closed(Conn *c, const char *why) {
    if (!*first_error) snprintf(first_error, sizeof first_error, "%s", why);
    failed++;
    restart[restart_n++] = c;
}
void run_register(void) {
    hooks.ready = on_registered;
    hooks.closed = on_storm_closed;
    int next = 0, slots = opt.concurrency < opt.users ? opt.concurrency : opt.users, idle = slots;
    for (int i = 0; i < slots; i++) restart[restart_n++] = &conns[i];
    total = slots;
    window_open();
    while (next < opt.users || idle < slots) {
        int n = restart_n;
        restart_n = 0;
        idle = 0;
        for (int i = 0; i < n; i++) {
            Conn *c = restart[i];
            if (next < opt.users) {
                c->user = (uint32_t)(opt.first + next++);
                conn_start(c);
            } else {
                restart[restart_n++] = c;
                idle++;
            }
        }
        if (idle == slots) break;
        pump(now_ns() + SEC / 10);
        expire(conns, slots);
        check_time();
    }
    window_close();
    report_begin();
    j_int("accounts", (long long)done);
    j_int("existed_before", existed);
    j_num("accounts_per_s", (double)done / win.secs);
    report_end("accounts", (double)done);
    fprintf(stderr, "register: %llu accounts (%d there before), %d failed, %.0f/s\n", (unsigned long long)done,
            existed, failed, (double)done / win.secs);
}

/* ---- login storm ---- */
static void on_login(Conn *c) {
    hist_add(&whole, now_ns() - c->t_start);
    done++;
    conn_close(c, 1);
    restart[restart_n++] = c;
}
void run_login(void) {
    opt.no_presence = 1;
    hooks.ready = on_login;
    hooks.closed = on_storm_closed;
    total = opt.concurrency;
    for (int i = 0; i < total; i++) restart[restart_n++] = &conns[i];
    uint32_t turn = 0, seq = 0;
    uint64_t warm_end = now_ns() + (uint64_t)(opt.warmup * 1e9), end = warm_end + (uint64_t)(opt.duration * 1e9);
    for (;;) {
        uint64_t now = now_ns();
        if (!measuring && now >= warm_end) {
            failed = 0;
            window_open();
        }
        if (now >= end || (opt.count > 0 && measuring && done >= (uint64_t)opt.count)) break;
        for (int n = restart_n; n > 0; n--) {
            Conn *c = restart[--restart_n];
            c->user = (uint32_t)opt.first + turn++ % (uint32_t)opt.users;
            c->idx = seq++;             /* a new resource each time */
            conn_start(c);
        }
        pump(measuring ? end : warm_end);
        expire(conns, total);
        check_time();
    }
    window_close();
    report_begin();
    j_int("logins", (long long)done);
    j_num("logins_per_s", (double)done / win.secs);
    j_int("concurrency", opt.concurrency);
    j_hist("login_ms", &whole);
    report_end("logins", (double)done);
    fprintf(stderr, "login: %.0f/s, p50 %.2f ms, p99 %.2f ms, %.4f server CPU s per 1000, %d failed\n",
            (double)done / win.secs, hist_ms(&whole, .5), hist_ms(&whole, .99), cpu_k((double)done), failed);
    close_all();
}
