// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* A timer interrupts the work anywhere; its handler works on, with an argument on a stack of its own.
 * usage: c_signal [alternate] */
#include "burn.h"
#include <signal.h>
#include <sys/time.h>

static char other_stack[1 << 16];

NOINLINE void burn_in_handler(void) { burn_steps(UNIT_STEPS); }

static void on_signal(int unused) {
    (void)unused;
    burn_in_handler();
    burnt++;
}

NOINLINE void interrupted(void) { burn_steps(UNIT_STEPS); }

int main(int argc, char **argv) {
    (void)argv;
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    if (sigaltstack(&stack, NULL) != 0) return 2;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (argc > 1 ? SA_ONSTACK : 0)};
    if (sigaction(SIGVTALRM, &action, NULL) != 0) return 3;
    struct itimerval each = {{0, 8000}, {0, 8000}};
    if (setitimer(ITIMER_VIRTUAL, &each, NULL) != 0) return 4;
    say("ready");
    for (;;) interrupted();
}
