// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static -pthread
/* Two named threads; in every round alpha does three units of work and beta one, then each waits for the other.
 * Prints "thread NAME TID" for both before it is ready.
 * usage: c_threads */
#define _GNU_SOURCE
#include "burn.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_barrier_t barrier;

NOINLINE void burn_alpha(void) { burn_steps(3 * UNIT_STEPS); }
NOINLINE void burn_beta(void) { burn_steps(1 * UNIT_STEPS); }

static void introduce(const char *name) {
    pthread_setname_np(pthread_self(), name);
    printf("thread %s %ld\n", name, syscall(SYS_gettid));
    fflush(stdout);
    pthread_barrier_wait(&barrier);
}

static void *alpha(void *unused) {
    introduce("worker-alpha");
    for (;;) {
        burn_alpha();
        pthread_barrier_wait(&barrier);
    }
    return unused;
}

static void *beta(void *unused) {
    introduce("worker-beta");
    say("ready");
    for (;;) {
        burn_beta();
        pthread_barrier_wait(&barrier);
    }
    return unused;
}

int main(void) {
    pthread_t first, second;
    pthread_barrier_init(&barrier, NULL, 2);
    if (pthread_create(&first, NULL, alpha, NULL) || pthread_create(&second, NULL, beta, NULL)) return 2;
    pthread_join(first, NULL);
    return 0;
}
