/* symbols of a change of weights <-> payload: contexts, mixing and range coder together.
 *
 * This file follows coder.c, whose range coder it uses. codec/coding/update_portable.py is the same
 * once more, in Python: the same integers, the same bytes. codec/coding/update_native.py calls it.
 *
 * Every decision is binary. Each has several probabilities, of several contexts, that adapt; a
 * mixer adds them in the logistic domain (Mahoney 2005, "Adaptive weighing of context models for
 * lossless data compression"). Payloads are not trusted: what fails first ends it, with a code of
 * its own. */

typedef unsigned short u16;
typedef signed char i8;

#define FAR 2815     /* the greatest logit, in 1/256 */
#define INPUTS 8     /* of a mixer, at most */
#define CEILING 8388607 /* the greatest size of a symbol */
#define RATE 14       /* of learning, of a mixer */

struct models {
    const short *stretch; /* (16384): logit of a probability */
    const u16 *squash;    /* (2 FAR + 1): probability of a logit, in 1/65536 */
    const u16 *cost;      /* (4097): bits of a probability, in 1/256 */
    const int *rates;     /* (1024): share of the error that a count of events learns, in 1/65536 */
};

/* Why it ends early; `update_code` returns minus this, codec/coding/update_native.py says it. */
enum { NO_ROOM = 1, ELSEWHERE = 2, TOO_LARGE = 3, NO_STEP = 4, OTHER_FORM = 5 };

/* One end of the range coder; `writing` says which, `failed` what failed first, or 0. What is read
 * is written once more, as only the writer's form of it is taken. */
struct end {
    int writing, failed;
    struct writer w;
    i64 room;
    struct reader r;
};

static void fail(struct end *e, int why)
{
    if (!e->failed)
        e->failed = why;
}

/* A decision: its contexts, and the weights that mix them. */
struct choice {
    int n, p, logit[INPUTS];
    u32 *slot[INPUTS];
    int *weight;
};

static void weigh(struct choice *d, const struct models *m)
{
    i64 sum = 0;
    for (int i = 0; i < d->n; i++) {
        d->logit[i] = m->stretch[*d->slot[i] >> 18];
        sum += (i64)d->logit[i] * d->weight[i];
    }
    d->p = m->squash[clipped(sum >> 16, -FAR, FAR) + FAR];
}

static void learn(struct choice *d, const struct models *m, int bit, int limit)
{
    int error = (bit << 16) - d->p;
    for (int i = 0; i < d->n; i++) {
        u32 slot = *d->slot[i];
        i64 p = slot >> 10, count = slot & 1023;
        p += (((i64)bit * 4194303 - p) * m->rates[count]) >> 16;
        *d->slot[i] = (u32)p << 10 | (u32)(count < limit ? count + 1 : count);
        d->weight[i] = clipped(d->weight[i] + (((i64)d->logit[i] * error * RATE + (1 << 19)) >> 20),
                               -(1 << 20), 1 << 20);
    }
}

/* Codes a bit that is 1 with probability p / 65536. */
static int bit_of(struct end *e, int bit, int p)
{
    u32 ones = (u32)p << 8;
    if (!e->writing) {
        u64 scale = e->r.width >> 24;
        if (e->r.ahead >= scale << 24) {
            fail(e, ELSEWHERE);
            return 0;
        }
        bit = e->r.ahead < scale * ones;
        if (bit)
            take(&e->r, 0, ones, scale);
        else
            take(&e->r, ones, (1 << 24) - ones, scale);
    }
    if (e->w.n + 64 > e->room)
        fail(e, NO_ROOM);
    else if (bit)
        put(&e->w, 0, ones);
    else
        put(&e->w, ones, (1 << 24) - ones);
    return bit;
}

static int decide(struct end *e, struct choice *d, const struct models *m, int bit, int limit)
{
    weigh(d, m);
    bit = bit_of(e, bit, d->p);
    learn(d, m, bit, limit);
    return bit;
}

/* A number from 0 on: unary up to 14, then Exp-Golomb. `slots` (64) and `weights` (64) adapt. */
static int number(struct end *e, const struct models *m, int value, u32 *slots, int *weights)
{
    struct choice d;
    int n = 0, k = 0;
    d.n = 1;
    for (; n < 14; n++) {
        d.slot[0] = slots + n;
        d.weight = weights + n;
        if (!decide(e, &d, m, value > n, 255))
            return n;
    }
    i64 rest = (i64)value - 14, found = 0;
    for (; k < 23; k++) {
        d.slot[0] = slots + 16 + k;
        d.weight = weights + 16 + k;
        if (!decide(e, &d, m, rest >= (1 << k), 255))
            break;
        rest -= 1 << k;
        found += 1 << k;
    }
    while (k--)
        found += (i64)bit_of(e, (int)(rest >> k & 1), 32768) << k;
    if (found + 14 > CEILING)
        fail(e, TOO_LARGE);
    return e->failed ? 0 : (int)found + 14;
}

