/* A storm of short programs: forks and executes them in turn, so many a second, until it is killed.
 * usage: forks A_SECOND MICROSECONDS PROGRAM…    each PROGRAM gets MICROSECONDS as its argument
 * Says "ready" on stdout. While more than 500 have not ended it starts no more. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ALIVE_MAX 500

static int64_t nanos(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 4 || atol(argv[1]) <= 0) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    puts("ready");
    fflush(stdout);
    int64_t every = 1000000000 / atol(argv[1]), next = nanos();
    int alive = 0;
    for (long turn = 0;; turn++) {
        while (alive > 0 && waitpid(-1, NULL, alive < ALIVE_MAX ? WNOHANG : 0) > 0) alive--;
        char *program = argv[3 + turn % (argc - 3)];
        pid_t child = fork();
        if (child == 0) {
            execl(program, program, argv[2], (char *)NULL);
            _exit(127);
        }
        if (child > 0) alive++;
        next += every;
        int64_t now = nanos();
        if (next < now - 1000000000) next = now; /* a busy machine is not made up for */
        if (next > now) {
            struct timespec pause = {(next - now) / 1000000000, (next - now) % 1000000000};
            nanosleep(&pause, NULL);
        }
    }
}
