// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Children that use their parent's memory and stack, and burn there.
 * usage: c_vfork CPU_MILLISECONDS */
#define _GNU_SOURCE
#include "burn.h"
#include "family_cpu.h"
#include <unistd.h>

NOINLINE void burn_in_child(void) { burn_steps(4 * UNIT_STEPS); }

NOINLINE void one_child(void) {
    pid_t child = vfork();
    if (child == 0) {
        burn_in_child();
        _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) exit(2);
}

int main(int argc, char **argv) {
    uint64_t wanted_nanos = wanted_cpu_millis(argc, argv) * 1000000ull;
    say("ready");
    while (family_cpu_nanos() < wanted_nanos) one_child();
    say_family_cpu();
    return 0;
}
