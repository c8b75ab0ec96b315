/* One run: its sessions, its counters, its measured window and its report. The scenarios share these. */
#ifndef RUN_H
#define RUN_H
#include "conn.h"

#define SEC 1000000000ull

/* ---- the sessions (run.c) ---- */
extern Conn *conns;
extern int total;                       /* how many */
extern uint64_t end_of_run;             /* --max-time */

void open_sessions(int from, int n);    /* one that fails is tried three times in all, then the run ends */
void close_all(void);
void check_time(void);
void expire(Conn *list, int n);         /* fail log-ins that take longer than --timeout */
void wait_s(double s);

/* ---- the load (run.c) ---- */
extern int stopped;                     /* nothing more is sent: what is under way arrives */
extern void (*send_due)(uint64_t due);  /* open loop: send what is due at that moment */

void drive(double secs);                /* let events happen, and send what is due */
void measure(void);                     /* warm up, measure, drain */

/* ---- the measured window (report.c) ---- */
typedef struct {
    uint64_t t0, in0, out0;
    double secs, self;
    ProcUse s0, s1, p0, p1;             /* the server, the other server */
    MachUse m0, m1;
    double g0, load;
    uint64_t in, out;
    int have_server, have_peer;
} Window;
extern Window win;
extern int measuring, failed, dropped;
extern char first_error[300];
extern Hist lat, whole;                 /* one delivery; one whole fan-out or log-in */
extern uint64_t sent, delivered, done, bounced, life_sent, life_delivered;

void window_open(void);
void window_close(void);

/* ---- the report (report.c) ---- */
void report_begin(void);
void report_end(const char *unit, double units);
void j_num(const char *k, double v);
void j_int(const char *k, long long v);
void j_str(const char *k, const char *v);
void j_hist(const char *k, const Hist *h);
void j_latency(void);
double cpu_k(double units);             /* the server's CPU seconds per 1000 units */

/* ---- messages (message.c) ---- */
#define FILLER_MAX 171                  /* of the body, after the mark */
void put_message(Conn *c, const char *type, const char *to, uint64_t ts, uint32_t dst);

/* ---- the scenarios, each in its own file ---- */
void run_register(void);
void run_login(void);
void run_idle(void);
void run_chat(void);
void run_muc(void);
void run_presence(void);
#endif
