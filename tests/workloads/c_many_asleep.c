// build: -O2 -fomit-frame-pointer -static -DNO_FRAMES
/* Makes many children that sleep until they are killed, and then burns alone.
 * usage: c_many_asleep NUMBER */
#include "burn.h"
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

NOINLINE void burn_among_many(void) { burn_steps(UNIT_STEPS); }

int main(int argc, char **argv) {
    long number = argc > 1 ? atol(argv[1]) : 10;
    pid_t parent = getpid();
    for (long made = 0; made < number; made++) {
        pid_t child = fork();
        if (child < 0) return 2;
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) _exit(0);
            for (;;) pause();
        }
    }
    argc = 1;
    REPEAT(argc, argv, burn_among_many());
    return 0;
}
