// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -static
/* Puts code at an offset of any file, maps that page and runs it: whoever looks at the mapping has to read the
 * file as a program.
 * usage: c_strange_map FILE PAGE_OFFSET */
#include "burn.h"
#include "burn_code.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

NOINLINE void run_mapped(burn_function code) {
    code(20 * UNIT_STEPS);
    burnt++;
}

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    off_t offset = (off_t)strtoull(argv[2], NULL, 10);
    int file = open(argv[1], O_RDWR);
    if (file < 0) return 2;
    if (pwrite(file, burn_code, sizeof burn_code, offset) != sizeof burn_code) return 3;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, offset);
    if (page == MAP_FAILED) return 4;
    argc = 1;
    REPEAT(argc, argv, run_mapped((burn_function)page));
    return 0;
}
