// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* A parent with one child from before it is ready and one more made at each SIGUSR1.
 * All burn for ever. Prints "early PID" before "ready", and "late PID" when another child is there.
 * usage: c_family */
#include "burn.h"
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

NOINLINE void burn_in_parent(void) { burn_steps(UNIT_STEPS); }
NOINLINE void burn_in_early_child(void) { burn_steps(UNIT_STEPS); }
NOINLINE void burn_in_late_child(void) { burn_steps(UNIT_STEPS); }

static pid_t child_that(void (*work)(void)) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        for (;;) work();
    }
    return child;
}

static volatile sig_atomic_t asked;

static void ask(int unused) {
    (void)unused;
    asked = 1;
}

int main(void) {
    signal(SIGUSR1, ask);
    printf("early %d\n", child_that(burn_in_early_child));
    say("ready");
    for (;;) {
        burn_in_parent();
        if (asked) {
            asked = 0;
            printf("late %d\n", child_that(burn_in_late_child));
            fflush(stdout);
        }
    }
}
