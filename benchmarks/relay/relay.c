/* The least that a server of chat messages can do: scan with expat, look up, write. A lower bound, not a server.
 *
 * It takes any password (PLAIN), keeps no roster, tells nobody of presence, and sends a message on as it came with
 * the sender's address in it. No TLS. Loopback only:  relay PORT  */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <expat.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "localhost"
#define TABLE (1u << 16)

typedef struct { char *p; size_t len, cap; } Buf;

typedef struct Conn {
    int fd, depth, restart, dirty;
    XML_Parser parser;
    Buf in, out;                    /* in: from the first byte of the stanza under way */
    long base;                      /* the parser's index of in.p[0] */
    long start;                     /* of the stanza under way */
    char kind, to[128], id[64], user[64], jid[192];
    struct Conn *next_dirty, *next_user;
} Conn;

static int ep;
static Conn *dirty_list, *table[TABLE];

static void put(Buf *b, const void *data, size_t n) {
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2;
        if (!(b->p = realloc(b->p, b->cap))) abort();
    }
    memcpy(b->p + b->len, data, n);
    b->len += n;
}
static void eat(Buf *b, size_t n) {
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
    if (!b->len) {                  /* an idle session holds no buffer */
        free(b->p);
        memset(b, 0, sizeof *b);
    }
}

static void send_bytes(Conn *c, const char *p, size_t n) {
    put(&c->out, p, n);
    if (c->dirty) return;
    c->dirty = 1;
    c->next_dirty = dirty_list;
    dirty_list = c;
}
static void say(Conn *c, const char *text) { send_bytes(c, text, strlen(text)); }

/* ---- who is here ---- */
static Conn **slot(const char *user, size_t n) {
    unsigned h = 5381;
    for (size_t i = 0; i < n; i++) h = h * 33 + (unsigned char)user[i];
    return &table[h % TABLE];
}
static Conn *find_user(const char *to) {
    const char *at = strchr(to, '@');
    size_t n = at ? (size_t)(at - to) : 0;
    for (Conn *c = *slot(to, n); c; c = c->next_user)
        if (strlen(c->user) == n && !memcmp(c->user, to, n)) return c;
    return NULL;
}

/* ---- stanzas ---- */
static const char FEATURES_BEFORE[] =
    "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
    "</stream:features>";
static const char FEATURES_AFTER[] =
    "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";

