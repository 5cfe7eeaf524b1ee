/* One of the bench's workers: keeps a CPU busy by sorting, hashing, formatting and a system call now and then.
 * Built with frame pointers and debug information: there is much to walk and much to name.
 * Says "ready" on stdout, then runs until it is killed. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT 4096

static uint64_t numbers[COUNT];
static char text[1 << 16];
static uint64_t state = 1;

static uint64_t next_number(void) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return state >> 11;
}

static int by_size(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static uint64_t mixed(uint64_t hash, unsigned char byte) {
    return (hash ^ byte) * 1099511628211ull;
}

__attribute__((noinline)) static void sort_numbers(void) {
    for (int i = 0; i < COUNT; i++) numbers[i] = next_number();
    qsort(numbers, COUNT, sizeof numbers[0], by_size);
}

__attribute__((noinline)) static uint64_t hash_text(void) {
    uint64_t hash = 14695981039346656037ull;
    for (size_t i = 0; i < sizeof text; i++) hash = mixed(hash, (unsigned char)text[i]);
    return hash;
}

__attribute__((noinline)) static void print_numbers(void) {
    size_t used = 0;
    for (int i = 0; i < COUNT && used + 32 < sizeof text; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%llu ", (unsigned long long)numbers[i]);
    }
}

__attribute__((noinline)) static void read_zeros(int zeros) {
    if (read(zeros, text, sizeof text) < 0) exit(1);
}

__attribute__((noinline)) static void round_of_work(int zeros, int depth) {
    if (depth > 0) {
        round_of_work(zeros, depth - 1);
    } else {
        sort_numbers();
        print_numbers();
        state += hash_text();
        read_zeros(zeros);
    }
    __asm__ volatile(""); /* no tail call: the caller stays on the stack */
}

int main(void) {
    int zeros = open("/dev/zero", O_RDONLY);
    if (zeros < 0) return 1;
    puts("ready");
    fflush(stdout);
    for (uint64_t round = 0;; round++) round_of_work(zeros, (int)(round % 20));
}
