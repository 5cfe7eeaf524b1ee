// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Maps memory, touches each page for the first time and unmaps it: nearly all time is spent in page faults.
 * usage: c_page_faults [CPU_MILLISECONDS] */
#define _GNU_SOURCE
#include "burn.h"
#include <sys/mman.h>

NOINLINE void touch(char *memory, size_t length) {
    for (size_t at = 0; at < length; at += 4096) memory[at] = 1;
}

NOINLINE void map_and_touch(void) {
    const size_t length = 8 << 20;
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) exit(2);
    madvise(memory, length, MADV_NOHUGEPAGE);
    touch(memory, length);
    munmap(memory, length);
}

int main(int argc, char **argv) {
    REPEAT(argc, argv, map_and_touch());
    return 0;
}
