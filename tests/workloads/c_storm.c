// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* Forks and executes itself again and again; each of the short lives burns a few milliseconds in burn_briefly.
 * Prints "lives N" at its end, and the CPU time of itself and all of them as cpu_nanos.
 * usage: c_storm NUMBER_OF_LIVES */
#include "burn.h"
#include "family_cpu.h"
#include <unistd.h>

NOINLINE void burn_briefly(void) { burn_steps(2 * UNIT_STEPS); }

int main(int argc, char **argv) {
    if (argc > 2) {
        burn_briefly();
        return 0;
    }
    unsigned long lives = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    say("ready");
    for (unsigned long life = 0; life < lives; life++) {
        pid_t child = fork();
        if (child < 0) return 2;
        if (child == 0) {
            execl("/proc/self/exe", "c_storm", "1", "brief", (char *)NULL);
            _exit(127);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0) return 3;
    }
    printf("lives %lu\n", lives);
    say_family_cpu();
    return 0;
}
