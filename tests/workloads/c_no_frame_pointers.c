// build: -O2 -fomit-frame-pointer -static
/* What most distributions still ship: no frame pointers anywhere. The leaf is known all the same.
 * usage: c_no_frame_pointers [CPU_MILLISECONDS] */
#define NO_FRAMES
#include "burn.h"

NOINLINE void burn_without_frame(void) { burn_steps(4 * UNIT_STEPS); }

int main(int argc, char **argv) {
    REPEAT(argc, argv, burn_without_frame());
    return 0;
}
