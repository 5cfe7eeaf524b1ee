// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Starts a command again and again through posix_spawn, for so many milliseconds of all CPU time taken.
 * Prints "lives N", and the CPU time of itself and all children as cpu_nanos.
 * usage: c_spawn_loop CPU_MILLISECONDS COMMAND [ARGUMENT...] */
#include "burn.h"
#include "family_cpu.h"
#include <spawn.h>

extern char **environ;

NOINLINE void one_life(char **command) {
    pid_t child;
    int status;
    if (posix_spawnp(&child, command[0], NULL, NULL, command, environ) != 0) exit(2);
    if (waitpid(child, &status, 0) != child || status != 0) exit(3);
}

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    uint64_t wanted_nanos = wanted_cpu_millis(argc, argv) * 1000000ull;
    say("ready");
    unsigned long lives = 0;
    for (; family_cpu_nanos() < wanted_nanos; lives++) one_life(argv + 2);
    printf("lives %lu\n", lives);
    say_family_cpu();
    return 0;
}
