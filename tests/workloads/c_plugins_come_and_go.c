// build: -O2 -fomit-frame-pointer -Wl,-z,lazy -DNO_FRAMES
/* Opens two libraries in turn, each where the other one was, runs each for a few milliseconds and closes it.
 * usage: c_plugins_come_and_go LEFT_LIBRARY RIGHT_LIBRARY */
#include "burn.h"
#include <dlfcn.h>

typedef uint64_t (*work_function)(uint64_t steps);

static work_function opened(const char *path, const char *name, void **library) {
    *library = dlopen(path, RTLD_LAZY);
    work_function work = *library ? (work_function)dlsym(*library, name) : NULL;
    if (!work) exit(2);
    return work;
}

NOINLINE void run_left(const char *path) {
    void *library;
    work_function work = opened(path, "work_left", &library);
    burnt += work(2 * UNIT_STEPS);
    dlclose(library);
}

NOINLINE void run_right(const char *path) {
    void *library;
    work_function work = opened(path, "work_right", &library);
    burnt += work(2 * UNIT_STEPS);
    dlclose(library);
}

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    say("ready");
    for (;;) {
        run_left(argv[1]);
        run_right(argv[2]);
    }
}
