/* Messages in one room. */
#define _GNU_SOURCE
#include "run.h"
#include <stdio.h>
#include <string.h>

static char room[300];
static int joined, turn;
static int has_code(const Buf *b, const char *code) {
    char a[24], d[24];
    snprintf(a, sizeof a, "code='%s'", code);
    snprintf(d, sizeof d, "code=\"%s\"", code);
    return find(b, a) || find(b, d);
}
static void on_text_join(Conn *c) {
    if (c->flag == 1 && has_code(&c->in, "110")) {
        c->flag = 0;
        if (c->idx == 0) {              /* the first comer opens a new room as it is */
            c->flag = 2;
            buf_fmt(&c->out, "<iq type='set' id='xl-cfg' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
                             "<x xmlns='jabber:x:data' type='submit'/></query></iq>", room);
            conn_send(c);
        }
    }
    if (c->flag == 2 && find(&c->in, "xl-cfg")) c->flag = 0;
    if (c->flag == 0) {
        joined++;
        buf_free(&c->in);
        c->state = S_READY;
    } else if (find(&c->in, "'error'") || find(&c->in, "\"error\""))
        die("joining %s failed: %.*s", room, (int)(c->in.len < 600 ? c->in.len : 600), c->in.p);
}
static void join(Conn *c) {
    c->state = S_TEXT;
    c->flag = 1;
    buf_fmt(&c->out, "<presence to='%s/nick%u'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>",
            room, c->idx);
    conn_send(c);
}
static void group_send(Conn *c, uint64_t ts) {
    if (c->fd >= 0) put_message(c, "groupchat", room, ts, MARK_ALL);
}
static void on_group(Conn *c, const Mark *m, uint64_t now) {
    (void)c;
    if (m->src >= (uint32_t)total) return;
    delivered++;
    life_delivered++;
    if (measuring) hist_add(&lat, now - m->ts);
    Conn *s = &conns[m->src];
    if (++s->owed < total) return;      /* everyone has it: that message is done */
    s->owed = 0;
    done++;
    if (measuring) hist_add(&whole, now - m->ts);
    if (opt.rate <= 0 && !stopped) group_send(s, now);
}
static void group_due(uint64_t due) {
    group_send(&conns[turn], due);
    if (++turn == opt.senders) turn = 0;
}
void run_muc(void) {
    if (opt.senders > total) opt.senders = total;
    open_sessions(0, total);
    hooks.text = on_text_join;
    if (opt.room) snprintf(room, sizeof room, "%s@%s", opt.room, opt.muc_host);
    else snprintf(room, sizeof room, "xl%08x@%s", run_id, opt.muc_host);
    for (int next = 0; joined < total; check_time()) {
        while (next < total && next - joined < (joined ? 8 : 1)) join(&conns[next++]);
        pump(now_ns() + SEC / 10);
    }
    wait_s(opt.settle);
    hooks.mark = on_group;
    send_due = group_due;
    if (opt.rate <= 0)
        for (int w = 0; w < opt.window; w++)
            for (int i = 0; i < opt.senders; i++) group_send(&conns[i], now_ns());
    measure();
    report_begin();
    j_int("occupants", total);
    j_int("senders", opt.senders);
    if (opt.rate > 0) j_num("rate", opt.rate);
    else j_int("window", opt.window);
    j_int("sent", (long long)sent);
    j_int("deliveries", (long long)delivered);
    j_num("messages_per_s", (double)done / win.secs);
    j_num("deliveries_per_s", (double)delivered / win.secs);
    j_int("lost", (long long)(life_sent * (uint64_t)total - life_delivered));
    j_latency();
    j_hist("last_copy_ms", &whole);
    report_end("deliveries", (double)delivered);
    fprintf(stderr, "muc: %.0f deliveries/s (%.0f messages/s to %d), p50 %.2f p99 %.2f ms, %.5f server CPU s per 1000 deliveries, lost %lld\n",
            (double)delivered / win.secs, (double)done / win.secs, total, hist_ms(&lat, .5), hist_ms(&lat, .99),
            cpu_k((double)delivered), (long long)(life_sent * (uint64_t)total - life_delivered));
    close_all();
}
