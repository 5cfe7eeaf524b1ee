/* A fixed amount of work on every CPU that it may use: calls, arithmetic, memory beyond the caches and system calls.
 * usage: work UNITS
 * Prints, once all are done: wall and CPU time in nanoseconds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WORDS (1 << 19) /* 4 MiB a thread */

struct job {
    pthread_t thread;
    int cpu;
    long units;
    uint64_t result;
};

__attribute__((noinline)) static uint64_t walk(uint64_t *words, uint64_t at, int calls) {
    if (calls > 0) return walk(words, at * 6364136223846793005ull + 1442695040888963407ull, calls - 1) + 1;
    for (int step = 0; step < 512; step++) {
        at = at * 6364136223846793005ull + 1442695040888963407ull;
        words[at >> 45] += at;
    }
    return at + words[at >> 45];
}

static void *work(void *argument) {
    struct job *job = argument;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(job->cpu, &own);
    uint64_t *words = calloc(WORDS, sizeof *words);
    int zeros = open("/dev/zero", O_RDONLY);
    if (sched_setaffinity(0, sizeof own, &own) != 0 || words == NULL || zeros < 0) exit(1);
    uint64_t at = 1;
    for (long unit = 0; unit < job->units; unit++) {
        for (int round = 0; round < 100; round++) at = walk(words, at, 20);
        char text[4096];
        if (read(zeros, text, sizeof text) < 0) exit(1);
        at += (unsigned char)text[0];
    }
    job->result = at;
    free(words);
    close(zeros);
    return NULL;
}

static long long nanos(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int main(int argc, char **argv) {
    static struct job jobs[CPU_SETSIZE];
    cpu_set_t all;
    int threads = 0;
    if (argc != 2 || sched_getaffinity(0, sizeof all, &all) != 0) return 2;
    long long wall = nanos(CLOCK_MONOTONIC);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        struct job *job = &jobs[threads++];
        job->cpu = cpu;
        job->units = atol(argv[1]);
        if (pthread_create(&job->thread, NULL, work, job) != 0) return 1;
    }
    for (int thread = 0; thread < threads; thread++) pthread_join(jobs[thread].thread, NULL);
    printf("%lld %lld\n", nanos(CLOCK_MONOTONIC) - wall, nanos(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
