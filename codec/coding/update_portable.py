"""symbols of a change of weights <-> payload in Python integers: the bytes of updates.c, where no
compiler is, two hundred times slower.

Names are those of updates.c, which says what each context is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.coding.container import BitstreamError
from codec.coding.portable import PortableDecoder, PortableEncoder
from codec.coding.tables import BYTE_TABLES, Tables
from codec.coding.update_tables import ELSEWHERE, FAR, NO_STEP, OTHER_FORM, TOO_LARGE, update_tables

RATE, CEILING, KINDS, HALF, MOST_OFFSET = 14, 8388607, 4, 1 << 15, 511
_NONE = Tables(BYTE_TABLES.astype("u4"))


class _Choice:
    """A decision: its contexts, each an array of slots and a place in it, and its weights."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        self.slots: list[tuple[list[int], int]] = []
        self.logits: list[int] = []
        self.p = 0


class _Kind:
    """`struct kind`."""

    def __init__(self) -> None:
        rare, even, seldom, some = 1 << 27, 1 << 31, 1 << 29, 1 << 30
        self.zero_pattern, self.zero_window = [rare] * 81, [rare] * 8
        self.zero_kernel, self.zero_above, self.zero_any = [rare] * 32, [rare] * 32, [rare]
        self.sign_kernel, self.sign_pattern, self.sign_last = [even] * 27, [even] * 27, [even] * 27
        self.more_near, self.more_any = [seldom] * 8, [seldom]
        self.count, self.changed, self.step = [some] * 64, [even], [even] * 64
        self.zero_weight, self.sign_weight = [65536 * 2 // 7] * 7, [65536 // 3] * 5
        self.more_weight = [65536 // 2] * 2
        self.count_weight = [[65536] for _ in range(64)]
        self.changed_weight, self.step_weight = [65536], [[65536] for _ in range(64)]


class _End:
    """One end of the range coder, and the decisions that it codes."""

    def __init__(self, payload: bytes | None) -> None:
        self.writer = PortableEncoder(_NONE) if payload is None else None
        self.reader = None if payload is None else PortableDecoder(payload, _NONE)
        tables = update_tables()
        self.stretch, self.squash = tables.stretch.tolist(), tables.squash.tolist()
        self.cost, self.rates = tables.cost.tolist(), tables.rates.tolist()

    def weigh(self, d: _Choice) -> None:
        d.logits = [self.stretch[slots[at] >> 18] for slots, at in d.slots]
        total = sum(logit * weight for logit, weight in zip(d.logits, d.weights, strict=True)) >> 16
        d.p = self.squash[min(max(total, -FAR), FAR) + FAR]

    def learn(self, d: _Choice, bit: int, limit: int) -> None:
        error = (bit << 16) - d.p
        for i, (slots, at) in enumerate(d.slots):
            p, count = slots[at] >> 10, slots[at] & 1023
            p += ((bit * 4194303 - p) * self.rates[count]) >> 16
            slots[at] = p << 10 | (count + 1 if count < limit else count)
            weight = d.weights[i] + ((d.logits[i] * error * RATE + (1 << 19)) >> 20)
            d.weights[i] = min(max(weight, -(1 << 20)), 1 << 20)

    def bit(self, bit: int, p: int) -> int:
        ones = p << 8
        if self.writer is not None:
            part = (0, ones) if bit else (ones, (1 << 24) - ones)
            self.writer.write_parts([part[0]], [part[1]], [1 << 24])
            return bit
        assert self.reader is not None
        try:
            return 1 - self.reader.read_parts([[0, ones, 1 << 24]])[0]
        except BitstreamError as error:
            raise BitstreamError(ELSEWHERE) from error

    def decide(self, d: _Choice, bit: int, limit: int) -> int:
        self.weigh(d)
        bit = self.bit(bit, d.p)
        self.learn(d, bit, limit)
        return bit

    def refused(self, why: str) -> ValueError:
        """The caller's mistake where it writes, that of the bytes where it reads."""
        return BitstreamError(why) if self.writer is None else ValueError(why)

    def number(self, value: int, slots: list[int], weights: list[list[int]]) -> int:
        """A number from 0 on: unary up to 14, then Exp-Golomb."""
        for n in range(14):
            d = _Choice(weights[n])
            d.slots = [(slots, n)]
            if not self.decide(d, int(value > n), 255):
                return n
        rest, found, k = value - 14, 0, 0
        while k < 23:
            d = _Choice(weights[16 + k])
            d.slots = [(slots, 16 + k)]
            if not self.decide(d, int(rest >= 1 << k), 255):
                break
            rest, found, k = rest - (1 << k), found + (1 << k), k + 1
        for j in range(k - 1, -1, -1):
            found += self.bit(rest >> j & 1, HALF) << j
        if found + 14 > CEILING:
            raise self.refused(TOO_LARGE)
        return found + 14


def run(
    writing: bool,
    tensors: NDArray[np.int64],
    steps: NDArray[np.int32],
    symbols: NDArray[np.int32],
    wanted: NDArray[np.int32] | None,
    prices: NDArray[np.int64],
    payload: bytes = b"",
) -> bytes:
    """As `codec.coding.update_native.run`.

    Raises:
        ValueError, BitstreamError: as there.
    """
    end, at = _End(None if writing else payload), 0
    kinds, before = [_Kind() for _ in range(KINDS)], [256] * KINDS
    for t, (rows, columns, kernel, kind) in enumerate(tensors.tolist()):
        k, part = kinds[kind], slice(at, at + rows * columns)
        changed = _Choice(k.changed_weight)
        changed.slots = [(k.changed, 0)]
        away = int(steps[t]) - before[kind]
        if end.decide(changed, int(steps[t] >= 0), 30):
            away = end.number(-2 * away - 1 if away < 0 else 2 * away, k.step, k.step_weight)
            away = -(away + 1) // 2 if away & 1 else away // 2
            before[kind] += away
            steps[t] = before[kind]
            if not 0 <= before[kind] <= MOST_OFFSET:
                raise end.refused(NO_STEP)
            wants = None if wanted is None else wanted[part].tolist()
            given = symbols[part].tolist()
            symbols[part] = _coded(end, k, rows, columns, kernel, given, wants, int(prices[t]))
        else:
            steps[t], symbols[part] = -1, 0
        at += rows * columns
    if not writing and run(True, tensors, steps, symbols, None, prices) != payload:
        raise BitstreamError(OTHER_FORM)
    return payload if end.writer is None else end.writer.finish()


def _coded(
    end: _End,
    k: _Kind,
    rows: int,
    width: int,
    kernel: int,
    q: list[int],
    wanted: list[int] | None,
    price: int,
) -> list[int]:
    """The symbols of one tensor, `code_tensor`."""
    zero_column, sign_column, last = [0] * width, [1 << 31] * width, [0] * width
    zero, sign, more = _Choice(k.zero_weight), _Choice(k.sign_weight), _Choice(k.more_weight)
    back = kernel if kernel > 1 else 3
    for r in range(rows):
        agree = 0
        zero_row, sign_row = [(k.zero_any[0] & ~1023) | 6], [1 << 31]
        up = q[(r - 1) * width : r * width] if r else []
        window = sum(v != 0 for v in up[:4])
        for c in range(width):
            i = r * width + c
            if up:
                window += (c + 4 < width and up[c + 4] != 0) - (c >= 5 and up[c - 5] != 0)
            else:
                zero_column[c] = (k.zero_any[0] & ~1023) | 2
            left, left2, left3 = (q[i - n] if c >= n else 0 for n in (1, 2, 3))
            above, far = up[c] if up else 0, q[i - back] if c >= back else 0
            above_left = up[c - 1] if up and c else 0
            above_right = up[c + 1] if up and c + 1 < width else 0
            above2 = q[i - 2 * width] if r > 1 else 0
            n1, n2, na, nf = abs(left), abs(left2), abs(above), abs(far)
            around = min(n1 + na + nf + n2, 7)
            pattern = min(n1, 2) + 3 * min(n2, 2) + 9 * min(na, 2) + 27 * min(nf, 2)
            over = (above != 0) + 2 * (above_left != 0) + 4 * (above_right != 0)
            over += 8 * (above2 != 0) + 16 * (left != 0)
            zero.slots = [
                (k.zero_pattern, pattern),
                (zero_row, 0),
                (zero_column, c),
                (k.zero_window, min(window, 7)),
                (k.zero_kernel, c % kernel if kernel < 32 else 0),
                (k.zero_above, over),
                (k.zero_any, 0),
            ]
            more.slots = [(k.more_near, around), (k.more_any, 0)]
            end.weigh(zero)
            value = q[i]
            if wanted is not None:
                value = _chosen(end, zero, more, wanted[i], price)
            nonzero = end.bit(int(value != 0), zero.p)
            end.learn(zero, nonzero, 250)
            if nonzero:
                sign.slots = [
                    (k.sign_kernel, _ternary(left) + 3 * _ternary(left2) + 9 * _ternary(left3)),
                    (sign_row, 0),
                    (sign_column, c),
                    (k.sign_pattern, _ternary(left) + 3 * _ternary(above) + 9 * _ternary(far)),
                    (k.sign_last, 3 * (min(max(agree, -4), 4) + 4) + last[c]),
                ]
                minus = end.decide(sign, int(value < 0), 250)
                size = abs(value)
                if end.decide(more, int(size > 1), 250):
                    size = 2 + end.number(size - 2, k.count, k.count_weight)
                else:
                    size = 1
                value = -size if minus else size
                if last[c]:
                    agree += 1 if last[c] == _ternary(value) else -1
                last[c] = _ternary(value)
            q[i] = value if nonzero else 0
    return q


def _chosen(end: _End, zero: _Choice, more: _Choice, wanted: int, price: int) -> int:
    """The symbol of the least squared error and bits, among the two nearest and zero."""
    size = abs(wanted)
    nearest, chosen = (size + 512) >> 10, 0
    if not nearest:
        return 0
    best = size * size + price * end.cost[(65536 - zero.p) >> 4]
    end.weigh(more)
    for v in range(nearest, max(nearest - 2, 0), -1):
        bits = end.cost[zero.p >> 4] + 256
        bits += end.cost[(65536 - more.p if v == 1 else more.p) >> 4]
        bits += 256 * min(v - 1, 14) if v > 1 else 0
        everything = (size - 1024 * v) ** 2 + price * bits
        if everything < best:
            best, chosen = everything, v
    return -chosen if wanted < 0 else chosen


def _ternary(value: int) -> int:
    return 2 if value < 0 else int(value > 0)
