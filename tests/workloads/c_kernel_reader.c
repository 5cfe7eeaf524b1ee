// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* Has the kernel fill a buffer with zeroes: nearly all of its time is kernel time below read_zeroes.
 * The system call is made here and not in libc, whose wrapper keeps no frame pointer and would hide its caller.
 * usage: c_kernel_reader [CPU_MILLISECONDS] */
#include "burn.h"
#include <fcntl.h>
#include <sys/syscall.h>

static char buffer[1 << 20];

static inline __attribute__((always_inline)) long read_call(int file) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_read), "D"((long)file), "S"(buffer), "d"(sizeof buffer)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_read;
    register long first __asm__("x0") = file;
    register char *second __asm__("x1") = buffer;
    register long third __asm__("x2") = sizeof buffer;
    __asm__ volatile("svc #0" : "+r"(first) : "r"(number), "r"(second), "r"(third) : "memory");
    return first;
#else
#error "no system call for this architecture"
#endif
}

NOINLINE void read_zeroes(int file) {
    KEEP_FRAME();
    for (int i = 0; i < 64; i++) {
        if (read_call(file) != sizeof buffer) exit(3);
    }
}

int main(int argc, char **argv) {
    int file = open("/dev/zero", O_RDONLY);
    if (file < 0) return 2;
    REPEAT(argc, argv, read_zeroes(file));
    return 0;
}
