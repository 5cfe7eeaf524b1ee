/* Machine code of a function `void burn(uint64_t steps)` with a frame pointer, to be put where no compiler put any. */
#ifndef BURN_CODE_H
#define BURN_CODE_H

#include <stdint.h>

#if defined(__x86_64__)
static const uint8_t burn_code[] = {
    0x55,             /* push rbp      */
    0x48, 0x89, 0xe5, /* mov rbp, rsp  */
    0x48, 0xff, 0xcf, /* 1: dec rdi    */
    0x75, 0xfb,       /* jnz 1b        */
    0x5d,             /* pop rbp       */
    0xc3,             /* ret           */
};
#elif defined(__aarch64__)
static const uint32_t burn_code[] = {
    0xa9bf7bfd, /* stp x29, x30, [sp, #-16]! */
    0x910003fd, /* mov x29, sp               */
    0xf1000400, /* 1: subs x0, x0, #1        */
    0x54ffffe1, /* b.ne 1b                   */
    0xa8c17bfd, /* ldp x29, x30, [sp], #16   */
    0xd65f03c0, /* ret                       */
};
#else
#error "no machine code for this architecture"
#endif

typedef void (*burn_function)(uint64_t steps);

#endif
