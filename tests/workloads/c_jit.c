// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* Code in memory that no file backs, as a JIT compiler makes it. Writes no perf map: that is the test's business.
 * Prints "code ADDRESS" (decimal) before it is ready.
 * usage: c_jit */
#define _GNU_SOURCE
#include "burn.h"
#include "burn_code.h"
#include <sys/mman.h>

NOINLINE void run_made(burn_function code) {
    code(20 * UNIT_STEPS);
    burnt++;
}

int main(int argc, char **argv) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return 4;
    memcpy(page, burn_code, sizeof burn_code);
    __builtin___clear_cache(page, (char *)page + sizeof burn_code);
    printf("code %llu\n", (unsigned long long)(uintptr_t)page);
    REPEAT(argc, argv, run_made((burn_function)page));
    return 0;
}
