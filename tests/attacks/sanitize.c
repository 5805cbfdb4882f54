/* The coder in C, fed by a pipe, for a compiler with sanitizers: every buffer is exactly as long as
 * codec/coding/coder.c asks for, so that a read or write beyond one ends the program.
 *
 * In: m, c, h, number of passes, Q (int), then each array of `struct prior` in its order; then for
 * each payload: quality, length (int), bytes. Out: for each payload an int, -1 for refused, else the
 * length of what its symbols are written to; then these bytes, and the symbols (m, c) int. Native
 * byte order. Made and fed by tests/attacks/sanitized.py. */

#include "sanitize.h"

int main(void)
{
    int sizes[5];
    if (fread(sizes, sizeof(int), 5, stdin) != 5)
        return 3;
    size_t m = sizes[0], c = sizes[1], h = sizes[2], n_passes = sizes[3], q = sizes[4], mc = m * c;
    struct prior p = {.m = (int)m, .c = (int)c, .h = (int)h, .n_passes = (int)n_passes};
    p.order = filled(4 * m);
    p.ends = filled(4 * n_passes);
    p.near = filled(4 * 4 * m);
    p.network = filled(4 * m);
    p.unit = filled(4 * q * c);
    p.hidden = filled(2 * 2 * 4 * c * h);
    p.hidden_bias = filled(4 * q * 2 * h);
    p.shift = filled(4 * 2 * h);
    p.out = filled(2 * 2 * 2 * c * h);
    p.out_bias = filled(4 * m * 2 * c);
    p.factor = filled(4 * q * 2 * c);
    p.bias = filled(4 * q * 2 * c);
    p.cdf = filled(4 * (size_t)N_SCALES * EIGHTHS * ROW);
    int head[2];
    while (fread(head, sizeof(int), 2, stdin) == 2) {
        u8 *payload = filled((size_t)head[1]), *written = malloc(4 * mc + mc / 8 + 16);
        u8 *raw = malloc(mc);
        int *symbols = malloc(4 * mc), *escaped = malloc(4 * mc), *numbers = malloc(4 * (h + 2 * c));
        short *v = malloc(2 * ((m + 1) * c + h));
        int n = (int)prior_read(&p, head[0], payload, head[1], symbols, v, numbers, escaped);
        if (n == 0)
            n = (int)prior_write(&p, head[0], symbols, written, v, numbers, raw);
        fwrite(&n, sizeof(int), 1, stdout);
        if (n >= 0) {
            fwrite(written, 1, (size_t)n, stdout);
            fwrite(symbols, 4, mc, stdout);
        }
        fflush(stdout);
        free(payload), free(written), free(raw), free(symbols), free(escaped), free(numbers), free(v);
    }
    return 0;
}
