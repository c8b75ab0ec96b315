/* The XMPP log-in, from the stream header to the first presence. Off the hot path. */
#define _GNU_SOURCE
#include "conn.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *find_from(const Buf *b, const char *from, const char *needle) {
    if (!b->len) return NULL;
    return memmem(from, (size_t)(b->p + b->len - from), needle, strlen(needle));
}
char *find(const Buf *b, const char *needle) { return b->len ? find_from(b, b->p, needle) : NULL; }

void login_stream(Conn *c) {
    c->in.len = 0;
    c->state = S_FEATURES;
    if (!opt.no_xml_decl) buf_str(&c->out, "<?xml version='1.0'?>");
    buf_fmt(&c->out,
            "<stream:stream xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", domain_of(c));
    conn_send(c);
}

static void b64(Buf *out, const void *data, size_t n) {
    unsigned char tmp[2048];
    if (n > 1400) die("SASL text too long");
    int k = EVP_EncodeBlock(tmp, data, (int)n);
    buf_put(out, tmp, (size_t)k);
}
static int unb64(unsigned char *dst, const char *src, size_t n) {
    while (n && (src[n - 1] == '\n' || src[n - 1] == ' ')) n--;
    int k = EVP_DecodeBlock(dst, (const unsigned char *)src, (int)n);
    if (k > 0 && n && src[n - 1] == '=') k--;
    if (k > 0 && n > 1 && src[n - 2] == '=') k--;
    return k;
}

/* ---- SCRAM (RFC 5802); the derived keys are kept per account, as a client would ---- */
typedef struct { char salt[96]; int iter; unsigned char client[32], server[32]; } Keys;
static Keys *keys, last;        /* `last`: accounts seeded with one salt cost one derivation in all */

static const EVP_MD *scram_md(void) { return opt.mech == MECH_SCRAM256 ? EVP_sha256() : EVP_sha1(); }

static void hmac(const void *key, int klen, const char *text, size_t n, unsigned char *out) {
    unsigned len;
    HMAC(scram_md(), key, klen, (const unsigned char *)text, n, out, &len);
}

