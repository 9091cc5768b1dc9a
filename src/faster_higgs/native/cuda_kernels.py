"""The kernels for graphics cards, in Triton; cuda.py checks what they are given and starts them.

A program takes one tile of a matrix, all its inputs, and up to four rows of activations. A row's
numbers are added in the same order whatever the number of rows, and nothing is added across
programs. Imported only where Triton is there. Knows nothing of layers or requests.
"""
# Triton tells constants by their annotations and has no types; its functions take many numbers.
# mypy: disable-error-code="assignment, no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: PLR0913

from __future__ import annotations

import triton
import triton.language as tl

LANES = tl.constexpr(16)  # output rows in a tile
PAGE = tl.constexpr(16)  # positions of a page of keys or values
WORDS = tl.constexpr(128)  # 32-bit words of each lane that are read at once
INPUTS = tl.constexpr(512)  # numbers of each row that are read at once, where nothing is packed
MARKS = tl.constexpr(256)  # sums of squares that are added up at once
FP8_STEP = tl.constexpr(2.0**120)  # between the exponents of fp32 and of float8_e4m3fn
PARTS = tl.constexpr(8)  # of a long attention that are put together at once


@triton.jit(do_not_specialize=["rows"])
def linear(
    x, squares, eps, codes, scales, out, gain, ready, marks, rows, inputs, outputs, count, power,
    BITS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
    WHOLE: tl.constexpr, NORMED: tl.constexpr, ADDED: tl.constexpr,
):  # fmt: skip
    """out = x W^T, or out += x W^T if ADDED, and then what the next norm needs: see Ready."""
    first, tile = tl.program_id(0) * ROWS, tl.program_id(1)
    made = _product(
        x, squares, eps, codes, scales, tile, first, rows, inputs, outputs, count, power,
        BITS, GROUP, ROWS, STAGES, WHOLE, NORMED,
    )  # fmt: skip
    row, column = _places(first, tile, ROWS)
    there = (row < rows) & (column < outputs)
    spot = row * outputs + column
    if ADDED:
        made = tl.where(there, made + tl.load(out + spot, mask=there, other=0), 0)
        tl.store(ready + spot, made * tl.load(gain + column, mask=column < outputs), mask=there)
        line = first + tl.arange(0, ROWS)
        tiles = tl.cdiv(outputs, LANES)
        tl.store(marks + line * tiles + tile, tl.sum(made * made, 1), mask=line < rows)
    tl.store(out + spot, made, mask=there)


@triton.jit(do_not_specialize=["rows"])
def beside(
    x, squares, eps, codes_0, scales_0, codes_1, scales_1, codes_2, scales_2, out, rows, inputs,
    outputs_0, outputs_1, outputs_2, count, power,
    BITS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
    WHOLE: tl.constexpr,
):  # fmt: skip
    """The products of normed x with three matrices, side by side in each row of `out`."""
    first, tile = tl.program_id(0) * ROWS, tl.program_id(1)
    tiles_0, tiles_1 = tl.cdiv(outputs_0, LANES), tl.cdiv(outputs_1, LANES)
    codes, scales, outputs, before = codes_0, scales_0, outputs_0, 0
    if tile >= tiles_0 + tiles_1:
        codes, scales, outputs, before = codes_2, scales_2, outputs_2, outputs_0 + outputs_1
        tile -= tiles_0 + tiles_1
    elif tile >= tiles_0:
        codes, scales, outputs, before = codes_1, scales_1, outputs_1, outputs_0
        tile -= tiles_0
    made = _product(
        x, squares, eps, codes, scales, tile, first, rows, inputs, outputs, count, power,
        BITS, GROUP, ROWS, STAGES, WHOLE, True,
    )  # fmt: skip
    row, column = _places(first, tile, ROWS)
    there = (row < rows) & (column < outputs)
    width = outputs_0 + outputs_1 + outputs_2
    tl.store(out + row * width + before + column, made, mask=there)


@triton.jit(do_not_specialize=["rows"])
def gated(
    x, squares, eps, codes_0, scales_0, codes_1, scales_1, out, rows, inputs, outputs, count, power,
    BITS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
    WHOLE: tl.constexpr,
):  # fmt: skip
    """silu of the first product of normed x, times the second."""
    first, tile = tl.program_id(0) * ROWS, tl.program_id(1)
    gate = _product(
        x, squares, eps, codes_0, scales_0, tile, first, rows, inputs, outputs, count, power,
        BITS, GROUP, ROWS, STAGES, WHOLE, True,
    )  # fmt: skip
    up = _product(
        x, squares, eps, codes_1, scales_1, tile, first, rows, inputs, outputs, count, power,
        BITS, GROUP, ROWS, STAGES, WHOLE, True,
    )  # fmt: skip
    row, column = _places(first, tile, ROWS)
    there = (row < rows) & (column < outputs)
    tl.store(out + row * outputs + column, gate / (1 + tl.exp(-gate)) * up, mask=there)


