/* A message as clients write it. */
#define _GNU_SOURCE
#include "run.h"
#include <string.h>

static const char filler[] = " Hello there, shall we meet for lunch at noon tomorrow, or rather have a long walk in the "
                             "park by the river once the rain is over? I would like to hear how your trip went.";
_Static_assert(sizeof filler - 1 >= FILLER_MAX, "the filler is shorter than the longest body");
static uint32_t msg_seq;

void put_message(Conn *c, const char *type, const char *to, uint64_t ts, uint32_t dst) {
    static const char tail[] = "<active xmlns='http://jabber.org/protocol/chatstates'/><origin-id xmlns='urn:xmpp:sid:0' id='";
    char id[36], mark[MARK_LEN];
    memcpy(id, "00000000-0000-4000-8000-000000000000", 36);
    put_hex(id, run_id, 8);
    put_hex(id + 24, c->idx, 4);
    put_hex(id + 28, msg_seq++, 8);
    put_mark(mark, ts, c->idx, dst);
    Buf *o = &c->out;
    buf_str(o, "<message type='");
    buf_str(o, type);
    buf_str(o, "' to='");
    buf_str(o, to);
    buf_str(o, "' id='");
    buf_put(o, id, 36);
    buf_str(o, "'><body>");
    buf_put(o, mark, MARK_LEN);
    buf_put(o, filler, (size_t)(opt.body_len - MARK_LEN));
    buf_str(o, "</body>");
    buf_put(o, tail, sizeof tail - 1);
    buf_put(o, id, 36);
    buf_str(o, "'/></message>");
    conn_send(c);
    sent++;
    life_sent++;
}
