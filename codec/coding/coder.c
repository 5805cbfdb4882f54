/* symbols of one picture <-> payload: context network and range coder together.
 *
 * This is codec/coding/integer_prior.py, context.py and portable.py once more: the same integers,
 * the same bytes, sooner. codec/coding/native.py calls it, codec/coding/compiled.py compiles it and
 * tells the compiler LIMIT, REACH, N_SCALES, EIGHTHS and FRACTION_BITS.
 *
 * Whoever calls has checked the prior's arrays, that no sum leaves its type, and the symbols that
 * are written. Payloads are not trusted: one that leads beyond a table, or to a symbol that is no
 * symbol, ends in -1. Every read lies inside the payload, the tables and the memory that was given.
 *
 * A "place" is a position of the latent in the order of coding. Right shifts of negative integers
 * are arithmetic, as in every compiler this meets; open_prior compares the bytes with numpy's. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define ESCAPE (2 * REACH + 1) /* the last symbol of a table */
#define ROW (ESCAPE + 2)       /* entries of a table's row: one more than its symbols */

/* A frozen prior, of M positions and C channels, with H hidden units. `near` has the places of the
 * four known neighbours of each place, m where there is none; `network` is 0 in the first pass, and
 * then 1 and 2; `ends` are the places where passes end. */
struct prior {
    int m, c, h, n_passes;
    const int *order, *ends, *near, *network; /* (m), (n_passes), (m, 4), (m) */
    const int *unit;                          /* (Q, c) */
    const short *hidden;                      /* (2, 4 c, h) */
    const int *hidden_bias, *shift;           /* (Q, 2, h), (2, h) */
    const short *out;                         /* (2, 2 c, h) */
    const int *out_bias, *factor, *bias;      /* (m, 2 c), (Q, 2 c), (Q, 2 c) */
    const u32 *cdf;                           /* (N_SCALES * EIGHTHS, ROW) */
};

static int clipped(i64 value, int low, int high)
{
    return value < low ? low : value > high ? high : (int)value;
}

