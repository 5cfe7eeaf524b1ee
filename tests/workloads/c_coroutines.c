// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Two coroutines of makecontext, on stacks from malloc, and main, one after the other.
 * usage: c_coroutines [CPU_MILLISECONDS] */
#include "burn.h"
#include <ucontext.h>

static ucontext_t in_main, in_left, in_right;

NOINLINE void burn_left(void) { burn_steps(UNIT_STEPS / 4); }
NOINLINE void burn_right(void) { burn_steps(UNIT_STEPS / 4); }

static void left(void) {
    for (;;) {
        burn_left();
        swapcontext(&in_left, &in_right);
    }
}

static void right(void) {
    for (;;) {
        burn_right();
        swapcontext(&in_right, &in_main);
    }
}

static void make(ucontext_t *context, void (*function)(void)) {
    const size_t size = 1 << 16;
    getcontext(context);
    context->uc_stack.ss_sp = malloc(size);
    context->uc_stack.ss_size = size;
    context->uc_link = &in_main;
    makecontext(context, function, 0);
}

NOINLINE void burn_in_main(void) { burn_steps(UNIT_STEPS / 4); }

NOINLINE void round_of_three(void) {
    burn_in_main();
    swapcontext(&in_main, &in_left);
}

int main(int argc, char **argv) {
    make(&in_left, left);
    make(&in_right, right);
    REPEAT(argc, argv, round_of_three());
    return 0;
}
