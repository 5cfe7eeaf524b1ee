/* What every C workload burns CPU time with, and the lines by which it talks to the harness.
 *
 * stdout:  "ready"            once, when it does what it is for
 *          "tick N"           now and then while it runs for ever; CPU time went by since the last one
 *          "cpu_nanos=N"      at a normal end: its own CPU time, user and system, from getrusage
 *
 * The work is arithmetic in which each step waits for the one before it, so a loop's time is its number of
 * steps and nothing else: neither alignment nor a faster decoder changes the ratio of two loops.
 */
#ifndef BURN_H
#define BURN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

/* Some three milliseconds on a machine of 3 GHz. */
#define UNIT_STEPS 2000000ull

static volatile uint64_t burnt;

/* gcc leaves the frame pointer out of functions that need no stack, whatever the options say, and then the walk
 * misses their caller. A function that asks for its frame's address has one. */
#ifdef NO_FRAMES
#define KEEP_FRAME() ((void)0)
#else
#define KEEP_FRAME() __asm__ volatile("" : : "r"(__builtin_frame_address(0)))
#endif

static inline __attribute__((always_inline)) void burn_steps(uint64_t steps) {
    KEEP_FRAME();
    uint64_t value = burnt;
    for (uint64_t step = 0; step < steps; step++) {
        value = value * 6364136223846793005ull + 1442695040888963407ull;
        __asm__ volatile("" : "+r"(value));
    }
    burnt = value;
}

static inline __attribute__((always_inline)) uint64_t cpu_nanos(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static inline void say(const char *line) {
    puts(line);
    fflush(stdout);
}

static inline void say_tick(void) {
    static uint64_t ticks;
    printf("tick %llu\n", (unsigned long long)++ticks);
    fflush(stdout);
}

static inline void say_cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    unsigned long long micros = (unsigned long long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000ull +
                                (unsigned long long)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    printf("cpu_nanos=%llu\n", micros * 1000ull);
    fflush(stdout);
}

/* CPU milliseconds to run for, from the first argument; 0 means for ever. */
static inline uint64_t wanted_cpu_millis(int argc, char **argv) {
    return argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
}

/* Calls `round` until the wanted CPU time is used up. A macro, so that it adds no frame. */
#define REPEAT(argc, argv, round)                                                        \
    do {                                                                                 \
        uint64_t wanted_nanos = wanted_cpu_millis(argc, argv) * 1000000ull;              \
        say("ready");                                                                    \
        uint64_t next_tick_nanos = 0;                                                    \
        while (wanted_nanos == 0 || cpu_nanos() < wanted_nanos) {                        \
            round;                                                                       \
            if (wanted_nanos == 0 && cpu_nanos() > next_tick_nanos) {                    \
                say_tick();                                                              \
                next_tick_nanos = cpu_nanos() + 50000000ull;                             \
            }                                                                            \
        }                                                                                \
        say_cpu();                                                                       \
    } while (0)

#endif
