// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Calls tiny functions of a shared library (c_tiny_library) through the procedure linkage table.
 * usage: c_plt [CPU_MILLISECONDS] */
#include "burn.h"

unsigned long tiny_one(unsigned long value);
unsigned long tiny_two(unsigned long value);

NOINLINE void call_tiny(void) {
    unsigned long value = burnt;
    for (int i = 0; i < 1000000; i++) value = tiny_two(tiny_one(value));
    burnt = value;
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, call_tiny());
    return 0;
}
