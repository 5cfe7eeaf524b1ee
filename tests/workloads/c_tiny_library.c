// build: -O2 -fomit-frame-pointer -shared -fPIC
/* Functions so small that a caller through the PLT spends as much time on the way to them. */
#define NOINLINE __attribute__((noinline))

unsigned long tiny_one(unsigned long value);
unsigned long tiny_two(unsigned long value);

NOINLINE unsigned long tiny_one(unsigned long value) { return value * 3 + 1; }
NOINLINE unsigned long tiny_two(unsigned long value) { return value ^ 0x55; }
