/* A service: sleeps, and now and then works for a moment. SERVICE is a number, so that each service is a file of its own.
 * usage: service MICROSECONDS EVERY_MILLISECONDS    works so long, every so often, until it is killed
 *        service MICROSECONDS                       works so long and ends */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef SERVICE
#define SERVICE 0
#endif
#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)

static volatile uint64_t burnt;
static char text[4096];

static int64_t nanos(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

__attribute__((noinline)) static void hash(void) {
    uint64_t value = burnt + SERVICE;
    for (int step = 0; step < 20000; step++) {
        value = value * 6364136223846793005ull + 1442695040888963407ull;
        __asm__ volatile("" : "+r"(value));
    }
    burnt = value;
}

__attribute__((noinline)) static void format(void) {
    size_t used = 0;
    while (used + 64 < sizeof text) used += (size_t)snprintf(text + used, sizeof text - used, "%llu,", (unsigned long long)burnt);
    burnt += strlen(text);
}

__attribute__((noinline)) static void NAMED(serve_, SERVICE)(int calls) {
    if (calls > 0) {
        NAMED(serve_, SERVICE)(calls - 1);
    } else {
        hash();
        format();
    }
    burnt++; /* no tail call: the caller stays on the stack */
}

__attribute__((noinline)) static void work(int64_t micros) {
    int64_t end = nanos(CLOCK_THREAD_CPUTIME_ID) + micros * 1000;
    for (int calls = 0; nanos(CLOCK_THREAD_CPUTIME_ID) < end; calls++) NAMED(serve_, SERVICE)(calls % 8);
    burnt++;
}

static void sleep_millis(long millis) {
    struct timespec pause = {millis / 1000, millis % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    long micros = atol(argv[1]);
    if (argc < 3) {
        work(micros);
        return 0;
    }
    long every = atol(argv[2]);
    if (every <= 0) return 2;
    srand((unsigned)getpid());
    sleep_millis(rand() % every);
    for (;;) {
        work(micros);
        /* Not in step with others: half to one and a half of the time. */
        sleep_millis(every / 2 + rand() % every);
    }
}
