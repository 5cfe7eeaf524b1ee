// build: -O1 -static
/* Runs a program that the kernel answers one of its system calls with EPERM, as a container's profile or a security module does.
 * usage: c_denies CALL[=FIRST_ARGUMENT] PROGRAM [ARGUMENT...] */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL(name) {#name, SYS_##name}
static const struct { const char *name; unsigned number; } calls[] = {
    CALL(bpf), CALL(capset), CALL(chroot), CALL(geteuid), CALL(getpriority), CALL(ioctl), CALL(madvise),
    CALL(openat2), CALL(perf_event_open), CALL(pidfd_open), CALL(prctl), CALL(prlimit64), CALL(process_vm_readv),
    CALL(sched_getaffinity), CALL(setpriority), CALL(statx),
};

int main(int count, char **words) {
    if (count < 3)
        return 2;
    char *argument = strchr(words[1], '=');
    if (argument)
        *argument++ = 0;
    size_t at = 0, length = sizeof calls / sizeof *calls;
    while (at < length && strcmp(calls[at].name, words[1]))
        at++;
    if (at == length) {
        fprintf(stderr, "c_denies: add %s to its list\n", words[1]);
        return 2;
    }
    /* The low half of an argument, as both architectures are little-endian. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[at].number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | (argument ? BPF_JEQ : BPF_JGE) | BPF_K, argument ? strtoul(argument, NULL, 0) : 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("c_denies: prctl");
        return 2;
    }
    execv(words[2], words + 2);
    perror(words[2]);
    return 2;
}
