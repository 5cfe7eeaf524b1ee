// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Asks for the time, which the kernel answers from a page of code that it put into the process.
 * usage: c_vdso [CPU_MILLISECONDS] */
#include "burn.h"

NOINLINE void ask_the_time(void) {
    struct timespec now;
    for (int i = 0; i < 100000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        burnt += (uint64_t)now.tv_nsec;
    }
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, ask_the_time());
    return 0;
}
