// build: -O2 -fomit-frame-pointer -DNO_FRAMES
/* Copies itself into memory that has no name in any folder, and executes that.
 * usage: c_memfd_exec */
#define _GNU_SOURCE
#include "burn.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

NOINLINE void burn_in_memfd(void) { burn_steps(UNIT_STEPS); }

int main(int argc, char **argv) {
    if (argc == 1) {
        int own = open("/proc/self/exe", O_RDONLY), memory = memfd_create("in_memory", MFD_CLOEXEC);
        struct stat about;
        if (own < 0 || memory < 0 || fstat(own, &about) != 0) return 2;
        if (sendfile(memory, own, NULL, (size_t)about.st_size) != about.st_size) return 3;
        char *again[] = {"c_memfd_exec", "0", NULL};
        fexecve(memory, again, environ);
        return 4;
    }
    REPEAT(argc, argv, burn_in_memfd());
    return 0;
}
