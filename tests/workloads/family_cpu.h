/* CPU time of a process and of its children that have ended and were waited for, as getrusage tells it. */
#ifndef FAMILY_CPU_H
#define FAMILY_CPU_H

#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

static uint64_t cpu_nanos_of(int whose) {
    struct rusage used;
    getrusage(whose, &used);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000ull +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000ull;
}

static uint64_t family_cpu_nanos(void) { return cpu_nanos_of(RUSAGE_SELF) + cpu_nanos_of(RUSAGE_CHILDREN); }

static void say_family_cpu(void) {
    printf("cpu_nanos=%llu\n", (unsigned long long)family_cpu_nanos());
    fflush(stdout);
}

#endif
