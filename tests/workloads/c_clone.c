// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* A thread made by clone() itself, on a stack from malloc, without pthread's bookkeeping.
 * usage: c_clone */
#define _GNU_SOURCE
#include "burn.h"
#include <sched.h>
#include <unistd.h>

NOINLINE void burn_in_clone(void) { burn_steps(UNIT_STEPS); }

static int cloned(void *unused) {
    for (;;) burn_in_clone();
    return unused != NULL;
}

int main(void) {
    const size_t size = 1 << 16;
    char *stack = malloc(size);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    if (!stack || clone(cloned, stack + size, flags, NULL) < 0) return 2;
    say("ready");
    for (;;) pause();
}
