// build: -O2 -fomit-frame-pointer -pthread -DNO_FRAMES
/* A thread that is not the first executes the program anew: the new image has the process id, the old leader is gone.
 * usage: c_exec_from_thread CPU_MILLISECONDS */
#include "burn.h"
#include <pthread.h>
#include <unistd.h>

NOINLINE void burn_before(void) { burn_steps(10 * UNIT_STEPS); }
NOINLINE void burn_after(void) { burn_steps(UNIT_STEPS); }

static void *executes(void *millis) {
    burn_before();
    execl("/proc/self/exe", "c_exec_from_thread", (char *)millis, "again", (char *)NULL);
    exit(3);
}

int main(int argc, char **argv) {
    if (argc == 2) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, executes, argv[1])) return 2;
        for (;;) pause();
    }
    REPEAT(argc, argv, burn_after());
    return 0;
}