static void auth_begin(Conn *c) {
    const char *name = opt.mech == MECH_PLAIN ? "PLAIN" : opt.mech == MECH_SCRAM1 ? "SCRAM-SHA-1" : "SCRAM-SHA-256";
    char want[40], text[600];
    int n;
    snprintf(want, sizeof want, ">%s<", name);
    if (!find(&c->in, want)) {
        conn_fail(c, "%s not offered: %.*s", name, (int)(c->in.len < 300 ? c->in.len : 300), c->in.p);
        return;
    }
    if (opt.mech == MECH_PLAIN)
        n = snprintf(text, sizeof text, "%c%s%u%c%s", 0, opt.prefix, c->user, 0, opt.password);
    else {
        unsigned char raw[18];
        RAND_bytes(raw, sizeof raw);
        EVP_EncodeBlock((unsigned char *)c->nonce, raw, sizeof raw);
        n = snprintf(text, sizeof text, "n,,n=%s%u,r=%s", opt.prefix, c->user, c->nonce);
    }
    buf_fmt(&c->out, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>", name);
    b64(&c->out, text, (size_t)n);
    buf_str(&c->out, "</auth>");
    conn_send(c);
    c->in.len = 0;
    c->state = S_AUTH;
}

static void auth_challenge(Conn *c, const char *text, size_t n) {
    char srv[1024], nonce[512], salt[96], msg[2600];
    int iter, hlen = EVP_MD_get_size(scram_md());
    int k = n < 1300 ? unb64((unsigned char *)srv, text, n) : -1;
    if (k <= 0) {
        conn_fail(c, "bad SCRAM challenge");
        return;
    }
    srv[k] = 0;
    if (sscanf(srv, "r=%511[^,],s=%95[^,],i=%d", nonce, salt, &iter) != 3 ||
        strncmp(nonce, c->nonce, strlen(c->nonce))) {
        conn_fail(c, "bad SCRAM challenge");
        return;
    }
    if (!keys && !(keys = calloc((size_t)opt.users + 1, sizeof *keys))) die("out of memory");
    Keys *ky = &keys[(int)c->user - opt.first];
    if (strcmp(ky->salt, salt) || ky->iter != iter) {
        if (strcmp(last.salt, salt) || last.iter != iter) {
            unsigned char raw[96], salted[32];
            int sl = unb64(raw, salt, strlen(salt));
            PKCS5_PBKDF2_HMAC(opt.password, (int)strlen(opt.password), raw, sl, iter, scram_md(), hlen, salted);
            hmac(salted, hlen, "Client Key", 10, last.client);
            hmac(salted, hlen, "Server Key", 10, last.server);
            strcpy(last.salt, salt);
            last.iter = iter;
        }
        *ky = last;
    }
    unsigned char stored[32], sig[32];
    char out[800];
    int m = snprintf(msg, sizeof msg, "n=%s%u,r=%s,%s,c=biws,r=%s", opt.prefix, c->user, c->nonce, srv, nonce);
    EVP_Digest(ky->client, (size_t)hlen, stored, NULL, scram_md(), NULL);
    hmac(stored, hlen, msg, (size_t)m, sig);
    for (int i = 0; i < hlen; i++) sig[i] ^= ky->client[i];
    char proof[64];
    EVP_EncodeBlock((unsigned char *)proof, sig, hlen);
    int o = snprintf(out, sizeof out, "c=biws,r=%s,p=%s", nonce, proof);
    buf_str(&c->out, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>");
    b64(&c->out, out, (size_t)o);
    buf_str(&c->out, "</response>");
    conn_send(c);
    c->in.len = 0;
}

static void auth_feed(Conn *c) {
    char *s, *e;
    /* No "<" in the names: some servers write a namespace prefix there. */
    if ((s = find(&c->in, "failure")) && find_from(&c->in, s + 7, "failure>")) {
        conn_fail(c, "log-in refused: %.*s", (int)(c->in.len < 300 ? c->in.len : 300), c->in.p);
    } else if ((s = find(&c->in, "challenge")) && (s = find_from(&c->in, s, ">")) &&
               (e = find_from(&c->in, s, "</")) && find_from(&c->in, e, "challenge>")) {
        auth_challenge(c, s + 1, (size_t)(e - s - 1));
    } else if ((s = find(&c->in, "success")) && (e = find_from(&c->in, s, ">"))) {
        if (e[-1] != '/' && !find_from(&c->in, e, "success>")) return;
        c->authed = 1;
        login_stream(c);
    }
}

static void finish(Conn *c) {
    c->state = S_READY;
    buf_free(&c->in);
    if (hooks.ready) hooks.ready(c);
}

/* Presence, then the roster: when that answer is here the presence has been dealt with. */
static void presence(Conn *c) {
    if (opt.no_presence) {
        finish(c);
        return;
    }
    buf_str(&c->out, "<presence/><iq type='get' id='xl-ready'><query xmlns='jabber:iq:roster'/></iq>");
    conn_send(c);
    c->in.len = 0;
    c->state = S_BARRIER;
}

static void on_features(Conn *c) {
    char *s;
    if (!c->ssl && opt.tls == TLS_STARTTLS) {
        if (!find(&c->in, "urn:ietf:params:xml:ns:xmpp-tls")) {
            conn_fail(c, "STARTTLS not offered: %.*s", (int)(c->in.len < 300 ? c->in.len : 300), c->in.p);
            return;
        }
        buf_str(&c->out, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        c->state = S_PROCEED;
    } else if (!strcmp(opt.scenario, "register")) {
        buf_fmt(&c->out,
                "<iq type='set' id='xl-reg' to='%s'><query xmlns='jabber:iq:register'><username>%s%u</username>"
                "<password>%s</password></query></iq>", domain_of(c), opt.prefix, c->user, opt.password);
        c->state = S_REGISTER;
    } else if (!c->authed) {
        auth_begin(c);
        return;
    } else {
        s = find(&c->in, "urn:ietf:params:xml:ns:xmpp-session");
        if (s) {                        /* legacy session: only where it is not marked optional */
            char *e = find_from(&c->in, s, ">");
            c->need_session = !(e && e[-1] != '/' && !strncmp(e + 1, "<optional", 9));
        }
        buf_fmt(&c->out, "<iq type='set' id='xl-bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                         "<resource>%s%u</resource></bind></iq>", opt.resource, c->idx);
        c->state = S_BIND;
    }
    c->in.len = 0;
    conn_send(c);
}

/* `features>` that closes: the tag it ends begins with "</", whatever the prefix. */
static char *features_end(const Buf *b) {
    for (char *s = b->p; (s = find_from(b, s, "features>")); s++) {
        char *t = s;
        while (t > b->p && *t != '<') t--;
        if (t[0] == '<' && t[1] == '/') return s;
    }
    return NULL;
}

static int iq_done(Conn *c, const char *id) {   /* 1 result, -1 error, 0 not yet */
    char *s = find(&c->in, id), *t;
    if (!s) return 0;
    for (t = s; t > c->in.p && *t != '<'; t--) {}
    char *e = find_from(&c->in, t, ">");
    if (!e || (e[-1] != '/' && !find_from(&c->in, e, "</iq>"))) return 0;
    size_t n = (size_t)(e - t);
    return memmem(t, n, "'error'", 7) || memmem(t, n, "\"error\"", 7) ? -1 : 1;
}

void login_feed(Conn *c) {
    char *s, *e;
    int rc;
    if (find(&c->in, "<stream:error") && find(&c->in, "</stream:error>")) {
        conn_fail(c, "stream error: %.*s", (int)(c->in.len < 380 ? c->in.len : 380), c->in.p);
        return;
    }
    switch (c->state) {
    case S_FEATURES:
        if (features_end(&c->in)) on_features(c);
        break;
    case S_PROCEED:
        if ((s = find(&c->in, "proceed")) && (find_from(&c->in, s, "/>") || find_from(&c->in, s + 7, "proceed>")))
            conn_starttls(c);
        break;
    case S_AUTH:
        auth_feed(c);
        break;
    case S_REGISTER:
        if (!(rc = iq_done(c, "xl-reg"))) break;
        if (rc < 0 && !find(&c->in, "conflict"))
            conn_fail(c, "registration refused: %.*s", (int)(c->in.len < 300 ? c->in.len : 300), c->in.p);
        else {
            c->flag = rc < 0;           /* the account was there before */
            finish(c);
        }
        break;
    case S_BIND:
        if (!(rc = iq_done(c, "xl-bind"))) break;
        if (rc < 0 || !(s = find(&c->in, "<jid>")) || !(e = find_from(&c->in, s, "</jid>"))) {
            conn_fail(c, "bind refused: %.*s", (int)(c->in.len < 300 ? c->in.len : 300), c->in.p);
            break;
        }
        c->jid = strndup(s + 5, (size_t)(e - s - 5));
        c->in.len = 0;
        if (c->need_session) {
            buf_str(&c->out, "<iq type='set' id='xl-sess'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>");
            conn_send(c);
            c->state = S_SESSION;
        } else presence(c);
        break;
    case S_SESSION:
        if (iq_done(c, "xl-sess")) presence(c);
        break;
    case S_BARRIER:
        if (iq_done(c, "xl-ready")) finish(c);
        break;
    default:
        break;
    }
}
