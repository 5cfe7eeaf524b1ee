// build: -O1 -static
/* Prints a file and ends: what a process in a container reads of another one.
 * usage: c_print_file PATH */
#include <stdio.h>

int main(int count, char **words) {
    char bytes[4096];
    FILE *file = count == 2 ? fopen(words[1], "r") : NULL;
    if (!file) {
        perror("c_print_file");
        return 1;
    }
    size_t length;
    while ((length = fread(bytes, 1, sizeof bytes, file)) > 0)
        fwrite(bytes, 1, length, stdout);
    return 0;
}
