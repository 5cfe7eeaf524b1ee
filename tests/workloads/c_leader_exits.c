// build: -O2 -fomit-frame-pointer -pthread -DNO_FRAMES
/* Its first thread ends; another goes on. /proc/PID/maps is empty from then on.
 * usage: c_leader_exits */
#include "burn.h"
#include <pthread.h>
#include <unistd.h>

static char state_of_leader(void) {
    char line[256] = "", state = '?';
    FILE *stat = fopen("/proc/self/stat", "r");
    if (stat && fgets(line, sizeof line, stat)) state = strrchr(line, ')')[2];
    if (stat) fclose(stat);
    return state;
}

NOINLINE void burn_without_leader(void) { burn_steps(UNIT_STEPS); }

static void *survivor(void *unused) {
    while (state_of_leader() != 'Z') usleep(1000);
    say("ready");
    for (;;) burn_without_leader();
    return unused;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, survivor, NULL)) return 2;
    pthread_exit(NULL);
}
