/* Runs into a known place, keeps its registers there, and writes them with its mappings and its stacks to a file:
 *
 *   reg NUMBER VALUE        0 to 30, 31 is sp, 32 is pc
 *   map LINE                of /proc/self/maps
 *   mem START HEX           little-endian words from START on
 *
 * usage: program WHAT FILE. Walked by the tests beside this file; runs under qemu's user mode as well. */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define KEEP __attribute__((noinline, noclone))
#define OTHER_STACK_BYTES 65536

static uint64_t registers[33];
static const char *file_name;
static uint64_t interrupted_sp, restorer;
static char other_stack[OTHER_STACK_BYTES] __attribute__((aligned(16)));
volatile long sink;

/* Where it stands in a function the registers are those of an interruption: nothing is called. */
#define CAPTURE()                                                                                              \
    do {                                                                                                       \
        register uint64_t *into __asm__("x9") = registers;                                                     \
        __asm__ volatile("stp x0, x1, [x9]\n stp x2, x3, [x9, 16]\n stp x4, x5, [x9, 32]\n"                    \
                         "stp x6, x7, [x9, 48]\n stp x8, x9, [x9, 64]\n stp x10, x11, [x9, 80]\n"              \
                         "stp x12, x13, [x9, 96]\n stp x14, x15, [x9, 112]\n stp x16, x17, [x9, 128]\n"        \
                         "stp x18, x19, [x9, 144]\n stp x20, x21, [x9, 160]\n stp x22, x23, [x9, 176]\n"       \
                         "stp x24, x25, [x9, 192]\n stp x26, x27, [x9, 208]\n stp x28, x29, [x9, 224]\n"       \
                         "mov x10, sp\n stp x30, x10, [x9, 240]\n adr x10, .\n str x10, [x9, 256]\n"           \
                         :                                                                                     \
                         : "r"(into)                                                                           \
                         : "x10", "memory");                                                                   \
    } while (0)

/* A stack of at most 256 KiB from `from` to the end of what it lies in. */
static void write_memory(FILE *out, uint64_t from) {
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    uint64_t start, end = 0;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx", &start, &end) == 2 && start <= from && from < end) break;
    fclose(maps);
    uint64_t low = (uint64_t)other_stack, high = low + OTHER_STACK_BYTES;
    if (low <= from && from < high) end = high;
    if (end > from + (256 << 10)) end = from + (256 << 10);
    fprintf(out, "mem %lx ", from);
    for (uint64_t at = from; at + 8 <= end; at += 8) fprintf(out, "%016lx", *(uint64_t *)at);
    fprintf(out, "\n");
}

KEEP static void write_all(void) {
    FILE *out = fopen(file_name, "w");
    char line[512];
    for (int i = 0; i < 33; i++) fprintf(out, "reg %d %lx\n", i, registers[i]);
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) fprintf(out, "map %s", line);
    fclose(maps);
    write_memory(out, registers[31] & ~7ul);
    if (interrupted_sp) {
        write_memory(out, interrupted_sp & ~7ul);
        /* What the handler returns to, two instructions that make a system call. */
        fprintf(out, "mem %lx %016lx\n", restorer, *(uint64_t *)restorer);
    }
    fclose(out);
}

/* No frame: the return address is in the link register alone. */
KEEP static void leaf(void) { CAPTURE(); }
KEEP static void with_frame(void) {
    sink += rand();
    CAPTURE();
    write_all();
}
KEEP static int compare(const void *a, const void *b) {
    if (!sink) {
        sink = 1;
        leaf();
        write_all();
    }
    return *(const int *)a - *(const int *)b;
}
KEEP static long deep(long n) {
    char local[40];
    memset(local, (int)n, sizeof local);
    if (n == 0) {
        int numbers[] = {3, 1, 2};
        qsort(numbers, 3, sizeof *numbers, compare);
        return numbers[0] + local[0];
    }
    return deep(n - 1) + local[n % 40];
}
KEEP static long aligned(long n) {
    char wide[128] __attribute__((aligned(64)));
    char *more = alloca((size_t)n);
    memset(wide, (int)n, sizeof wide);
    memset(more, 1, (size_t)n);
    with_frame();
    return wide[n % 128] + more[0];
}
KEEP static long large_frame(long n) {
    volatile char large[70000];
    large[n] = 1;
    with_frame();
    return large[n + 1];
}
__attribute__((noreturn, noinline)) static void never(void) { with_frame(); exit(0); }
KEEP static long ends_in_noreturn(long n) { if (n > 100) return n; never(); }

KEEP static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    ucontext_t *interrupted = context;
    interrupted_sp = interrupted->uc_mcontext.sp;
    restorer = (uint64_t)__builtin_return_address(0);
    leaf();
    write_all();
    exit(0);
}
KEEP static long poke(long at) { return *(volatile long *)at; }
KEEP static long poke_with_frame(long at) {
    sink += rand();
    return *(volatile long *)at + sink;
}

static ucontext_t back, coroutine;
static void in_coroutine(void) { with_frame(); sink++; }
static void *in_thread(void *argument) { return (void *)deep((long)argument); }

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[1] : "";
    file_name = argc > 2 ? argv[2] : "/dev/null";
    if (!strcmp(what, "deep")) return deep(60) > 0 ? 0 : 1;
    if (!strcmp(what, "aligned")) return aligned(argc * 50) != 0 ? 0 : 1;
    if (!strcmp(what, "large")) return large_frame(argc) == 1;
    if (!strcmp(what, "noreturn")) return (int)ends_in_noreturn(argc);
    if (!strncmp(what, "signal", 6)) {
        stack_t other = { .ss_sp = other_stack, .ss_size = sizeof other_stack };
        sigaltstack(&other, 0);
        struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_ONSTACK | SA_SIGINFO };
        sigaction(SIGSEGV, &action, 0);
        return (what[6] ? poke_with_frame(argc) : poke(argc)) != 0;
    }
    if (!strcmp(what, "thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, in_thread, (void *)20);
        return pthread_join(thread, 0);
    }
    if (!strcmp(what, "coroutine")) {
        getcontext(&coroutine);
        coroutine.uc_stack.ss_sp = other_stack;
        coroutine.uc_stack.ss_size = sizeof other_stack;
        coroutine.uc_link = &back;
        makecontext(&coroutine, in_coroutine, 0);
        swapcontext(&back, &coroutine);
    }
    return 0;
}
