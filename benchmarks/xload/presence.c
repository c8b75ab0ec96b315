/* Presence of one account, to contacts who all are on line. */
#define _GNU_SOURCE
#include "run.h"
#include <stdio.h>
#include <string.h>

static int roster_to, roster_both, roster_seen, roster_no;
static int count_between(const char *p, const char *end, const char *what) {
    int n = 0;
    size_t k = strlen(what);
    while ((p = memmem(p, (size_t)(end - p), what, k))) {
        n++;
        p += k;
    }
    return n;
}
static void on_text_roster(Conn *c) {
    char id[24];
    snprintf(id, sizeof id, "xl-r%05d", roster_no);
    char *s = find(&c->in, id), *e = s ? find_from(&c->in, s, "</iq>") : NULL;
    if (!e) return;
    roster_both = count_between(s, e, "subscription='both'") + count_between(s, e, "subscription=\"both\"");
    roster_to = count_between(s, e, "subscription='to'") + count_between(s, e, "subscription=\"to\"");
    roster_seen = 1;
    c->in.len = 0;
}
static void poll_roster(void) {
    roster_seen = 0;
    buf_fmt(&conns[0].out, "<iq type='get' id='xl-r%05d'><query xmlns='jabber:iq:roster'/></iq>", ++roster_no);
    conn_send(&conns[0]);
    for (uint64_t t = now_ns() + 20 * SEC; !roster_seen && now_ns() < t; check_time()) pump(now_ns() + SEC / 10);
    if (!roster_seen) die("no roster from the server");
}
static void ask(Conn *c, const char *type, const Conn *to) {
    buf_fmt(&c->out, "<presence type='%s' to='%s%u@%s'/>", type, opt.prefix, to->user, opt.domain);
    conn_send(c);
}
static void befriend(void) {
    int want = total - 1;
    hooks.text = on_text_roster;
    conns[0].state = S_TEXT;
    poll_roster();
    for (int round = 0; roster_both < want && round < 3; round++) {
        fprintf(stderr, "presence: setting up subscriptions (%d of %d there)\n", roster_both, want);
        for (int i = 1; i < total; i++) {
            ask(&conns[0], "subscribe", &conns[i]);
            if (i % 50 == 0) wait_s(.1);
        }
        poll_roster();
        wait_s(1);
        for (int i = 1; i < total; i++) {
            ask(&conns[i], "subscribed", &conns[0]);
            ask(&conns[i], "subscribe", &conns[0]);
            if (i % 50 == 0) wait_s(.1);
        }
        for (int k = 0; k < 20; k++) {
            wait_s(.5);
            poll_roster();
            if (roster_to + roster_both >= want) break;
        }
        for (int i = 1; i < total; i++) {
            ask(&conns[0], "subscribed", &conns[i]);
            if (i % 50 == 0) wait_s(.1);
        }
        for (int k = 0; k < 20 && roster_both < want; k++) {
            wait_s(.5);
            poll_roster();
        }
    }
    if (roster_both < want) die("only %d of %d contacts became mutual (%d one way)", roster_both, want, roster_to);
    conns[0].in.len = 0;
    conns[0].state = S_READY;
}
static void toggle(uint64_t ts) {
    static int away;
    Conn *c = &conns[0];
    char mark[MARK_LEN];
    put_mark(mark, ts, 0, MARK_ALL);
    buf_fmt(&c->out, "<presence><show>%s</show><status>%.*s</status></presence>", (away ^= 1) ? "away" : "dnd", MARK_LEN, mark);
    conn_send(c);
    sent++;
    life_sent++;
}
static void on_presence(Conn *c, const Mark *m, uint64_t now) {
    if (c->idx == 0) return;            /* the echo to oneself is not counted */
    delivered++;
    life_delivered++;
    if (measuring) hist_add(&lat, now - m->ts);
    if (++conns[0].owed < total - 1) return;
    conns[0].owed = 0;
    done++;
    if (measuring) hist_add(&whole, now - m->ts);
    if (opt.rate <= 0 && !stopped) toggle(now);
}
void run_presence(void) {
    open_sessions(0, total);
    befriend();
    wait_s(opt.settle + 1);
    hooks.mark = on_presence;
    send_due = toggle;
    if (opt.rate <= 0)
        for (int w = 0; w < opt.window; w++) toggle(now_ns());
    measure();
    report_begin();
    j_int("contacts", total - 1);
    if (opt.rate > 0) j_num("rate", opt.rate);
    else j_int("window", opt.window);
    j_int("deliveries", (long long)delivered);
    j_num("changes_per_s", (double)done / win.secs);
    j_num("deliveries_per_s", (double)delivered / win.secs);
    j_int("lost", (long long)(life_sent * (uint64_t)(total - 1)) - (long long)life_delivered);
    j_latency();
    j_hist("last_copy_ms", &whole);
    report_end("deliveries", (double)delivered);
    fprintf(stderr, "presence: %.0f deliveries/s (%.1f changes/s to %d), last copy p50 %.1f ms, %.5f server CPU s per 1000 deliveries, lost %lld\n",
            (double)delivered / win.secs, (double)done / win.secs, total - 1, hist_ms(&whole, .5),
            cpu_k((double)delivered), (long long)(life_sent * (uint64_t)(total - 1)) - (long long)life_delivered);
    close_all();
}
