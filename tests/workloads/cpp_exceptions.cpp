// build: -O2 -g1 -fomit-frame-pointer -DNO_FRAMES
// Exceptions as the hot path: thrown three calls below where they are caught, through a template that cleans up.
// usage: cpp_exceptions [CPU_MILLISECONDS]
#include "burn.h"
#include <stdexcept>

struct Counter {
    uint64_t &count;
    ~Counter() { count++; }
};

static uint64_t cleaned;

static inline __attribute__((always_inline)) void work_inlined() { burn_steps(UNIT_STEPS / 200); }

NOINLINE void thrower(int number) {
    work_inlined();
    throw std::runtime_error(number % 2 ? "an odd one" : "an even one");
}

template <typename Number>
NOINLINE void passing(Number number) {
    Counter counter{cleaned};
    thrower(static_cast<int>(number));
    burnt = burnt + 1;
}

NOINLINE void catching() {
    for (int number = 0; number < 1000; number++) {
        try {
            passing<long>(number);
        } catch (const std::exception &thrown) {
            burnt = burnt + static_cast<uint64_t>(thrown.what()[0]);
        }
    }
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, catching());
    return 0;
}
