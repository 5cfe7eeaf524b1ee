// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Executes code that is no longer where it was mapped. Works before the move for so many milliseconds of CPU time, and as
 * long behind it; 0 means once before and for ever behind.
 *   away     mremap moves a library's code elsewhere
 *   over     another library's code is moved to where the first one's was, which was unmapped
 *   huge     the program's own code is copied to anonymous memory, which mremap puts in its place, as is done for huge pages
 * usage: c_moved_code CPU_MILLISECONDS away LEFT_LIBRARY | over LEFT_LIBRARY RIGHT_LIBRARY | huge */
#define _GNU_SOURCE
#include "burn.h"
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t (*work_function)(uint64_t steps);

struct range {
    uintptr_t start, end;
};

static struct range code_around(uintptr_t address) {
    char line[512], permissions[5];
    struct range range;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %4s", &range.start, &range.end, permissions) == 3 && permissions[2] == 'x' &&
            range.start <= address && address < range.end) {
            fclose(maps);
            return range;
        }
    }
    exit(2);
}

static work_function library_function(const char *path, const char *name) {
    void *library = dlopen(path, RTLD_NOW);
    work_function work = library ? (work_function)dlsym(library, name) : NULL;
    if (!work) exit(3);
    return work;
}

static uintptr_t moved(struct range from, uintptr_t to) {
    size_t length = from.end - from.start;
    if (!to) {
        to = (uintptr_t)mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    void *now = mremap((void *)from.start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to);
    if (now == MAP_FAILED) exit(4);
    return (uintptr_t)now;
}

NOINLINE void run_moved(work_function work) {
    burnt += work(UNIT_STEPS);
    burnt++;
}

NOINLINE void burn_in_place(void) { burn_steps(UNIT_STEPS); }

static void copy_own_code(void) {
    struct range own = code_around((uintptr_t)&burn_in_place);
    size_t length = own.end - own.start;
    void *copy = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) exit(5);
    memcpy(copy, (void *)own.start, length);
    if (mprotect(copy, length, PROT_READ | PROT_EXEC) != 0) exit(6);
    moved((struct range){(uintptr_t)copy, (uintptr_t)copy + length}, own.start);
}

static work_function work;

static inline __attribute__((always_inline)) void one_round(void) {
    if (work) {
        run_moved(work);
    } else {
        burn_in_place();
    }
}

static inline __attribute__((always_inline)) void work_before(uint64_t nanos) {
    do one_round();
    while (cpu_nanos() < nanos);
}

int main(int argc, char **argv) {
    uint64_t millis = wanted_cpu_millis(argc, argv);
    const char *how = argc > 2 ? argv[2] : "", *first = argc > 3 ? argv[3] : "", *second = argc > 4 ? argv[4] : "";
    if (strcmp(how, "huge") == 0) {
        work_before(millis * 1000000ull);
        copy_own_code();
    } else if (strcmp(how, "away") == 0) {
        work = library_function(first, "work_left");
        work_before(millis * 1000000ull);
        struct range from = code_around((uintptr_t)work);
        work = (work_function)(moved(from, 0) + ((uintptr_t)work - from.start));
    } else if (strcmp(how, "over") == 0) {
        work_function left = work = library_function(first, "work_left");
        work_before(millis * 1000000ull);
        work_function right = library_function(second, "work_right");
        struct range old = code_around((uintptr_t)left), from = code_around((uintptr_t)right);
        munmap((void *)old.start, old.end - old.start);
        work = (work_function)(moved(from, old.start) + ((uintptr_t)right - from.start));
    } else {
        return 64;
    }
    char both[24];
    snprintf(both, sizeof both, "%llu", 2 * (unsigned long long)millis);
    argv[1] = both;
    REPEAT(argc, argv, one_round());
    // Not through exit: a library that lost its code still has functions to be called at the end.
    _exit(0);
}
