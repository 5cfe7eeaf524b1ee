// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* The C library calls the program back: nearly all time is spent in a comparison that qsort asked for.
 * usage: c_qsort [CPU_MILLISECONDS] */
#include "burn.h"

static int numbers[64];

NOINLINE void burn_a_bit(void) { burn_steps(UNIT_STEPS / 100); }

NOINLINE int compare(const void *left, const void *right) {
    burn_a_bit();
    int a = *(const int *)left, b = *(const int *)right;
    return (a > b) - (a < b);
}

NOINLINE void sort_round(void) {
    for (int i = 0; i < 64; i++) numbers[i] = i * 37 % 64;
    qsort(numbers, 64, sizeof numbers[0], compare);
    burnt++;
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, sort_round());
    return 0;
}
