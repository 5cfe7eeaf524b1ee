// build: -O2 -fomit-frame-pointer -fno-asynchronous-unwind-tables -g
/* Nothing in the program says how to walk its stack but its debug information, which can be split off.
 * usage: c_no_unwind_tables [CPU_MILLISECONDS] */
#define NO_FRAMES
#include "burn.h"

NOINLINE void burn_without_frame(void) { burn_steps(4 * UNIT_STEPS); }

/* A frame of its own between the two, so that a walk that loses count does not get away with it. */
NOINLINE void through_a_frame(int steps) {
    volatile char bytes[1000];
    bytes[steps % 1000] = 1;
    burn_without_frame();
    bytes[0] = bytes[steps % 1000];
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, through_a_frame(argc));
    return 0;
}
