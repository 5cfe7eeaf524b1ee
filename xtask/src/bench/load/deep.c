/* A recursion of known depth with all the work at its end, in user code or in the kernel.
 * usage: deep CALLS user|kernel
 * CALLS are the frames below main, the last of them with the work or with the system call. Says "ready" on stdout, then runs until killed. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 20];
static volatile uint64_t burnt;
static int zeros = -1;

/* Some milliseconds; each step waits for the one before. */
__attribute__((noinline)) static void burn(void) {
    __asm__ volatile("" : : "r"(__builtin_frame_address(0))); /* even a leaf has a frame where others have one */
    uint64_t value = burnt;
    for (int step = 0; step < 4000000; step++) {
        value = value * 6364136223846793005ull + 1442695040888963407ull;
        __asm__ volatile("" : "+r"(value));
    }
    burnt = value;
}

__attribute__((noinline)) static void descend(int calls) {
    if (calls > 2) {
        descend(calls - 1);
    } else if (zeros < 0) {
        burn();
    } else {
        for (int i = 0; i < 64; i++) {
            if (read(zeros, buffer, sizeof buffer) < 0) exit(1);
        }
    }
    burnt++; /* no tail call: the caller stays on the stack */
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    if (strcmp(argv[2], "kernel") == 0 && (zeros = open("/dev/zero", O_RDONLY)) < 0) return 1;
    puts("ready");
    fflush(stdout);
    for (;;) descend(atoi(argv[1]));
}