static int base64(const char *s, size_t n, char *out, size_t cap) {
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, have = 0;
    size_t k = 0;
    for (size_t i = 0; i < n && s[i] != '=' && k < cap; i++) {
        const char *q = s[i] ? strchr(set, s[i]) : NULL;
        if (!q) return -1;
        bits = bits << 6 | (unsigned)(q - set);
        if ((have += 6) >= 8) out[k++] = (char)(bits >> (have -= 8));
    }
    return (int)k;
}
static void authenticate(Conn *c, const char *raw, size_t n) {
    char plain[256] = "";
    const char *from = memchr(raw, '>', n), *to = from ? memchr(from, '<', (size_t)(raw + n - from)) : NULL;
    int k = to ? base64(from + 1, (size_t)(to - from - 1), plain, sizeof plain - 1) : -1;
    if (k < 2) return;
    snprintf(c->user, sizeof c->user, "%s", plain + 1);     /* \0 user \0 password */
    say(c, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    c->restart = 1;
    XML_StopParser(c->parser, XML_FALSE);
}
static void answer_iq(Conn *c, const char *raw, size_t n) {
    char text[600];
    const char *r = memmem(raw, n, "<resource>", 10);
    const char *e = r ? memmem(r, (size_t)(raw + n - r), "</resource>", 11) : NULL;
    if (e) {
        snprintf(c->jid, sizeof c->jid, "%s@" HOST "/%.*s", c->user, (int)(e - r - 10), r + 10);
        Conn **s = slot(c->user, strlen(c->user));
        c->next_user = *s;
        *s = c;
        snprintf(text, sizeof text, "<iq type='result' id='%s'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                                    "<jid>%s</jid></bind></iq>", c->id, c->jid);
    } else
        snprintf(text, sizeof text, "<iq type='result' id='%s'/>", c->id);
    say(c, text);
}
static void on_stanza(Conn *c, const char *raw, size_t n) {
    Conn *to;
    if (c->kind == 'a') authenticate(c, raw, n);
    else if (c->kind == 'i') answer_iq(c, raw, n);
    else if (c->kind == 'm' && (to = find_user(c->to))) {
        send_bytes(to, "<message from='", 15);
        send_bytes(to, c->jid, strlen(c->jid));
        send_bytes(to, "'", 1);
        send_bytes(to, raw + 8, n - 8);
    }
}

static void on_start(void *data, const char *name, const char **attrs) {
    Conn *c = data;
    if (++c->depth == 1) {
        say(c, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' from='" HOST "' id='1' version='1.0' "
               "xmlns:stream='http://etherx.jabber.org/streams'>");
        say(c, c->user[0] ? FEATURES_AFTER : FEATURES_BEFORE);
    } else if (c->depth == 2) {
        c->start = XML_GetCurrentByteIndex(c->parser);
        c->kind = name[0];
        c->to[0] = c->id[0] = 0;
        for (; *attrs; attrs += 2) {
            if (!strcmp(*attrs, "to")) snprintf(c->to, sizeof c->to, "%s", attrs[1]);
            else if (!strcmp(*attrs, "id")) snprintf(c->id, sizeof c->id, "%s", attrs[1]);
        }
    }
}
static void on_end(void *data, const char *name) {
    Conn *c = data;
    (void)name;
    if (--c->depth != 1) return;
    long end = XML_GetCurrentByteIndex(c->parser) + XML_GetCurrentByteCount(c->parser);
    on_stanza(c, c->in.p + (c->start - c->base), (size_t)(end - c->start));
    c->start = end;
}

static void prepare(Conn *c) {
    XML_SetUserData(c->parser, c);
    XML_SetElementHandler(c->parser, on_start, on_end);
    c->depth = 0;
    c->base = c->start = 0;
}

/* ---- sockets ---- */
static void drop(Conn *c) {
    for (Conn **s = slot(c->user, strlen(c->user)); *s; s = &(*s)->next_user)
        if (*s == c) {
            *s = c->next_user;
            break;
        }
    close(c->fd);
    c->fd = -1;                     /* freed when its turn among the dirty ones is over */
    if (!c->dirty) {
        c->dirty = 1;
        c->next_dirty = dirty_list;
        dirty_list = c;
    }
}
static int feed(Conn *c, size_t fresh) {
    for (;;) {
        size_t seen = c->in.len - fresh;
        enum XML_Status ok = XML_Parse(c->parser, c->in.p + seen, (int)fresh, 0);
        if (c->restart) {           /* what follows the log-in is a new stream */
            size_t used = (size_t)(c->start - c->base);
            c->restart = 0;
            eat(&c->in, used);
            fresh = c->in.len;
            XML_ParserReset(c->parser, NULL);
            prepare(c);
            if (fresh) continue;
            return 1;
        }
        long keep = c->depth > 1 ? c->start : c->base + (long)c->in.len;
        eat(&c->in, (size_t)(keep - c->base));
        c->base = keep;
        return ok == XML_STATUS_OK && c->depth > 0;
    }
}
static void readable(Conn *c) {
    static char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        drop(c);
        return;
    }
    put(&c->in, bytes, (size_t)n);
    if (!feed(c, (size_t)n)) drop(c);
}
static void flush_all(void) {
    while (dirty_list) {
        Conn *c = dirty_list;
        dirty_list = c->next_dirty;
        c->dirty = 0;
        if (c->fd < 0) {
            XML_ParserFree(c->parser);
            free(c->in.p);
            free(c->out.p);
            free(c);
            continue;
        }
        ssize_t n = send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL);
        if (n > 0) eat(&c->out, (size_t)n);
        struct epoll_event e = {.events = EPOLLIN | (c->out.len ? EPOLLOUT : 0), .data.ptr = c};
        if (c->out.len) epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    }
}
static void writable(Conn *c) {
    ssize_t n = send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL);
    if (n > 0) eat(&c->out, (size_t)n);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (!c->out.len) epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}
static void take(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->parser = XML_ParserCreate(NULL);
        prepare(c);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "0"))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (argc != 2 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024)) {
        fprintf(stderr, "relay: usage: relay PORT (%s)\n", strerror(errno));
        return 2;
    }
    ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev[256], own = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &own);
    for (;;) {
        int n = epoll_wait(ep, ev, 256, -1);
        for (int i = 0; i < n; i++) {
            Conn *c = ev[i].data.ptr;
            if (!c) take(listener);
            else if (c->fd >= 0) {
                if (ev[i].events & EPOLLOUT) writable(c);
                if (c->fd >= 0 && (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) readable(c);
            }
        }
        flush_all();
    }
}