#define KINDS 4

/* What one kind of tensors has learned: matrices, convolutions, vectors, integers. */
struct kind {
    u32 zero_pattern[81], zero_window[8], zero_kernel[32], zero_above[32], zero_any[1];
    u32 sign_kernel[27], sign_pattern[27], sign_last[27];
    u32 more_near[8], more_any[1], count[64], changed[1], step[64];
    int zero_weight[7], sign_weight[5], more_weight[2], count_weight[64];
    int changed_weight[1], step_weight[64];
};

static void fresh(u32 *slots, int n, u32 p)
{
    for (int i = 0; i < n; i++)
        slots[i] = p << 10;
}

static void even(int *weights, int n, int each)
{
    for (int i = 0; i < n; i++)
        weights[i] = each;
}

static void begin_kind(struct kind *k)
{
    u32 *slots = k->zero_pattern;
    fresh(slots, 81 + 8 + 32 + 32 + 1, 1 << 17);
    fresh(k->sign_kernel, 3 * 27, 1 << 21);
    fresh(k->more_near, 8 + 1, 1 << 19);
    fresh(k->count, 64, 1 << 20);
    fresh(k->changed, 1, 1 << 21);
    fresh(k->step, 64, 1 << 21);
    even(k->zero_weight, 7, 65536 * 2 / 7);
    even(k->sign_weight, 5, 65536 / 3);
    even(k->more_weight, 2, 65536 / 2);
    even(k->count_weight, 64, 65536);
    even(k->changed_weight, 1, 65536);
    even(k->step_weight, 64, 65536);
}

struct tensor {
    i64 rows, columns, kernel, kind;
};

static int upto(int value, int most)
{
    return value > most ? most : value;
}

static int ternary(int value)
{
    return value < 0 ? 2 : value > 0;
}

/* The symbols of one tensor. `wanted` holds sizes in 1/1024 of a step, where symbols are chosen at
 * `price` for 1/256 of a bit; it is 0 where they are given. */
static void code_tensor(struct end *e, const struct models *m, const struct tensor *t,
                        struct kind *k, int *q, const int *wanted, i64 price,
                        u32 *rows, u32 *columns)
{
    i64 width = t->columns, kernel = t->kernel;
    u32 *zero_row = rows, *sign_row = rows + 1;
    u32 *zero_column = columns, *sign_column = columns + width;
    u32 *last = columns + 2 * width;
    struct choice zero, sign, more;
    zero.n = 7;
    sign.n = 5;
    more.n = 2;
    for (i64 c = 0; c < width; c++)
        last[c] = 0;
    fresh(sign_column, (int)width, 1 << 21);
    for (i64 r = 0; r < t->rows; r++) {
        int agree = 0, window = 0;
        *zero_row = (k->zero_any[0] & ~(u32)1023) | 6;
        *sign_row = (u32)1 << 31;
        const int *up = r ? q + (r - 1) * width : 0;
        for (i64 c = 0; c < 4 && c < width && up; c++)
            window += up[c] != 0;
        for (i64 c = 0; c < width; c++) {
            i64 i = r * width + c;
            if (up) {
                if (c + 4 < width)
                    window += up[c + 4] != 0;
                if (c >= 5)
                    window -= up[c - 5] != 0;
            } else {
                zero_column[c] = (k->zero_any[0] & ~(u32)1023) | 2;
            }
            int left = c ? q[i - 1] : 0, left2 = c > 1 ? q[i - 2] : 0;
            int left3 = c > 2 ? q[i - 3] : 0;
            int above = up ? up[c] : 0, above_left = up && c ? up[c - 1] : 0;
            int above_right = up && c + 1 < width ? up[c + 1] : 0;
            int above2 = r > 1 ? q[i - 2 * width] : 0;
            i64 back = kernel > 1 ? kernel : 3;
            int far = c >= back ? q[i - back] : 0;
            int n1 = left < 0 ? -left : left, n2 = left2 < 0 ? -left2 : left2;
            int na = above < 0 ? -above : above, nf = far < 0 ? -far : far;
            int around = upto(n1 + na + nf + n2, 7);
            zero.slot[0] = k->zero_pattern + upto(n1, 2) + 3 * upto(n2, 2) + 9 * upto(na, 2) +
                           27 * upto(nf, 2);
            zero.slot[1] = zero_row;
            zero.slot[2] = zero_column + c;
            zero.slot[3] = k->zero_window + upto(window, 7);
            zero.slot[4] = k->zero_kernel + (kernel < 32 ? c % kernel : 0);
            zero.slot[5] = k->zero_above + (above != 0) + 2 * (above_left != 0) +
                           4 * (above_right != 0) + 8 * (above2 != 0) + 16 * (left != 0);
            zero.slot[6] = k->zero_any;
            zero.weight = k->zero_weight;
            more.slot[0] = k->more_near + around;
            more.slot[1] = k->more_any;
            more.weight = k->more_weight;

            weigh(&zero, m);
            int value = q[i];
            if (wanted) {
                int u = wanted[i] < 0 ? -wanted[i] : wanted[i], up_to = (u + 512) >> 10;
                if (up_to) {
                    i64 best = (i64)u * u + price * m->cost[(65536 - zero.p) >> 4];
                    int chosen = 0;
                    weigh(&more, m);
                    for (int v = up_to; v > 0 && v >= up_to - 1; v--) {
                        i64 bits = m->cost[zero.p >> 4] + 256;
                        bits += v == 1 ? m->cost[(65536 - more.p) >> 4] : m->cost[more.p >> 4];
                        if (v > 1) /* about one bit a step, from there on */
                            bits += 256 * upto(v - 1, 14);
                        i64 off = u - 1024 * (i64)v, all = off * off + price * bits;
                        if (all < best) {
                            best = all;
                            chosen = v;
                        }
                    }
                    value = wanted[i] < 0 ? -chosen : chosen;
                } else {
                    value = 0;
                }
            }
            int nonzero = bit_of(e, value != 0, zero.p);
            learn(&zero, m, nonzero, 250);
            if (nonzero) {
                sign.slot[0] =
                    k->sign_kernel + ternary(left) + 3 * ternary(left2) + 9 * ternary(left3);
                sign.slot[1] = sign_row;
                sign.slot[2] = sign_column + c;
                sign.slot[3] =
                    k->sign_pattern + ternary(left) + 3 * ternary(above) + 9 * ternary(far);
                sign.slot[4] = k->sign_last + 3 * (clipped(agree, -4, 4) + 4) + last[c];
                sign.weight = k->sign_weight;
                int minus = decide(e, &sign, m, value < 0, 250);
                int size = value < 0 ? -value : value;
                if (decide(e, &more, m, size > 1, 250))
                    size = 2 + number(e, m, size - 2, k->count, k->count_weight);
                else
                    size = 1;
                value = minus ? -size : size;
                if (last[c])
                    agree += (last[c] == (u32)ternary(value)) ? 1 : -1;
                last[c] = (u32)ternary(value);
            } else {
                value = 0;
            }
            q[i] = value;
            if (e->failed)
                return;
        }
    }
}

