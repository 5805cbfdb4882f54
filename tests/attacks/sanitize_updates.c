/* The coder of updates in C, fed by a pipe, for a compiler with sanitizers: every buffer is as long
 * as it says, and the room for what is written is little at first, so that its bound is met often.
 *
 * In: number of tensors (int), rows, columns, kernel and kind of each (long long), then each array
 * of `struct models` in its order; then for each payload: length (int), bytes. Out: for each payload
 * what `update_code` returns (int), and where that is not negative the offsets and the symbols
 * (int). Native byte order. Made and fed by tests/attacks/fuzz_updates.py. */

#include "sanitize.h"
#include "updates.c"

int main(void)
{
    int n_tensors, length;
    if (fread(&n_tensors, sizeof(int), 1, stdin) != 1)
        return 3;
    struct tensor *tensors = filled(n_tensors * sizeof(struct tensor));
    struct models m;
    m.stretch = filled(2 * 16384);
    m.squash = filled(2 * (2 * FAR + 1));
    m.cost = filled(2 * 4097);
    m.rates = filled(4 * 1024);
    size_t n = 0, widest = 1;
    for (int t = 0; t < n_tensors; t++) {
        n += tensors[t].rows * tensors[t].columns;
        if ((size_t)tensors[t].columns > widest)
            widest = tensors[t].columns;
    }
    while (fread(&length, sizeof(int), 1, stdin) == 1) {
        u8 *payload = filled(length);
        int *steps = calloc(n_tensors, sizeof(int)), *symbols = calloc(n, sizeof(int));
        i64 *prices = calloc(n_tensors, sizeof(i64));
        struct kind *kinds = malloc(KINDS * sizeof(struct kind));
        u32 *rows = malloc(2 * sizeof(u32)), *columns = malloc(3 * widest * sizeof(u32));
        int found = -NO_ROOM;
        for (int room = 80; found == -NO_ROOM; room *= 2) {
            u8 *written = malloc(room);
            found = (int)update_code(0, &m, tensors, n_tensors, steps, symbols, 0, prices, payload,
                                     length, written, room, kinds, rows, columns);
            free(written);
        }
        fwrite(&found, sizeof(int), 1, stdout);
        if (found >= 0) {
            fwrite(steps, sizeof(int), n_tensors, stdout);
            fwrite(symbols, sizeof(int), n, stdout);
        }
        fflush(stdout);
        free(payload), free(steps), free(symbols), free(prices), free(kinds);
        free(rows), free(columns);
    }
    return 0;
}
