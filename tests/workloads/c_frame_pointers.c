// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* Three functions that take 70, 20 and 10 % of the time, two calls below main.
 * usage: c_frame_pointers [CPU_MILLISECONDS] */
#include "burn.h"

NOINLINE void burn_seventy(void) { burn_steps(7 * UNIT_STEPS); }
NOINLINE void burn_twenty(void) { burn_steps(2 * UNIT_STEPS); }
NOINLINE void burn_ten(void) { burn_steps(1 * UNIT_STEPS); }

NOINLINE void inner(void) {
    burn_seventy();
    burn_twenty();
    burn_ten();
}

NOINLINE void outer(void) {
    inner();
    burnt++;
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, outer());
    return 0;
}
