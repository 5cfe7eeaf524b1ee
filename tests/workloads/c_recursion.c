// build: -O2 -fomit-frame-pointer -fno-optimize-sibling-calls -DNO_FRAMES
/* As many calls as are asked for, with the work at their end and no frame pointer on the way.
 * usage: c_recursion CPU_MILLISECONDS CALLS */
#include "burn.h"

/* A section of its own makes the linker make a segment of its own. */
#ifndef FAR
#define FAR
#endif

FAR NOINLINE void burn_at_the_end(void) { burn_steps(4 * UNIT_STEPS); }

NOINLINE void descend(long further) {
    if (further <= 1) {
        burn_at_the_end();
    } else {
        descend(further - 1);
    }
    burnt++;
}

int main(int argc, char **argv) {
    long calls = argc > 2 ? atol(argv[2]) : 1;
    REPEAT(argc, argv, descend(calls));
    return 0;
}
