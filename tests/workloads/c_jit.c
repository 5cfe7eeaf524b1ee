// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* Code in memory that no file backs, as a JIT compiler makes it. Writes no perf map: that is the test's business.
 * Prints "code ADDRESS" (decimal) before it is ready.
 * With an argument the memory is a memfd mapped twice, once to write and once to execute, as .NET and Java do it.
 * usage: c_jit [memfd] */
#define _GNU_SOURCE
#include "burn.h"
#include "burn_code.h"
#include <sys/mman.h>
#include <unistd.h>

static void *twice_mapped(void) {
    int memory = memfd_create("doublemapper", 0);
    if (memory < 0 || ftruncate(memory, 4096) != 0) exit(3);
    void *writable = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (writable == MAP_FAILED) exit(3);
    memcpy(writable, burn_code, sizeof burn_code);
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, memory, 0);
}

static void *anonymous(void) {
    int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    void *page = mmap(NULL, 4096, all, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED) memcpy(page, burn_code, sizeof burn_code);
    return page;
}

NOINLINE void run_made(burn_function code) {
    code(20 * UNIT_STEPS);
    burnt++;
}

int main(int argc, char **argv) {
    void *page = argc > 1 ? twice_mapped() : anonymous();
    argc = 1;
    if (page == MAP_FAILED) return 4;
    __builtin___clear_cache(page, (char *)page + sizeof burn_code);
    printf("code %llu\n", (unsigned long long)(uintptr_t)page);
    REPEAT(argc, argv, run_made((burn_function)page));
    return 0;
}