/* A symbol as the network takes it. */
static short in_unit(const struct prior *p, int quality, int channel, int symbol)
{
    i64 scaled = (i64)symbol * p->unit[quality * p->c + channel];
    return (short)clipped((scaled + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS, -LIMIT, LIMIT);
}

/* Tables and means of the c symbols at a place. `v` (m + 1, c) holds the known symbols in the
 * network's unit, by place, and zeros in its last row; `sums` (h) and `units` (h) are for work. */
static void choose(const struct prior *p, int quality, int place, const short *v, int *sums,
                   short *units, int *tables, int *means)
{
    int c = p->c, h = p->h, which = p->network[place] - 1, any = 0;
    if (which >= 0) {
        const int *shift = p->shift + which * h;
        for (int j = 0; j < h; j++)
            sums[j] = p->hidden_bias[(quality * 2 + which) * h + j];
        for (int k = 0; k < 4; k++) {
            const short *seen = v + (i64)p->near[4 * place + k] * c;
            const short *weights = p->hidden + ((i64)which * 4 + k) * c * h;
            for (int i = 0; i < c; i++, weights += h) {
                int x = seen[i];
                if (x) /* most symbols are zeros */
                    for (int j = 0; j < h; j++)
                        sums[j] += x * weights[j];
            }
        }
        for (int j = 0; j < h; j++) {
            units[j] = (short)(sums[j] > 0 ? sums[j] >> shift[j] : 0);
            any |= units[j];
        }
    }
    for (int i = 0; i < c; i++) {
        i64 result[2]; /* the mean in eighths of a symbol, plus 4; the index of the scale */
        for (int half = 0; half < 2; half++) {
            int row = half * c + i, sum = p->out_bias[place * 2 * c + row];
            if (any) {
                const short *weights = p->out + ((i64)which * 2 * c + row) * h;
                for (int j = 0; j < h; j++)
                    sum += weights[j] * units[j];
            }
            int at = quality * 2 * c + row;
            result[half] = ((i64)sum * p->factor[at] + p->bias[at]) >> FRACTION_BITS;
        }
        means[i] = (int)(result[0] >> 3);
        tables[i] = clipped(result[1], 0, N_SCALES - 1) * EIGHTHS;
        tables[i] += (int)(result[0] & (EIGHTHS - 1));
    }
}

/* The range coder's writing end. The interval is [low, low + width) behind the n bytes that are
 * settled. */
struct writer {
    u64 low, width;
    u8 *bytes;
    i64 n;
};

/* A carry out of `low`, into what is settled, from the last byte on. */
static void lift(struct writer *w)
{
    i64 j = w->n;
    while (j > 0 && ++w->bytes[j - 1] == 0)
        j--;
}

/* Narrows the interval to [start, start + size) of 2^24. */
static void put(struct writer *w, u32 start, u32 size)
{
    u64 scale = w->width >> 24, more = scale * start;
    w->low += more;
    if (w->low < more)
        lift(w);
    w->width = scale * size;
    if (w->width >> 32 == 0) { /* 32 bits are settled */
        for (int shift = 56; shift >= 32; shift -= 8)
            w->bytes[w->n++] = (u8)(w->low >> shift);
        w->low <<= 32;
        w->width <<= 32;
    }
}

/* Ends with the fewest bytes that still fall into the interval, zeros being implied. */
static i64 finish(struct writer *w)
{
    u64 last = w->low + (w->width - 1), point = 0;
    int n = 0;
    if (w->low) {
        if (last < w->low) { /* the interval holds the next multiple of 2^64: no byte of its own */
            lift(w);
        } else {
            for (n = 1; n < 8; n++) { /* low, rounded up to n bytes, if that is inside */
                u64 unit = (u64)1 << (64 - 8 * n), up = w->low + (unit - 1);
                point = up & ~(unit - 1);
                if (up >= w->low && point <= last)
                    break;
            }
            if (n == 8)
                point = w->low;
        }
    }
    for (int i = 0; i < n; i++)
        w->bytes[w->n++] = (u8)(point >> (56 - 8 * i));
    while (w->n > 0 && w->bytes[w->n - 1] == 0)
        w->n--;
    return w->n;
}

/* Symbols (m, c) in -LIMIT..LIMIT, position by position -> the length of the payload, which needs
 * room for 4 m c + m c / 8 + 16 bytes: 32 bits for a symbol that is escaped, and what dividing the
 * interval loses, 2 times 1/177 of a bit at most. Work: `v` (m + 1, c) + h, `numbers` h + 2 c, `raw` m c. */
i64 prior_write(const struct prior *p, int quality, const int *symbols, u8 *payload, short *v,
                int *numbers, u8 *raw)
{
    int c = p->c, *sums = numbers, *tables = numbers + p->h, *means = tables + c;
    short *units = v + (i64)(p->m + 1) * c;
    struct writer w = {0, ~(u64)0, payload, 0};
    for (int i = 0; i < c; i++)
        v[(i64)p->m * c + i] = 0;
    for (int pass = 0, place = 0; pass < p->n_passes; pass++) {
        i64 n_raw = 0;
        for (; place < p->ends[pass]; place++) {
            const int *from = symbols + (i64)p->order[place] * c;
            choose(p, quality, place, v, sums, units, tables, means);
            for (int i = 0; i < c; i++) {
                /* nearest to the mean first: 0, -1, 1, -2, ... */
                int away = from[i] - means[i], symbol = away < 0 ? -2 * away - 1 : 2 * away;
                if (away < -REACH || away > REACH) {
                    symbol = ESCAPE;
                    raw[n_raw++] = (u8)(from[i] + LIMIT + 1);
                }
                const u32 *at = p->cdf + tables[i] * ROW + symbol;
                put(&w, at[0], at[1] - at[0]);
                v[(i64)place * c + i] = in_unit(p, quality, i, from[i]);
            }
        }
        for (i64 i = 0; i < n_raw; i++) /* a pass ends with its escaped symbols, a byte each */
            put(&w, (u32)raw[i] << 16, 1 << 16);
    }
    return finish(&w);
}

/* The reading end: the distance of the code point from the interval's start, the interval's width,
 * and the bytes to come, behind which there are zeros. */
struct reader {
    u64 ahead, width;
    const u8 *bytes;
    i64 n, next;
};

/* Narrows the interval to [start, start + size) in units of `scale`. */
static void take(struct reader *r, u64 start, u64 size, u64 scale)
{
    r->ahead -= scale * start;
    r->width = scale * size;
    if (r->width >> 32 == 0) {
        for (int k = 0; k < 4; k++, r->next++)
            r->ahead = r->ahead << 8 | (r->next < r->n ? r->bytes[r->next] : 0);
        r->width <<= 32;
    }
}

/* Payload -> symbols (m, c) in -LIMIT..LIMIT, position by position. Returns 0, or -1 where the
 * payload leads elsewhere. Work: `v` and `numbers` as for prior_write, `escaped` m c. */
i64 prior_read(const struct prior *p, int quality, const u8 *payload, i64 n_bytes, int *symbols,
               short *v, int *numbers, int *escaped)
{
    int c = p->c, *sums = numbers, *tables = numbers + p->h, *means = tables + c;
    short *units = v + (i64)(p->m + 1) * c;
    struct reader r = {0, ~(u64)0, payload, n_bytes, 8};
    for (int i = 0; i < 8; i++)
        r.ahead = r.ahead << 8 | (i < n_bytes ? payload[i] : 0);
    for (int i = 0; i < c; i++)
        v[(i64)p->m * c + i] = 0;
    for (int pass = 0, place = 0; pass < p->n_passes; pass++) {
        i64 n_escaped = 0;
        for (; place < p->ends[pass]; place++) {
            choose(p, quality, place, v, sums, units, tables, means);
            for (int i = 0; i < c; i++) {
                const u32 *row = p->cdf + tables[i] * ROW;
                u64 scale = r.width >> 24, point = r.ahead / scale;
                int symbol = 0;
                if (point >> 24) /* beyond the table: no encoder leads there */
                    return -1;
                while (row[symbol + 1] <= point) /* ends: the row's last entry is 2^24 */
                    symbol++;
                take(&r, row[symbol], row[symbol + 1] - row[symbol], scale);
                if (symbol == ESCAPE) { /* its value comes at the end of the pass */
                    escaped[n_escaped++] = place * c + i;
                    continue;
                }
                int value = means[i] + (symbol & 1 ? -(symbol + 1) / 2 : symbol / 2);
                if (value < -LIMIT || value > LIMIT)
                    return -1;
                symbols[p->order[place] * c + i] = value;
                v[(i64)place * c + i] = in_unit(p, quality, i, value);
            }
        }
        for (i64 k = 0; k < n_escaped; k++) {
            u64 scale = r.width >> 24, point = r.ahead / scale;
            int at = escaped[k], value = (int)(point >> 16) - (LIMIT + 1);
            if (point >> 24 || value < -LIMIT)
                return -1;
            take(&r, point & ~(u64)0xffff, 1 << 16, scale);
            symbols[p->order[at / c] * c + at % c] = value;
            v[at] = in_unit(p, quality, at % c, value);
        }
    }
    return 0;
}
