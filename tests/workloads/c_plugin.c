// build: -O2 -fomit-frame-pointer -shared -fPIC
/* A library with functions of names of its own: compiled with -DWORK=NAME -DBURN=NAME. Touches no data, so that its
 * code can be moved. */
#include <stdint.h>

uint64_t WORK(uint64_t steps);

static __attribute__((noinline)) uint64_t BURN(uint64_t steps) {
    uint64_t value = steps;
    for (uint64_t step = 0; step < steps; step++) {
        value = value * 6364136223846793005ull + 1442695040888963407ull;
        __asm__ volatile("" : "+r"(value));
    }
    return value;
}

uint64_t WORK(uint64_t steps) { return BURN(steps) + 1; }