@triton.jit
def unpack(
    codes, scales, out, inputs, outputs, power, BITS: tl.constexpr, GROUP: tl.constexpr
):  # fmt: skip
    """The numbers that codes stand for, [inputs, outputs]; outputs are whole tiles."""
    PER: tl.constexpr = 32 // BITS
    at, tile = tl.program_id(0) * WORDS + tl.arange(0, WORDS), tl.program_id(1)
    lanes, words = tl.arange(0, LANES), inputs // PER
    inside = (at < words)[:, None]
    place = tile.to(tl.int64) * words * LANES + at[:, None] * LANES + lanes[None, :]
    word = tl.load(codes + place, mask=inside, other=0)
    if BITS == 4:
        scale = _scales(scales, tile, at, inside, inputs, PER, GROUP)
    else:
        scale = tl.load(scales + tile * LANES + lanes)[None, :]
    for i in tl.static_range(PER):
        row, column = (at[:, None] * PER + i).to(tl.int64), tile * LANES + lanes[None, :]
        number = _number(word, power, i, BITS, GROUP)
        tl.store(out + row * outputs + column, number * scale, mask=inside)


@triton.jit(do_not_specialize=["entries"])
def place(
    made, cosines, sines, table, lengths, q, keys, values, heads, groups, entries,
    DIM: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Rows of queries, keys and values: the queries turned, the others where they belong."""
    row, head = tl.program_id(0), tl.program_id(1)
    at = tl.arange(0, HALF)
    there = at < DIM // 2
    start = made + (row * (heads + 2 * groups) + head) * DIM + at
    low, high = tl.load(start, mask=there), tl.load(start + DIM // 2, mask=there)
    if head < heads + groups:
        cos = tl.load(cosines + row * (DIM // 2) + at, mask=there)
        sin = tl.load(sines + row * (DIM // 2) + at, mask=there)
        low, high = low * cos - high * sin, high * cos + low * sin
    if head < heads:
        turned = q + (row * heads + head) * DIM + at
        tl.store(turned, low, mask=there)
        tl.store(turned + DIM // 2, high, mask=there)
    else:
        position = tl.load(lengths + row) - 1
        page = tl.load(table + row * entries + tl.minimum(position // PAGE, entries - 1))
        group = (head - heads) % groups
        line = ((page.to(tl.int64) * groups + group) * PAGE + position % PAGE) * DIM
        pool = keys
        if head >= heads + groups:
            pool = values
        tl.store(pool + line + at, low, mask=there)
        tl.store(pool + line + DIM // 2 + at, high, mask=there)


@triton.jit(do_not_specialize=["entries", "splits"])
def attend(
    q, keys, values, table, lengths, out, parts, marks, groups, entries, splits, scale,
    DIM: tl.constexpr, WIDTH: tl.constexpr, SHARE: tl.constexpr, HEADS: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr, ALONE: tl.constexpr,
    KIND: tl.constexpr,
):  # fmt: skip
    """The heads of one group over CHUNK positions of one request; a part of it unless ALONE.

    A part is numbers over the sum of their weights, beside it (`marks`) that sum and the largest
    score, in bits. `scale` turns products into bits. Numbers are multiplied as KIND.
    """
    request, group, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.minimum(tl.load(lengths + request), entries * PAGE)
    begin = split * CHUNK
    if begin < length:
        end = tl.minimum(begin + CHUNK, length)
        heads, dims = tl.arange(0, HEADS), tl.arange(0, WIDTH)
        row = (request * groups + group) * SHARE + heads
        there = (heads < SHARE)[:, None] & (dims < DIM)[None, :]
        wide = tl.load(q + row[:, None] * DIM + dims[None, :], mask=there, other=0)
        query = wide.to(keys.dtype.element_ty).to(KIND)
        top = tl.full([HEADS], float("-inf"), tl.float32)
        total = tl.zeros([HEADS], tl.float32)
        sums = tl.zeros([HEADS, WIDTH], tl.float32)
        for start in tl.range(begin, end, BLOCK, num_stages=STAGES):
            at = start + tl.arange(0, BLOCK)
            seen = at < end
            page = tl.load(table + request * entries + at // PAGE, mask=seen, other=0)
            line = ((page.to(tl.int64) * groups + group) * PAGE + at % PAGE) * DIM
            spot, known = line[:, None] + dims[None, :], seen[:, None] & (dims < DIM)[None, :]
            key = tl.load(keys + spot, mask=known, other=0).to(KIND)
            value = tl.load(values + spot, mask=known, other=0).to(KIND)
            score = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
            score = tl.where(seen[None, :], score, float("-inf"))
            higher = tl.maximum(top, tl.max(score, 1))
            less = tl.exp2(top - higher)
            weight = tl.exp2(score - higher[:, None]).to(values.dtype.element_ty).to(KIND)
            total = total * less + tl.sum(weight.to(tl.float32), 1)
            sums = sums * less[:, None] + tl.dot(weight, value, input_precision="ieee")
            top = higher
        if ALONE:
            tl.store(out + row[:, None] * DIM + dims[None, :], sums / total[:, None], mask=there)
        else:
            row = row * splits + split
            tl.store(parts + row[:, None] * DIM + dims[None, :], sums, mask=there)
            tl.store(marks + row * 2, top, mask=heads < SHARE)
            tl.store(marks + row * 2 + 1, total, mask=heads < SHARE)


@triton.jit(do_not_specialize=["entries", "splits"])
def together(
    parts, marks, lengths, out, heads, entries, splits,
    DIM: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The parts of one head's attention as a whole, in the order of their positions."""
    request, head = tl.program_id(0), tl.program_id(1)
    count = tl.cdiv(tl.minimum(tl.load(lengths + request), entries * PAGE), CHUNK)
    dims = tl.arange(0, WIDTH)
    row = request * heads + head
    top = tl.full([], float("-inf"), tl.float32)
    total = tl.zeros([], tl.float32)
    sums = tl.zeros([WIDTH], tl.float32)
    for start in range(0, count, PARTS):
        part = start + tl.arange(0, PARTS)
        mark, there = marks + (row * splits + part) * 2, part < count
        height = tl.load(mark, mask=there, other=float("-inf"))
        share = tl.load(mark + 1, mask=there, other=0)
        spot = (row * splits + part)[:, None] * DIM + dims[None, :]
        held = tl.load(parts + spot, mask=there[:, None] & (dims < DIM)[None, :], other=0)
        higher = tl.maximum(top, tl.max(height, 0))
        less, weight = tl.exp2(top - higher), tl.exp2(height - higher)
        total = total * less + tl.sum(share * weight, 0)
        sums = sums * less + tl.sum(held * weight[:, None], 0)
        top = higher
    tl.store(out + row * DIM + dims, sums / total, mask=dims < DIM)


@triton.jit
def _places(first, tile, ROWS: tl.constexpr):
    """Where the products of a tile lie: rows and columns."""
    rows, lanes = tl.arange(0, ROWS), tl.arange(0, LANES)
    return first + rows[:, None], tile * LANES + lanes[None, :]


@triton.jit
def _product(
    x, squares, eps, codes, scales, tile, first, rows, inputs, outputs, count, power,
    BITS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
    WHOLE: tl.constexpr, NORMED: tl.constexpr,
):  # fmt: skip
    """Rows of x from `first` on times one tile, fp32 [ROWS, LANES]."""
    if BITS > 8:
        sums = _plain(x, codes, tile, first, rows, inputs, outputs, ROWS, STAGES, WHOLE)
    else:
        sums = _packed(
            x, codes, scales, tile, first, rows, inputs, power, BITS, GROUP, ROWS, STAGES, WHOLE
        )
    out, places = tl.zeros([ROWS, LANES], tl.float32), tl.arange(0, ROWS)[:, None]
    for r in tl.static_range(ROWS):
        total = tl.sum(sums[r], 1 if BITS > 8 else 0)
        if NORMED:
            square = tl.zeros([MARKS], tl.float32)
            for start in range(0, count, MARKS):
                at = start + tl.arange(0, MARKS)
                line = squares + tl.minimum(first + r, rows - 1) * count
                square += tl.load(line + at, mask=at < count, other=0)
            total *= tl.rsqrt(tl.sum(square, 0) / inputs + eps)
        out = tl.where(places == r, total[None, :], out)
    if BITS == 8:
        out *= tl.load(scales + tile * LANES + tl.arange(0, LANES))[None, :]
    return out


@triton.jit
def _packed(
    x, codes, scales, tile, first, rows, inputs, power,
    BITS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
    WHOLE: tl.constexpr,
):  # fmt: skip
    """For each row what is still to be added up, [WORDS, LANES]."""
    PER: tl.constexpr = 32 // BITS
    lanes, words = tl.arange(0, LANES), inputs // PER
    codes += tile.to(tl.int64) * words * LANES
    sums = ()
    for _ in tl.static_range(ROWS):
        sums += (tl.zeros([WORDS, LANES], tl.float32),)
    for start in tl.range(0, words, WORDS, num_stages=STAGES):
        at = start + tl.arange(0, WORDS)
        there, inside = at < words, (at < words)[:, None]
        word = _stream(codes + at[:, None] * LANES + lanes[None, :], inside, WHOLE)
        grouped = sums
        if BITS == 4:
            grouped = ()
            for _ in tl.static_range(ROWS):
                grouped += (tl.zeros([WORDS, LANES], tl.float32),)
        for i in tl.static_range(PER):
            weight = _number(word, power, i, BITS, GROUP)
            more = ()
            for r in tl.static_range(ROWS):
                row = tl.minimum(first + r, rows - 1)
                number = _read(x + row * inputs + at * PER + i, there, WHOLE)
                more += (grouped[r] + weight * number[:, None],)
            grouped = more
        if BITS == 4:
            scale = _scales(scales, tile, at, inside, inputs, PER, GROUP)
            more = ()
            for r in tl.static_range(ROWS):
                more += (sums[r] + grouped[r] * scale,)
            grouped = more
        sums = grouped
    return sums


@triton.jit
def _plain(
    x, weights, tile, first, rows, inputs, outputs,
    ROWS: tl.constexpr, STAGES: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The same of a matrix of numbers, [LANES, INPUTS]."""
    lane = tl.minimum(tile * LANES + tl.arange(0, LANES), outputs - 1).to(tl.int64)
    sums = ()
    for _ in tl.static_range(ROWS):
        sums += (tl.zeros([LANES, INPUTS], tl.float32),)
    for start in tl.range(0, inputs, INPUTS, num_stages=STAGES):
        at = start + tl.arange(0, INPUTS)
        there = at < inputs
        weight = _stream(weights + lane[:, None] * inputs + at[None, :], there[None, :], WHOLE)
        weight = weight.to(tl.float32)
        more = ()
        for r in tl.static_range(ROWS):
            number = _read(x + tl.minimum(first + r, rows - 1) * inputs + at, there, WHOLE)
            more += (sums[r] + weight * number[None, :],)
        sums = more
    return sums


@triton.jit
def _number(word, power, i: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr):
    """Code i of each word as a float."""
    FP8: tl.constexpr = BITS == 8 and GROUP == 0
    return _small_float(word, i) if FP8 else _integer(word, power, i, BITS)


@triton.jit
def _small_float(word, i: tl.constexpr):
    """Code i, float8_e4m3fn: sign, exponent and fraction move to where fp32 has them."""
    top = word << (24 - 8 * i)
    bits = (top & -0x80000000) | ((top >> 4) & 0x07F00000)
    return bits.to(tl.float32, bitcast=True) * FP8_STEP


@triton.jit
def _integer(word, power, i: tl.constexpr, BITS: tl.constexpr):
    """Code i, an integer.

    Cards convert slowly. So the code's bits become the lowest of a power of two, which is then
    taken away. `power` is 2**23 in bits, and an argument because what the compiler does not know
    stays in a register, which saves an instruction of four.
    """
    PLACE: tl.constexpr = 8 * i if BITS == 8 else 8 * (i % 4) + 4 * (i // 4)
    SHIFT: tl.constexpr = 0 if PLACE <= 16 - BITS // 8 * 8 else 16 if BITS == 8 else 12
    AT: tl.constexpr = PLACE - SHIFT
    HALF: tl.constexpr = 1 << (BITS - 1)
    MASK: tl.constexpr = (2 * HALF - 1) << AT
    SIGN: tl.constexpr = HALF << AT if BITS == 8 else 0  # codes of 4 bits have an offset instead
    LESS: tl.constexpr = (1 << (23 - AT)) + HALF
    bits = ((word >> SHIFT) & MASK) ^ (power - (AT << 23) + SIGN)
    return bits.to(tl.float32, bitcast=True) - LESS


@triton.jit
def _scales(
    scales, tile, at, inside, inputs, PER: tl.constexpr, GROUP: tl.constexpr
):  # fmt: skip
    """The scales of words `at` of a tile with 4-bit codes."""
    line = tile * (inputs // GROUP) + at * PER // GROUP
    lanes = tl.arange(0, LANES)
    spot = scales + line[:, None] * LANES + lanes[None, :]
    return tl.load(spot, mask=inside, other=0).to(tl.float32)


@triton.jit
def _stream(place, inside, WHOLE: tl.constexpr):
    """Weights: each is read once in a step."""
    if WHOLE:
        return tl.load(place, eviction_policy="evict_first")
    return tl.load(place, mask=inside, other=0, eviction_policy="evict_first")


@triton.jit
def _read(place, there, WHOLE: tl.constexpr):
    if WHOLE:
        return tl.load(place).to(tl.float32)
    return tl.load(place, mask=there, other=0).to(tl.float32)