/* A whole update. `steps` are exponents of the tensors' steps. Returns the length of the payload
 * that is written to `bytes`, which has `room`; or minus why it failed. Where it is read, from the
 * `n_given` bytes of `given`, it is written once more, and both are to be the same. Work: `kinds`
 * of KINDS struct kind, `columns` 3 of the widest tensor's, `rows` 2. */
i64 update_code(int writing, const struct models *m, const struct tensor *tensors, int n_tensors,
                int *steps, int *symbols, const int *wanted, const i64 *prices,
                const u8 *given, i64 n_given, u8 *bytes, i64 room, struct kind *kinds, u32 *rows,
                u32 *columns)
{
    struct end e = {writing, 0, {0, ~(u64)0, bytes, 0}, room, {0, ~(u64)0, given, n_given, 8}};
    int before[KINDS];
    i64 at = 0;
    for (int i = 0; !writing && i < 8; i++)
        e.r.ahead = e.r.ahead << 8 | (i < n_given ? given[i] : 0);
    for (int i = 0; i < KINDS; i++) {
        begin_kind(kinds + i);
        before[i] = 256;
    }
    for (int t = 0; t < n_tensors; t++) {
        struct kind *k = kinds + tensors[t].kind;
        i64 n = tensors[t].rows * tensors[t].columns;
        struct choice changed = {1, 0, {0}, {k->changed}, k->changed_weight};
        int away = steps[t] - before[tensors[t].kind];
        if (decide(&e, &changed, m, steps[t] >= 0, 30)) {
            away = number(&e, m, away < 0 ? -2 * away - 1 : 2 * away, k->step, k->step_weight);
            away = away & 1 ? -(away + 1) / 2 : away / 2;
            steps[t] = before[tensors[t].kind] + away;
            if (steps[t] < 0 || steps[t] > 511)
                fail(&e, NO_STEP);
            else
                before[tensors[t].kind] = steps[t];
            if (!e.failed)
                code_tensor(&e, m, tensors + t, k, symbols + at, wanted ? wanted + at : 0,
                            prices[t], rows, columns);
        } else {
            steps[t] = -1;
            for (i64 i = 0; i < n; i++)
                symbols[at + i] = 0;
        }
        if (e.failed)
            return -e.failed;
        at += n;
    }
    i64 n = finish(&e.w);
    if (!writing && n != n_given)
        return -OTHER_FORM;
    for (i64 i = 0; !writing && i < n; i++)
        if (bytes[i] != given[i])
            return -OTHER_FORM;
    return n;
}
