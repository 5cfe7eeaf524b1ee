// build: -O2 -fomit-frame-pointer
/* Runs two programs, one after the other, under the same process id. Prints "pid N" before, and ends with status 77
 * where the kernel does not let it choose an id.
 * usage: c_pid_reuse CPU_MILLISECONDS FIRST_PROGRAM SECOND_PROGRAM */
#define _GNU_SOURCE
#define NO_FRAMES
#include "burn.h"
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t run(pid_t wanted, const char *program, char *millis) {
    pid_t id = wanted;
    struct clone_args args = {.exit_signal = SIGCHLD};
    if (wanted) {
        args.set_tid = (uint64_t)(uintptr_t)&id;
        args.set_tid_size = 1;
    }
    pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (child < 0) exit(77);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, millis, (char *)NULL);
        _exit(127);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) exit(3);
    return child;
}

int main(int argc, char **argv) {
    if (argc < 4) return 64;
    pid_t pid = run(0, argv[2], argv[1]);
    printf("pid=%d\n", pid);
    fflush(stdout);
    run(pid, argv[3], argv[1]);
    return 0;
}
