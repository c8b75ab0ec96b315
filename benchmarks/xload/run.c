/* The sessions of a run, and when they send: closed loop, or open loop on a schedule. */
#define _GNU_SOURCE
#include "run.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

Conn *conns;
int total, stopped;
uint64_t end_of_run;
static int ready_n, in_login;

/* ---- sessions ---- */
static void on_ready_open(Conn *c) {
    (void)c;
    ready_n++;
    in_login--;
}
static void on_closed(Conn *c, const char *why) {
    if (!*first_error) snprintf(first_error, sizeof first_error, "%s", why);
    if (c->tag == 1) dropped++;
    else {
        in_login--;
        failed++;
    }
}

void check_time(void) {
    if (now_ns() > end_of_run) die("--max-time reached (%s)", *first_error ? first_error : "no error seen");
}

void expire(Conn *list, int n) {
    static uint64_t last;
    uint64_t now = now_ns();
    if (now - last < SEC) return;
    last = now;
    for (int i = 0; i < n; i++)
        if (list[i].fd >= 0 && list[i].state < S_READY && (double)(now - list[i].t_start) / 1e9 > opt.timeout)
            conn_fail(&list[i], "log-in timed out in state %d", (int)list[i].state);
}

/* Open sessions from..from+n-1; one that fails is tried three times in all. */
void open_sessions(int from, int n) {
    hooks.ready = on_ready_open;
    hooks.closed = on_closed;
    for (int round = 0; round < 3; round++) {
        int next = from;
        if (round) failed = 0;
        while (next < from + n || in_login > 0) {
            while (in_login < opt.concurrency && next < from + n) {
                Conn *c = &conns[next++];
                if (c->fd >= 0) continue;
                in_login++;
                conn_start(c);
            }
            pump(now_ns() + SEC / 10);
            expire(conns, total);
            check_time();
        }
        int missing = 0;
        for (int i = from; i < from + n; i++) missing += conns[i].fd < 0;
        if (!missing) break;
        fprintf(stderr, "xload: %d sessions missing after round %d: %s\n", missing, round + 1, first_error);
    }
    for (int i = from; i < from + n; i++) {
        if (conns[i].fd < 0) die("session %d could not be opened: %s", i, first_error);
        conns[i].tag = 1;
    }
}

void wait_s(double s) {
    for (uint64_t t = now_ns() + (uint64_t)(s * 1e9); now_ns() < t; check_time()) pump(t);
}

/* ---- timing ---- */
static uint64_t next_due;
void (*send_due)(uint64_t due);
static uint64_t gap(void) {
    double g = 1e9 / opt.rate;
    if (opt.poisson) g *= -log((random() + 1.0) / (RAND_MAX + 2.0));
    return (uint64_t)g;
}
void drive(double secs) {
    uint64_t until = now_ns() + (uint64_t)(secs * 1e9);
    for (;;) {
        uint64_t now = now_ns(), wake = until;
        if (now >= until) return;
        if (opt.rate > 0 && !stopped) {
            for (int burst = 0; next_due <= now && burst < 64; burst++) {
                send_due(next_due);
                next_due += gap();
            }
            if (next_due < wake) wake = next_due;
        }
        pump(wake);
        check_time();
    }
}
/* Warm up, measure, then let what is under way arrive. */
void measure(void) {
    next_due = now_ns();
    drive(opt.warmup);
    window_open();
    drive(opt.duration);
    window_close();
    uint64_t s = sent, d = delivered, b = bounced;
    stopped = 1;
    drive(opt.drain);
    sent = s;
    delivered = d;
    bounced = b;
}
void close_all(void) {
    hooks.closed = NULL;
    for (int i = 0; i < total; i++) conn_close(&conns[i], 1);
}
