"""the loops of the range coder, symbols <-> words, as C for the device's own compiler; `codec.native` has what is around them."""

from __future__ import annotations

SOURCE = r"""
/* A range coder: 64-bit range, 32-bit words, 24-bit tables. Each symbol has a row of `cdf` (n_rows, n_symbols + 1), that rises from
   0 to 2^24; whoever calls has checked that. Nothing else is taken on trust: rows and symbols out of range end in -1. */

typedef unsigned int u32;
typedef unsigned long long u64;

/* Symbols -> words, big-endian bytes. `state` holds the interval's start (its low 64 bits) and width. `words` has room for n, as a
   symbol settles at most one. Returns their number; a carry beyond the first is added to *carry. */
long coder_write(u64 state[2], unsigned char *words, u32 *carry, const int *symbols, const int *rows, long n,
                 const u32 *cdf, int n_rows, int n_symbols)
{
    u64 low = state[0], width = state[1];
    long n_words = 0;
    for (long i = 0; i < n; i++) {
        if (rows[i] < 0 || rows[i] >= n_rows || symbols[i] < 0 || symbols[i] >= n_symbols)
            return -1;
        const u32 *at = cdf + (long)rows[i] * (n_symbols + 1) + symbols[i];
        u64 scale = width >> 24, start = scale * at[0];
        low += start;
        if (low < start) {                       /* into the words that are settled already, from the last byte on */
            long j = 4 * n_words;
            while (j > 0 && ++words[j - 1] == 0)
                j--;
            *carry += j == 0;
        }
        width = scale * (at[1] - at[0]);
        if (width >> 32 == 0) {
            for (int shift = 56; shift >= 32; shift -= 8)
                words[4 * n_words + (56 - shift) / 8] = (unsigned char)(low >> shift);
            n_words++;
            low <<= 32;
            width <<= 32;
        }
    }
    state[0] = low;
    state[1] = width;
    return n_words;
}

/* Words -> symbols. `state` holds the distance of the code point from the interval's start, its width, and the next byte of the
   payload, behind which all are 0. Returns 0. */
long coder_read(u64 state[3], const unsigned char *payload, u64 n_bytes, int *symbols, const int *rows, long n,
                const u32 *cdf, int n_rows, int n_symbols)
{
    u64 ahead = state[0], width = state[1], next = state[2];
    for (long i = 0; i < n; i++) {
        if (rows[i] < 0 || rows[i] >= n_rows)
            return -1;
        const u32 *row = cdf + (long)rows[i] * (n_symbols + 1);
        u64 scale = width >> 24, point = ahead / scale;
        int symbol = 0;
        if (point >> 24)                         /* beyond the table: no encoder leads there */
            return -1;
        while (row[symbol + 1] <= point)         /* ends: the row's last entry is 2^24 */
            symbol++;
        ahead -= scale * row[symbol];
        width = scale * (row[symbol + 1] - row[symbol]);
        if (width >> 32 == 0) {
            for (int k = 0; k < 4; k++, next++)
                ahead = ahead << 8 | (next < n_bytes ? payload[next] : 0);
            width <<= 32;
        }
        symbols[i] = symbol;
    }
    state[0] = ahead;
    state[1] = width;
    state[2] = next;
    return 0;
}
"""
