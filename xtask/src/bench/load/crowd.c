/* Starts programs, each in a cgroup, and ends them all when it is told to end, or when the bench is gone.
 * usage: crowd < LIST
 * Each line of LIST: COUNT FILE PROGRAM [ARGUMENT]…, where FILE is a cgroup's `cgroup.procs`.
 * Says "ready" on stdout once all are started. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_MAX 10000
#define WORDS_MAX 16

static pid_t children[CHILDREN_MAX];
static int started;

static void start(const char *group, char **words, sigset_t *mask) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) exit(1);
    if (child > 0) {
        if (started == CHILDREN_MAX) exit(1);
        children[started++] = child;
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int procs = open(group, O_WRONLY | O_CLOEXEC);
    if (getppid() != parent || procs < 0 || write(procs, "0", 1) != 1) _exit(126);
    sigprocmask(SIG_UNBLOCK, mask, NULL);
    execv(words[0], words);
    _exit(127);
}

static void end_all(void) {
    for (int i = 0; i < started; i++) kill(children[i], SIGKILL);
    while (wait(NULL) > 0 || errno == EINTR) continue;
}

int main(void) {
    /* Whatever ends us is waited for, so that it finds all that was started. */
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    atexit(end_all);

    char line[8192];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *words[WORDS_MAX + 1];
        int count = 0;
        for (char *word = strtok(line, " \n"); word != NULL && count < WORDS_MAX; word = strtok(NULL, " \n")) words[count++] = word;
        words[count] = NULL;
        if (count < 3) return 2;
        for (int i = 0; i < atoi(words[0]); i++) start(words[1], words + 2, &mask);
    }
    puts("ready");
    fflush(stdout);
    int signal;
    sigwait(&mask, &signal);
    return 0;
}
