/* Sessions that do nothing: what they cost in memory. */
#define _GNU_SOURCE
#include "run.h"
#include <stdio.h>

void run_idle(void) {
    ProcUse a = {0}, b = {0};
    int have = !proc_tree(opt.server_pid, &a, 1);
    uint64_t t = now_ns();
    open_sessions(0, total);
    double opened = (double)(now_ns() - t) / 1e9;
    wait_s(opt.settle);
    if (have) have = !proc_tree(opt.server_pid, &b, 1);
    fprintf(stderr, "idle: ready: %d sessions open in %.1f s, held for %.0f s\n", total, opened, opt.duration);
    window_open();
    drive(opt.duration);
    window_close();
    report_begin();
    j_num("open_s", opened);
    j_num("opened_per_s", total / opened);
    if (have) {
        j_num("rss_before_mib", a.rss_mib);
        j_num("rss_open_mib", b.rss_mib);
        j_num("rss_kib_per_session", (b.rss_mib - a.rss_mib) * 1024 / total);
        j_num("pss_kib_per_session", (b.pss_mib - a.pss_mib) * 1024 / total);
    }
    report_end("sessions", 0);
    if (have)
        fprintf(stderr, "idle: RSS %.0f -> %.0f MiB, %.1f KiB a session, %.1f %% CPU while idle, %d dropped\n",
                a.rss_mib, b.rss_mib, (b.rss_mib - a.rss_mib) * 1024 / total,
                100 * (win.s1.cpu_s - win.s0.cpu_s) / win.secs, dropped);
    close_all();
}
