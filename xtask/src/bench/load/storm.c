/* Executes itself again and again; each of the short lives burns some milliseconds a few calls deep.
 * usage: storm
 * Says "ready" on stdout, then runs until killed; a life that has begun ends by itself. */
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile uint64_t burnt;

__attribute__((noinline)) static void burn(int calls) {
    if (calls > 1) {
        burn(calls - 1);
    } else {
        uint64_t value = burnt;
        for (int step = 0; step < 4000000; step++) {
            value = value * 6364136223846793005ull + 1442695040888963407ull;
            __asm__ volatile("" : "+r"(value));
        }
        burnt = value;
    }
    burnt++; /* no tail call: the caller stays on the stack */
}

int main(int argc, char **argv) {
    if (argc > 1) {
        burn(10);
        return 0;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        pid_t child = fork();
        if (child < 0) return 1;
        if (child == 0) {
            execl("/proc/self/exe", argv[0], "brief", (char *)NULL);
            _exit(127);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0) return 1;
    }
}
