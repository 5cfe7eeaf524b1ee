// build: -O2 -fomit-frame-pointer
/* A short life with a function name of its own: compiled with -DBURN=NAME.
 * usage: c_brief CPU_MILLISECONDS */
#define NO_FRAMES
#include "burn.h"

NOINLINE void BURN(void) { burn_steps(UNIT_STEPS); }

int main(int argc, char **argv) {
    REPEAT(argc, argv, BURN());
    return 0;
}
