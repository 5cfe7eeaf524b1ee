// build: -O1 -fomit-frame-pointer -fno-optimize-sibling-calls -static
/* c_deep without frame pointers: 400 calls that only unwind information leads out of.
 * usage: c_deep_no_frame_pointers [CPU_MILLISECONDS] */
#include "c_deep.c"
