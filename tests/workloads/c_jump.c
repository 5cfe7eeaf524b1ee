// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* setjmp, a few calls down, longjmp back: as interpreters and image libraries leave an error.
 * usage: c_jump [CPU_MILLISECONDS] */
#include "burn.h"
#include <setjmp.h>

static jmp_buf home;

NOINLINE void burn_and_jump(void) {
    burn_steps(200);
    longjmp(home, 1);
}

NOINLINE void deeper(void) {
    burn_and_jump();
    burnt++;
}

NOINLINE void attempt(void) {
    if (setjmp(home) == 0) deeper();
    burnt++;
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, for (int i = 0; i < 10000; i++) attempt());
    return 0;
}
