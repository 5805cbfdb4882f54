/* What the drivers share: the coder in C, and buffers that are filled from the pipe. */

#include <stdio.h>
#include <stdlib.h>

#include "coder.c"

static void *filled(size_t n_bytes)
{
    void *memory = malloc(n_bytes);
    if (!memory || fread(memory, 1, n_bytes, stdin) != n_bytes)
        exit(3);
    return memory;
}
