// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* A recursion of a few hundred calls, deeper than the kernel's walker goes by default (127 frames), with the work
 * at its end.
 * usage: c_deep [CPU_MILLISECONDS] */
#include "burn.h"

NOINLINE void burn_at_the_end(void) { burn_steps(4 * UNIT_STEPS); }

NOINLINE void descend(int further) {
    if (further == 0) {
        burn_at_the_end();
    } else {
        descend(further - 1);
    }
    burnt++;
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, descend(400));
    return 0;
}
