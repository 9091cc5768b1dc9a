/* Every kernel, in terms of dot4 and vectors of 16 lanes; kernels.c includes this per variant.
 *
 * Everything here is compiled for the variant's instruction set, so its names carry the variant.
 */
#define Sums V(Sums)
#define Bytes V(Bytes)
#define Sound V(Sound)
#define same V(same)
#define floats V(floats)
#define nibbles V(nibbles)
#define bytes V(bytes)
#define dot4 V(dot4)
#define dot4_wide V(dot4_wide)
#define splat V(splat)
#define pick V(pick)
#define load_f32 V(load_f32)
#define load_lanes V(load_lanes)
#define load_u32 V(load_u32)
#define load_u16 V(load_u16)
#define to_bf16 V(to_bf16)
#define from_f16 V(from_f16)
#define to_f16 V(to_f16)
#define sum_quarters V(sum_quarters)
#define sum_lanes V(sum_lanes)
#define power_of_two V(power_of_two)
#define sine_squared V(sine_squared)
#define snaked V(snaked)
#define convolve V(convolve)
#define widen V(widen)
#define narrow_back V(narrow_back)
#define put_lanes V(put_lanes)
#define put_sum V(put_sum)
#define put_tile V(put_tile)
#define round_group V(round_group)
#define word_at V(word_at)
#define int4_rows V(int4_rows)
#define int8_rows V(int8_rows)
#define by_rows V(by_rows)
#define nearest V(nearest)
#define best_scale V(best_scale)
#define plain_block V(plain_block)
#define plain_rows V(plain_rows)
#define plain_outputs V(plain_outputs)
#define Heads V(Heads)
#define ask_for V(ask_for)
#define place V(place)
#define load_pair V(load_pair)
#define score_page V(score_page)
#define share_out V(share_out)
#define see_page V(see_page)
#define attend_heads V(attend_heads)
#define load_row V(load_row)
#define normed V(normed)
#define silu V(silu)
#define rotate_head V(rotate_head)
#define store_head V(store_head)
#define product V(product)
#define norm_row V(norm_row)
#define gate_piece V(gate_piece)
#define turn_row V(turn_row)
#define stage_embed V(stage_embed)
#define stage_before V(stage_before)
#define stage_before_qkv V(stage_before_qkv)
#define stage_qkv V(stage_qkv)
#define stage_rotate V(stage_rotate)
#define stage_see V(stage_see)
#define stage_before_o V(stage_before_o)
#define stage_o V(stage_o)
#define stage_before_gate V(stage_before_gate)
#define stage_gate_up V(stage_gate_up)
#define stage_before_down V(stage_before_down)
#define stage_down V(stage_down)
#define stage_before_head V(stage_before_head)
#define stage_head V(stage_head)

/* ---- vectors ---- */

INLINE f32x16 splat(float v) { return (f32x16)SIXTEEN(v); }

INLINE f32x16 pick(i32x16 mask, f32x16 yes, f32x16 no) {
    return (f32x16)(((i32x16)yes & mask) | ((i32x16)no & ~mask));
}

INLINE f32x16 load_f32(const float *p) {
    f32x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE u32x16 load_u32(const void *p) {
    u32x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE u16x16 load_u16(const void *p) {
    u16x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE f32x16 load_lanes(const void *p, int bf16, size_t i) {
    if (!bf16) return load_f32((const float *)p + i);
    return (f32x16)(__builtin_convertvector(load_u16((const uint16_t *)p + i), u32x16) << 16);
}

INLINE u16x16 to_bf16(f32x16 v) {
    u32x16 bits = (u32x16)v, nan = (u32x16)(v != v) & 0x400000;
    return __builtin_convertvector((((bits + 0x7fff + (bits >> 16 & 1)) & ~(nan << 1)) | nan) >> 16, u16x16);
}

/* Scales are finite, so neither infinity nor NaN is looked for. */
INLINE f32x16 from_f16(u16x16 v) {
    u32x16 wide = __builtin_convertvector(v, u32x16);
    f32x16 size = (f32x16)((wide & 0x7fff) << 13) * 0x1p112f;
    return (f32x16)((u32x16)size | (wide & 0x8000) << 16);
}

/* Rounded to fp16; what is smaller than 2^-20 becomes that, as scales are divided by. */
INLINE u16x16 to_f16(f32x16 v) {
    u32x16 sign = (u32x16)v & 0x80000000;
    f32x16 size = (f32x16)((u32x16)v ^ sign);
    size = pick(size < splat(0x1p-20f), splat(0x1p-20f), size);
    u32x16 bits = (u32x16)size, normal = (bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13;
    u32x16 small = (u32x16)(size + 0.5f) - 0x3f000000;
    size = pick(size < splat(0x1p-14f), (f32x16)small, (f32x16)normal);
    return __builtin_convertvector((u32x16)size | sign >> 16, u16x16);
}

INLINE void put_lanes(void *p, int bf16, size_t i, f32x16 v) {
    if (bf16) {
        u16x16 narrow = to_bf16(v);
        memcpy((uint16_t *)p + i, &narrow, sizeof narrow);
    } else {
        memcpy((float *)p + i, &v, sizeof v);
    }
}

INLINE f32x4 sum_quarters(f32x16 v) {
    f32x8 half[2];
    f32x4 quarter[2];
    memcpy(half, &v, sizeof half);
    half[0] += half[1];
    memcpy(quarter, half, sizeof quarter);
    return quarter[0] + quarter[1];
}

INLINE float sum_lanes(f32x16 v) {
    f32x4 sum = sum_quarters(v);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* 2^x for x at most 0; below 2^-126 it stays there. */
INLINE f32x16 power_of_two(f32x16 x) {
    x = pick(x < splat(-126), splat(-126), x);
    f32x16 shifted = x + 0x1.8p23f; /* the nearest integer, in the low bits */
    f32x16 f = (x - (shifted - 0x1.8p23f)) * 0.6931471805599453f;
    f32x16 sum = splat(1.0f / 5040);
    sum = sum * f + 1.0f / 720;
    sum = sum * f + 1.0f / 120;
    sum = sum * f + 1.0f / 24;
    sum = sum * f + 1.0f / 6;
    sum = sum * f + 0.5f;
    sum = sum * f + 1;
    sum = sum * f + 1;
    return (f32x16)((i32x16)sum + ((i32x16)shifted << 23));
}

/* ---- weights of 8 and 4 bits ---- */

/* One group of activations to 8 bits. */
INLINE void round_group(const float *x, int n, int8_t *codes, float *step, int32_t *sum) {
    uint32_t bits[MOST_GROUP], largest = 0; /* as bits, among which NaN is the largest */
    memcpy(bits, x, n * sizeof *x);
    for (int i = 0; i < n; i++) {
        uint32_t size = bits[i] & 0x7fffffff;
        largest = size > largest ? size : largest;
    }
    float most, scaled[MOST_GROUP];
    memcpy(&most, &largest, sizeof most);
    float per_step = largest > 0x01000000 ? 127 / most : 0; /* else it would be infinite */
    for (int i = 0; i < n; i++) scaled[i] = rintf(x[i] * per_step);
    int32_t total = 0;
    for (int i = 0; i < n; i++) {
        codes[i] = (int8_t)(int)scaled[i];
        total += (int)scaled[i];
    }
    *step = most / 127, *sum = total;
}

/* Lays out a row of activations as the weight wants it. */
static void V(ready)(const Linear *job, int row, const float *x) {
    const int inputs = job->weight.inputs, group = job->weight.group, half = inputs / 2;
    float *numbers = job->numbers + (size_t)row * inputs;
    if (job->weight.bits == 32) {
        memcpy(numbers, x, sizeof *x * inputs);
    } else if (job->weight.bits == 16) {
        for (int i = 0; i < half; i++) numbers[i] = x[2 * i], numbers[half + i] = x[2 * i + 1];
    } else {
        for (int g = 0; g < job->groups; g++) {
            int first = g * group, place = row * job->groups + g, left = inputs - first;
            round_group(x + first, left < group ? left : group, job->x + (size_t)row * inputs + first,
                        job->steps + place, job->sums + place);
        }
    }
}

INLINE int32_t word_at(const int8_t *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

INLINE void put_sum(const Linear *job, size_t at, float sum) {
    put(job->to, job->bf16, at, job->adds ? sum + ((float *)job->to)[at] : sum);
}

INLINE void put_tile(const Linear *job, int tile, int row, f32x16 sum) {
    int first = tile * LANES, left = job->weight.outputs - first;
    size_t at = (size_t)row * job->weight.outputs + first;
    if (left < LANES)
        for (int i = 0; i < left; i++) put_sum(job, at + i, sum[i]);
    else
        put_lanes(job->to, job->bf16, at, job->adds ? sum + load_f32((float *)job->to + at) : sum);
}

/* One tile times `rows` rows of activations; their number is known when compiled. */
INLINE void int4_rows(const Linear *job, int tile, int first, const int rows) {
    const int inputs = job->weight.inputs, groups = job->groups, words = job->weight.group / 8;
    const uint8_t *codes = (const uint8_t *)job->weight.codes + (size_t)tile * inputs * 8;
    const uint16_t *scales = (const uint16_t *)job->weight.scales + (size_t)tile * groups * LANES;
    const int8_t *x = job->x + (size_t)first * inputs;
    f32x16 sum[8];
    EACH(r, rows) sum[r] = splat(0);
    for (int g = 0; g < groups; g++) {
        Sums low[8], high[8];
        EACH(r, rows) {
            low[r] = same(-8 * job->sums[(first + r) * groups + g]); /* codes stand for -8..7 */
            high[r] = same(0);
        }
        for (int k = 0; k < words; k++, codes += 64, x += 8) {
            __builtin_prefetch(codes + AHEAD);
            Bytes lower = nibbles(codes, 0), upper = nibbles(codes, 1);
            EACH(r, rows) {
                low[r] = dot4(low[r], lower, word_at(x + (size_t)r * inputs));
                high[r] = dot4(high[r], upper, word_at(x + (size_t)r * inputs + 4));
            }
        }
        f32x16 scale = from_f16(load_u16(scales + g * LANES));
        EACH(r, rows)
        sum[r] += floats(low[r], high[r]) * (scale * job->steps[(first + r) * groups + g]);
    }
    EACH(r, rows) put_tile(job, tile, first + r, sum[r]);
}

INLINE void int8_rows(const Linear *job, int tile, int first, const int rows) {
    const int inputs = job->weight.inputs, group = job->weight.group, groups = job->groups;
    const uint8_t *codes = (const uint8_t *)job->weight.codes + (size_t)tile * inputs * LANES;
    const int8_t *x = job->x + (size_t)first * inputs;
    f32x16 sum[8];
    EACH(r, rows) sum[r] = splat(0);
    for (int g = 0; g < groups; g++) {
        int left = inputs - g * group, n = left < group ? left : group;
        Sums even[8], odd[8];
        EACH(r, rows) {
            even[r] = same(-BIAS * job->sums[(first + r) * groups + g]);
            odd[r] = same(0);
        }
        for (int k = 0; k < n; k += 8, codes += 128, x += 8) {
            __builtin_prefetch(codes + AHEAD);
            __builtin_prefetch(codes + AHEAD + 64);
            Bytes w = bytes(codes), next = bytes(codes + 64);
            EACH(r, rows) {
                even[r] = dot4_wide(even[r], w, word_at(x + (size_t)r * inputs));
                odd[r] = dot4_wide(odd[r], next, word_at(x + (size_t)r * inputs + 4));
            }
        }
        EACH(r, rows)
        sum[r] += floats(even[r], odd[r]) * job->steps[(first + r) * groups + g];
    }
    f32x16 scale = load_f32((const float *)job->weight.scales + tile * LANES);
    EACH(r, rows) put_tile(job, tile, first + r, sum[r] * scale);
}

/* All rows, AT_ONCE or fewer of them with each reading of the tile. */
INLINE void by_rows(const Linear *job, int tile, void (*body)(const Linear *, int, int, const int)) {
    int r = 0, rows = job->rows;
    for (; AT_ONCE >= 8 && rows - r >= 8; r += 8) body(job, tile, r, 8);
    for (; AT_ONCE >= 4 && rows - r >= 4; r += 4) body(job, tile, r, 4);
    for (; AT_ONCE >= 2 && rows - r >= 2; r += 2) body(job, tile, r, 2);
    for (; r < rows; r++) body(job, tile, r, 1);
}

static void V(unpack_int4)(const void *linear, int tile) {
    const Linear *job = linear;
    const uint8_t *codes = (const uint8_t *)job->weight.codes + (size_t)tile * job->weight.inputs * 8;
    const uint16_t *scales = (const uint16_t *)job->weight.scales + (size_t)tile * job->groups * LANES;
    for (int i = 0; i < job->weight.inputs; i += 8, codes += 64) {
        f32x16 scale = from_f16(load_u16(scales + i / job->weight.group * LANES));
        u32x16 words = load_u32(codes);
        EACH(j, 8) {
            i32x16 code = (i32x16)(words >> (8 * (j % 4) + 4 * (j / 4)) & 15) - 8;
            size_t at = (size_t)(i + j) * job->weight.outputs + tile * LANES;
            put_lanes(job->to, job->bf16, at, __builtin_convertvector(code, f32x16) * scale);
        }
    }
}

static void V(unpack_int8)(const void *linear, int tile) {
    const Linear *job = linear;
    const uint8_t *codes = (const uint8_t *)job->weight.codes + (size_t)tile * job->weight.inputs * LANES;
    f32x16 scale = load_f32((const float *)job->weight.scales + tile * LANES);
    for (int i = 0; i < job->weight.inputs; i += 4, codes += 64) {
        u32x16 words = load_u32(codes);
        EACH(j, 4) {
            i32x16 code = (i32x16)(words << (24 - 8 * j)) >> 24;
            size_t at = (size_t)(i + j) * job->weight.outputs + tile * LANES;
            put_lanes(job->to, job->bf16, at, __builtin_convertvector(code, f32x16) * scale);
        }
    }
}

/* The nearest of -8..7. */
INLINE f32x16 nearest(f32x16 v) {
    v = pick(v < splat(-8), splat(-8), pick(v > splat(7), splat(7), v));
    return v + 0x1.8p23f - 0x1.8p23f;
}

/* The scale of a group of 16 rows with the smallest squared error, as quant/rounding.py has it. */
INLINE u16x16 best_scale(const f32x16 *w, int group) {
    f32x16 high = w[0], low = w[0], best = splat(0), gain = splat(-1);
    for (int i = 1; i < group; i++)
        high = pick(w[i] > high, w[i], high), low = pick(w[i] < low, w[i], low);
    f32x16 extreme = pick(high > -low, high, low);
    for (int s = 0; s < 6; s++) {
        f32x16 step = extreme * (-0.125f * (1 - 0.05f * s)), fit = splat(0), size = splat(0);
        f32x16 per_step = 1 / pick(step == splat(0), splat(1), step);
        for (int i = 0; i < group; i++) {
            f32x16 code = nearest(w[i] * per_step);
            fit += w[i] * code, size += code * code;
        }
        size = pick(size < splat(1), splat(1), size);
        f32x16 gained = fit * fit / size;
        i32x16 better = gained > gain;
        gain = pick(better, gained, gain), best = pick(better, fit / size, best);
    }
    return to_f16(best);
}

static void V(pack_int4)(const void *linear, int tile) {
    const Linear *job = linear;
    const int inputs = job->weight.inputs, group = job->weight.group, groups = job->groups;
    uint8_t *codes = (uint8_t *)job->weight.codes + (size_t)tile * inputs * 8;
    uint16_t *scales = (uint16_t *)job->weight.scales + (size_t)tile * groups * LANES;
    f32x16 w[MOST_GROUP];
    for (int g = 0; g < groups; g++) {
        for (int l = 0; l < LANES; l++) {
            float *lane = (float *)w + l;
            size_t row = (size_t)tile * LANES + l, at = row * inputs + g * group;
            if (row >= (size_t)job->weight.outputs)
                for (int i = 0; i < group; i++) lane[i * LANES] = 0;
            else
                for (int i = 0; i < group; i++) lane[i * LANES] = number(job->from, job->bf16, at + i);
        }
        u16x16 scale = best_scale(w, group);
        f32x16 per_step = 1 / from_f16(scale);
        memcpy(scales + g * LANES, &scale, sizeof scale);
        for (int i = 0; i < group; i += 8, codes += 64) {
            u32x16 words = {0};
            EACH(j, 8) {
                i32x16 code = __builtin_convertvector(nearest(w[i + j] * per_step), i32x16) + 8;
                words |= (u32x16)code << (8 * (j % 4) + 4 * (j / 4));
            }
            memcpy(codes, &words, sizeof words);
        }
    }
}

/* ---- weights of 16 and 32 bits, row by row as torch keeps them ---- */

/* `outputs` rows of a weight times `rows` rows of activations, 32 inputs at once: of bf16 the even
 * ones and the odd ones, of fp32 the first half and the second. */
INLINE void plain_block(const Linear *job, int output, int first, const int outputs, const int rows,
                        const int bf16) {
    const int inputs = job->weight.inputs, vectors = inputs / 32, size = bf16 ? 2 : 4;
    const int apart = bf16 ? inputs / 2 : LANES, along = bf16 ? LANES : 32;
    const char *weight = (const char *)job->weight.codes + (size_t)output * inputs * size;
    const float *x = job->numbers + (size_t)first * inputs;
    f32x16 sum[4][4];
    EACH(o, outputs) EACH(r, rows) sum[o][r] = splat(0);
    for (int k = 0; k < vectors; k++) {
        f32x16 low[4], high[4];
        EACH(o, outputs) {
            const char *w = weight + ((size_t)o * inputs + k * 32) * size;
            __builtin_prefetch(w + AHEAD / 4);
            if (bf16) {
                u32x16 pair = load_u32(w);
                low[o] = (f32x16)(pair << 16), high[o] = (f32x16)(pair & 0xffff0000);
            } else {
                __builtin_prefetch(w + AHEAD / 4 + 64);
                low[o] = load_f32((const float *)w), high[o] = load_f32((const float *)w + LANES);
            }
        }
        EACH(r, rows) {
            f32x16 x0 = load_f32(x + (size_t)r * inputs + k * along);
            f32x16 x1 = load_f32(x + (size_t)r * inputs + k * along + apart);
            EACH(o, outputs) sum[o][r] += low[o] * x0, sum[o][r] += high[o] * x1;
        }
    }
    EACH(o, outputs) EACH(r, rows) {
        float total = sum_lanes(sum[o][r]);
        for (int i = vectors * 32; i < inputs; i++)
            total += number(weight, bf16, (size_t)o * inputs + i) *
                     x[(size_t)r * inputs + (bf16 ? i / 2 + i % 2 * apart : i)];
        put_sum(job, (size_t)(first + r) * job->weight.outputs + output + o, total);
    }
}

INLINE void plain_outputs(const Linear *job, int output, const int outputs, const int bf16) {
    int r = 0, rows = job->rows;
    for (; AT_ONCE >= 4 && rows - r >= 4; r += 4) plain_block(job, output, r, outputs, 4, bf16);
    for (; AT_ONCE >= 2 && rows - r >= 2; r += 2) plain_block(job, output, r, outputs, 2, bf16);
    for (; r < rows; r++) plain_block(job, output, r, outputs, 1, bf16);
}

INLINE void plain_rows(const Linear *job, int tile, const int bf16) {
    int output = tile * LANES, left = job->weight.outputs - output;
    int end = output + (left < LANES ? left : LANES);
    for (; output + 4 <= end; output += 4) plain_outputs(job, output, 4, bf16);
    for (; output < end; output++) plain_outputs(job, output, 1, bf16);
}

/* A tile of any weight times all rows. */
static void V(times)(const void *linear, int tile) {
    const Linear *job = linear;
    switch (job->weight.bits) {
    case 4: by_rows(job, tile, int4_rows); break;
    case 8: by_rows(job, tile, int8_rows); break;
    case 16: plain_rows(job, tile, 1); break;
    default: plain_rows(job, tile, 0);
    }
}

/* ---- attention of one request's query heads over the pages of one key head ----
 *
 * 32 numbers of a head are two vectors: of bf16 the even ones and the odd ones, of fp32 the first
 * half and the second. Queries and sums are kept in the same order.
 */

typedef struct {
    float q[4][MOST_DIM], sum[4][MOST_DIM], most[4], total[4];
} Heads;

INLINE int place(int i, int bf16) { return bf16 ? i / 32 * 32 + i % 2 * 16 + i % 32 / 2 : i; }

/* The 32 numbers from the i-th on; zeros after `left` of them. */
INLINE void load_pair(f32x16 *pair, const void *p, int bf16, size_t i, int left) {
    float few[32] = {0};
    if (left < 32) {
        for (int j = 0; j < left; j++) few[place(j, bf16)] = number(p, bf16, i + j);
        pair[0] = load_f32(few), pair[1] = load_f32(few + LANES);
    } else if (bf16) {
        u32x16 both = load_u32((const uint16_t *)p + i);
        pair[0] = (f32x16)(both << 16), pair[1] = (f32x16)(both & 0xffff0000);
    } else {
        pair[0] = load_f32((const float *)p + i), pair[1] = load_f32((const float *)p + i + LANES);
    }
}

/* Queries times the first `n` keys of a page; `whole`: heads are a multiple of 32 wide. */
INLINE void score_page(const Heads *state, const Attention *job, size_t at, int n, const int bf16,
                       const int whole, const int heads, float scores[4][PAGE]) {
    const int dim = job->dim;
    float parts[4][PAGE][4];
    for (int i = 0; i < n; i++) {
        f32x16 dot[4], key[2];
        EACH(h, heads) dot[h] = splat(0);
        for (int c = 0; c < dim; c += 32) {
            load_pair(key, job->keys, bf16, at + (size_t)i * dim + c, whole ? 32 : dim - c);
            EACH(h, heads) {
                dot[h] += key[0] * load_f32(state->q[h] + c);
                dot[h] += key[1] * load_f32(state->q[h] + c + LANES);
            }
        }
        EACH(h, heads) {
            f32x4 part = sum_quarters(dot[h]);
            memcpy(parts[h][i], &part, sizeof part);
        }
    }
    EACH(h, heads) for (int i = 0; i < PAGE; i++) {
        const float *p = parts[h][i];
        scores[h][i] = i < n ? (p[0] + p[2]) + (p[1] + p[3]) : -INFINITY;
    }
}

/* Scores become shares of the sum so far, which shrinks where a greater score came. */
INLINE void share_out(Heads *state, const int heads, float scores[4][PAGE], float *shrink) {
    EACH(h, heads) {
        float most = state->most[h];
        for (int i = 0; i < PAGE; i++) most = scores[h][i] > most ? scores[h][i] : most;
        f32x16 part = power_of_two(load_f32(scores[h]) - most);
        memcpy(scores[h], &part, sizeof part);
        shrink[h] = power_of_two(splat(state->most[h] - most))[0];
        state->most[h] = most;
        state->total[h] = state->total[h] * shrink[h] + sum_lanes(part);
    }
}

INLINE void see_page(Heads *state, const Attention *job, size_t at, int n, const int bf16,
                     const int whole, const int heads) {
    const int dim = job->dim;
    float scores[4][PAGE], shrink[4];
    score_page(state, job, at, n, bf16, whole, heads, scores);
    share_out(state, heads, scores, shrink);
    for (int c = 0; c < dim; c += 32) {
        f32x16 even[4], odd[4], value[2];
        EACH(h, heads) {
            even[h] = load_f32(state->sum[h] + c) * shrink[h];
            odd[h] = load_f32(state->sum[h] + c + LANES) * shrink[h];
        }
        for (int i = 0; i < n; i++) {
            load_pair(value, job->values, bf16, at + (size_t)i * dim + c, whole ? 32 : dim - c);
            EACH(h, heads) even[h] += value[0] * scores[h][i], odd[h] += value[1] * scores[h][i];
        }
        EACH(h, heads) {
            memcpy(state->sum[h] + c, &even[h], sizeof even[h]);
            memcpy(state->sum[h] + c + LANES, &odd[h], sizeof odd[h]);
        }
    }
}

INLINE void ask_for(const void *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + i);
}

/* `heads` query heads from `first` on, all with key head `group` of request `request`. */
INLINE void attend_heads(const Attention *job, int request, int group, int first, const int heads) {
    const int dim = job->dim, bf16 = job->cache_bf16, length = job->lengths[request];
    const int32_t *table = job->table + (size_t)request * job->pages;
    const size_t query = ((size_t)request * job->heads + first) * dim;
    const size_t page = (size_t)PAGE * dim, bytes = page * (bf16 ? 2 : 4);
    const float scale = 1.4426950408889634f / sqrtf((float)dim);
    Heads state;
    EACH(h, heads) {
        state.most[h] = -INFINITY, state.total[h] = 0;
        for (int i = 0; i < (dim + 31) / 32 * 32; i++) state.q[h][i] = state.sum[h][i] = 0;
        for (int i = 0; i < dim; i++)
            state.q[h][place(i, bf16)] = number(job->q, job->bf16, query + h * dim + i) * scale;
    }
    for (int start = 0; start < length; start += PAGE) {
        size_t at = (size_t)table[start / PAGE] * job->groups + group;
        int n = length - start < PAGE ? length - start : PAGE;
        if (start + PAGE < length) {
            size_t next = (size_t)table[start / PAGE + 1] * job->groups + group;
            ask_for((const char *)job->keys + next * bytes, bytes);
            ask_for((const char *)job->values + next * bytes, bytes);
        }
        if (bf16 && dim % 32 == 0)
            see_page(&state, job, at * page, n, 1, 1, heads);
        else
            see_page(&state, job, at * page, n, bf16, 0, heads);
    }
    EACH(h, heads) {
        float per = state.total[h] > 0 ? 1 / state.total[h] : 0;
        for (int i = 0; i < dim; i++)
            put(job->out, job->bf16, query + h * dim + i, state.sum[h][place(i, bf16)] * per);
    }
}

static void V(attend)(const void *attention, int item) {
    const Attention *job = attention;
    int request = item / job->groups, group = item % job->groups, heads = job->heads / job->groups;
    int h = group * heads, end = h + heads;
    for (; AT_ONCE >= 4 && h + 4 <= end; h += 4) attend_heads(job, request, group, h, 4);
    for (; AT_ONCE >= 4 && h + 3 <= end; h += 3) attend_heads(job, request, group, h, 3);
    for (; AT_ONCE >= 2 && h + 2 <= end; h += 2) attend_heads(job, request, group, h, 2);
    for (; h < end; h++) attend_heads(job, request, group, h, 1);
}

/* ---- a decoding step: every stage gets a Walk and an item, which is a row unless it says otherwise ---- */

/* x scaled to unit root mean square, times the weights of a norm. */
INLINE void normed(const Walk *walk, int row, const void *weights, float *to) {
    const int width = walk->job->width;
    const float *x = walk->x + (size_t)row * width;
    f32x16 squares = splat(0);
    float total = 0;
    int i = 0;
    for (; i + LANES <= width; i += LANES) squares += load_f32(x + i) * load_f32(x + i);
    for (; i < width; i++) total += x[i] * x[i];
    float scale = 1 / sqrtf((sum_lanes(squares) + total) / width + walk->job->eps);
    if (walk->job->bf16)
        for (i = 0; i < width; i++) to[i] = x[i] * scale * wide_bf16(((const uint16_t *)weights)[i]);
    else
        for (i = 0; i < width; i++) to[i] = x[i] * scale * ((const float *)weights)[i];
}

/* A product of this step, with its activations in the scratch. */
INLINE Linear product(const Walk *walk, const Weight *weight, float *to) {
    Linear job = {.weight = *weight, .rows = walk->job->rows, .adds = to == walk->x, .to = to};
    lay_out(&job, walk->scratch);
    return job;
}

static void stage_embed(const void *on, int row) {
    const Walk *walk = on;
    const Decode *job = walk->job;
    float *x = walk->x + (size_t)row * job->width;
    memset(x, 0, sizeof *x * job->width);
    for (int k = 0; k < job->books; k++) {
        size_t at = (size_t)(k * job->entries + job->columns[row * job->books + k]) * job->width;
        for (int i = 0; i < job->width; i++) x[i] += number(job->embedding, job->bf16, at + i);
    }
}

INLINE void stage_before(const Walk *walk, int row, const void *norm, const Weight *weight) {
    Linear job = product(walk, weight, 0);
    float *x = walk->normal + (size_t)row * walk->job->width;
    normed(walk, row, norm, x);
    V(ready)(&job, row, x);
}

static void stage_before_qkv(const void *on, int row) {
    const Walk *walk = on;
    stage_before(walk, row, walk->block->input_norm, &walk->block->q);
}

/* The item is a tile of the queries, keys or values. */
static void stage_qkv(const void *on, int tile) {
    const Walk *walk = on;
    const Weight *weights[] = {&walk->block->q, &walk->block->k, &walk->block->v};
    float *to[] = {walk->q, walk->k, walk->v};
    int i = 0;
    for (; i < 2 && tile >= tiles_of(weights[i]->outputs); i++) tile -= tiles_of(weights[i]->outputs);
    Linear job = product(walk, weights[i], to[i]);
    V(times)(&job, tile);
}

/* The two halves of a head form the pairs. */
INLINE void rotate_head(float *head, const float *cosines, const float *sines, int half) {
    for (int i = 0; i < half; i++) {
        float first = head[i], second = head[half + i];
        head[i] = first * cosines[i] - second * sines[i];
        head[half + i] = second * cosines[i] + first * sines[i];
    }
}

static void stage_rotate(const void *on, int row) {
    const Walk *walk = on;
    const Decode *job = walk->job;
    const int dim = job->dim, at = job->lengths[row] - 1;
    const float *cosines = job->cosines + (size_t)row * (dim / 2), *sines = job->sines + (size_t)row * (dim / 2);
    float *q = walk->q + (size_t)row * job->heads * dim;
    float *k = walk->k + (size_t)row * job->groups * dim, *v = walk->v + (size_t)row * job->groups * dim;
    size_t page = job->table[(size_t)row * job->pages + at / PAGE];
    for (int h = 0; h < job->heads; h++) rotate_head(q + h * dim, cosines, sines, dim / 2);
    for (int g = 0; g < job->groups; g++) {
        size_t place = ((page * job->groups + g) * PAGE + at % PAGE) * dim;
        rotate_head(k + g * dim, cosines, sines, dim / 2);
        for (int i = 0; i < dim; i++) {
            put(walk->block->keys, job->cache_bf16, place + i, k[g * dim + i]);
            put(walk->block->values, job->cache_bf16, place + i, v[g * dim + i]);
        }
    }
}

/* The item is one row's key head. */
static void stage_see(const void *on, int item) {
    const Walk *walk = on;
    const Decode *d = walk->job;
    Attention job = {walk->q, walk->block->keys, walk->block->values, d->table, d->lengths,
                     walk->attended, d->heads, d->groups, d->dim, d->pages, 0, d->cache_bf16};
    V(attend)(&job, item);
}

static void stage_before_o(const void *on, int row) {
    const Walk *walk = on;
    Linear job = product(walk, &walk->block->o, 0);
    V(ready)(&job, row, walk->attended + (size_t)row * job.weight.inputs);
}

/* The item is a tile. */
static void stage_o(const void *on, int tile) {
    const Walk *walk = on;
    Linear job = product(walk, &walk->block->o, walk->x);
    V(times)(&job, tile);
}

static void stage_before_gate(const void *on, int row) {
    const Walk *walk = on;
    stage_before(walk, row, walk->block->post_norm, &walk->block->gate);
}

/* The item is a tile of the gate or of what it lets through. */
static void stage_gate_up(const void *on, int tile) {
    const Walk *walk = on;
    const int tiles = tiles_of(walk->block->gate.outputs), upper = tile >= tiles;
    Linear job = product(walk, upper ? &walk->block->up : &walk->block->gate, upper ? walk->up : walk->gate);
    V(times)(&job, upper ? tile - tiles : tile);
}

INLINE f32x16 silu(f32x16 x) {
    f32x16 size = pick(x < splat(0), -x, x), e = power_of_two(size * -1.4426950408889634f);
    return x * pick(x < splat(0), e, splat(1)) / (1 + e);
}

static void stage_before_down(const void *on, int row) {
    const Walk *walk = on;
    const Weight *down = &walk->block->down;
    Linear job = product(walk, down, 0);
    float *gate = walk->gate + (size_t)row * down->inputs, *up = walk->up + (size_t)row * down->inputs;
    int i = 0;
    for (; i + LANES <= down->inputs; i += LANES) {
        f32x16 open = silu(load_f32(gate + i)) * load_f32(up + i);
        memcpy(gate + i, &open, sizeof open);
    }
    for (; i < down->inputs; i++) gate[i] = silu(splat(gate[i]))[0] * up[i];
    V(ready)(&job, row, gate);
}

/* The item is a tile. */
static void stage_down(const void *on, int tile) {
    const Walk *walk = on;
    Linear job = product(walk, &walk->block->down, walk->x);
    V(times)(&job, tile);
}

static void stage_before_head(const void *on, int row) {
    const Walk *walk = on;
    stage_before(walk, row, walk->job->norm, &walk->job->head);
}

/* The item is a tile. */
static void stage_head(const void *on, int tile) {
    const Walk *walk = on;
    Linear job = product(walk, &walk->job->head, walk->job->logits);
    V(times)(&job, tile);
}

/* What each thread does. */
static void V(decode)(void *shared) {
    Walk walk = *(Walk *)shared;
    const Decode *job = walk.job;
    Stage *stage = walk.stages;
    const int rows = job->rows, threads = walk.threads;
    pass_stage(stage++, threads, rows, stage_embed, &walk);
    for (int layer = 0; layer < job->layers; layer++) {
        const Block *b = walk.block = &job->blocks[layer];
        int queries = tiles_of(b->q.outputs), others = tiles_of(b->k.outputs);
        pass_stage(stage++, threads, rows, stage_before_qkv, &walk);
        pass_stage(stage++, threads, queries + 2 * others, stage_qkv, &walk);
        pass_stage(stage++, threads, rows, stage_rotate, &walk);
        pass_stage(stage++, threads, rows * job->groups, stage_see, &walk);
        pass_stage(stage++, threads, rows, stage_before_o, &walk);
        pass_stage(stage++, threads, tiles_of(b->o.outputs), stage_o, &walk);
        pass_stage(stage++, threads, rows, stage_before_gate, &walk);
        pass_stage(stage++, threads, 2 * tiles_of(b->gate.outputs), stage_gate_up, &walk);
        pass_stage(stage++, threads, rows, stage_before_down, &walk);
        pass_stage(stage++, threads, tiles_of(b->down.outputs), stage_down, &walk);
    }
    pass_stage(stage++, threads, rows, stage_before_head, &walk);
    pass_stage(stage++, threads, tiles_of(job->head.outputs), stage_head, &walk);
}

/* ---- what stands between the products of a prompt ---- */

INLINE void norm_row(const Norm *job, size_t first, const int bf16) {
    f32x16 squares = splat(0);
    float total = 0;
    int i = 0;
    for (; i + LANES <= job->width; i += LANES) {
        f32x16 x = load_lanes(job->x, bf16, first + i);
        squares += x * x;
    }
    for (; i < job->width; i++) total += number(job->x, bf16, first + i) * number(job->x, bf16, first + i);
    float scale = 1 / sqrtf((sum_lanes(squares) + total) / job->width + job->eps);
    for (i = 0; i + LANES <= job->width; i += LANES)
        put_lanes(job->out, bf16, first + i,
                  load_lanes(job->x, bf16, first + i) * scale * load_lanes(job->weights, bf16, i));
    for (; i < job->width; i++)
        put(job->out, bf16, first + i, number(job->x, bf16, first + i) * scale * number(job->weights, bf16, i));
}

static void V(norm)(const void *norm, int row) {
    const Norm *job = norm;
    if (job->bf16) norm_row(job, (size_t)row * job->width, 1);
    else norm_row(job, (size_t)row * job->width, 0);
}

INLINE void gate_piece(const Gate *job, int64_t i, int64_t end, const int bf16) {
    for (; i + LANES <= end; i += LANES)
        put_lanes(job->gate, bf16, i, silu(load_lanes(job->gate, bf16, i)) * load_lanes(job->up, bf16, i));
    for (; i < end; i++)
        put(job->gate, bf16, i, silu(splat(number(job->gate, bf16, i)))[0] * number(job->up, bf16, i));
}

static void V(gate)(const void *gate, int piece) {
    const Gate *job = gate;
    int64_t first = (int64_t)piece * PIECE, end = first + PIECE < job->length ? first + PIECE : job->length;
    if (job->bf16) gate_piece(job, first, end, 1);
    else gate_piece(job, first, end, 0);
}

/* The two halves of a head form the pairs. */
INLINE void turn_row(const Turn *job, int row, const int bf16) {
    const int half = job->dim / 2;
    const size_t angle = (size_t)row * half;
    for (int h = 0; h < job->heads; h++) {
        const size_t a = ((size_t)row * job->heads + h) * job->dim, b = a + half;
        int i = 0;
        for (; i + LANES <= half; i += LANES) {
            f32x16 first = load_lanes(job->x, bf16, a + i), second = load_lanes(job->x, bf16, b + i);
            f32x16 cosine = load_lanes(job->cosines, bf16, angle + i), sine = load_lanes(job->sines, bf16, angle + i);
            put_lanes(job->x, bf16, a + i, first * cosine - second * sine);
            put_lanes(job->x, bf16, b + i, second * cosine + first * sine);
        }
        for (; i < half; i++) {
            float first = number(job->x, bf16, a + i), second = number(job->x, bf16, b + i);
            float cosine = number(job->cosines, bf16, angle + i), sine = number(job->sines, bf16, angle + i);
            put(job->x, bf16, a + i, first * cosine - second * sine);
            put(job->x, bf16, b + i, second * cosine + first * sine);
        }
    }
}

static void V(turn)(const void *turn, int row) {
    const Turn *job = turn;
    if (job->bf16) turn_row(job, row, 1);
    else turn_row(job, row, 0);
}

/* ---- the codec's activation ---- */

/* sin(y)^2, of which pi is a period: an odd polynomial over half a turn to each side. */
INLINE f32x16 sine_squared(f32x16 y) {
    f32x16 turns = y * 0.318309886183790672f + 0x1.8p23f - 0x1.8p23f;
    f32x16 r = y - turns * 3.140625f;
    r = r - turns * 9.67502593994140625e-4f;
    r = r - turns * 1.509957990978376e-7f;
    f32x16 q = r * r, sum = splat(2.6083159809786594e-6f);
    sum = sum * q - 1.9810690719168633e-4f;
    sum = sum * q + 8.333078585565095e-3f;
    sum = sum * q - 1.6666659712791443e-1f;
    sum = sum * q * r + r;
    return sum * sum;
}

INLINE f32x16 snaked(f32x16 x, float alpha, float inverse) {
    return x + sine_squared(x * alpha) * inverse;
}

static void V(snake)(const void *snake, int item) {
    const Snake *job = snake;
    int row = item / job->pieces;
    int64_t first = (int64_t)(item % job->pieces) * PIECE, left = job->length - first;
    const float *x = job->x + row * job->length + first, alpha = job->alphas[row % job->channels];
    float *out = job->out + row * job->length + first, inverse = 1 / (alpha + 1e-9f);
    int n = left < PIECE ? (int)left : PIECE, i = 0;
    for (; i + LANES <= n; i += LANES) {
        f32x16 v = snaked(load_f32(x + i), alpha, inverse);
        memcpy(out + i, &v, sizeof v);
    }
    for (; i < n; i++) out[i] = snaked(splat(x[i]), alpha, inverse)[0];
}

/* ---- a residual unit, a span of positions at a time, so that what lies between stays in the cache ---- */

/* Positions that are made at once, whole LANES. */
#define ACROSS (int)(VECTORS * sizeof(Sound) / sizeof(float))

/* `outputs` channels of a convolution at ACROSS positions; x is its first tap. */
INLINE void convolve(const float *x, size_t stride, const float *weight, int inputs, const int taps,
                     int dilation, const int outputs, float to[CHANNELS][ACROSS]) {
    Sound sum[CHANNELS][VECTORS];
    EACH(o, outputs) EACH(v, VECTORS) sum[o][v] = (Sound){0};
    for (int c = 0; c < inputs; c++, x += stride, weight += taps) EACH(t, taps) {
        Sound near[VECTORS];
        EACH(v, VECTORS)
        memcpy(&near[v], (const char *)(x + t * dilation) + v * sizeof(Sound), sizeof(Sound));
        EACH(o, outputs) {
            float w = weight[(size_t)o * inputs * taps + t];
            EACH(v, VECTORS) sum[o][v] += near[v] * w;
        }
    }
    EACH(o, outputs) memcpy(to[o], sum[o], sizeof sum[o]);
}

/* Snake of the wide convolution, for a few channels and positions of a span. */
INLINE void widen(const Unit *u, const float *x, size_t stride, int channel, const int outputs, float *to) {
    float sum[CHANNELS][ACROSS];
    const float *weight = u->wide + (size_t)channel * u->channels * 7;
    convolve(x, stride, weight, u->channels, 7, u->dilation, outputs, sum);
    EACH(o, outputs) {
        float alpha = u->alphas_out[channel + o], inverse = 1 / (alpha + 1e-9f);
        for (int i = 0; i < ACROSS; i += LANES) {
            f32x16 y = snaked(load_f32(sum[o] + i) + u->wide_bias[channel + o], alpha, inverse);
            memcpy(to + (size_t)o * SPAN + i, &y, sizeof y);
        }
    }
}

/* x plus the narrow convolution, of which `n` positions count. */
INLINE void narrow_back(const Unit *u, const float *from, int channel, const int outputs, size_t at, int n) {
    float sum[CHANNELS][ACROSS];
    const float *weight = u->narrow + (size_t)channel * u->channels;
    convolve(from, SPAN, weight, u->channels, 1, 0, outputs, sum);
    EACH(o, outputs) {
        const float bias = u->narrow_bias[channel + o], *x = u->x + at + o * u->length;
        float *out = u->out + at + o * u->length;
        if (n >= ACROSS)
            for (int i = 0; i < ACROSS; i++) out[i] = x[i] + (sum[o][i] + bias);
        else
            for (int i = 0; i < n; i++) out[i] = x[i] + (sum[o][i] + bias);
    }
}

static void V(unit)(const void *unit, int item, char *memory) {
    const Unit *u = unit;
    const int spans = (int)((u->length + SPAN - 1) / SPAN), channels = u->channels, reach = 3 * u->dilation;
    const int64_t first = (int64_t)(item % spans) * SPAN, left = u->length - first;
    const size_t stride = SPAN + 2 * MOST_REACH + 2 * LANES, whole = (size_t)(item / spans) * channels * u->length;
    const int n = left < SPAN ? (int)left : SPAN, wide = SPAN + 2 * reach;
    float *near = (float *)memory, *between = near + channels * stride;
    int c = 0;
    for (; c < channels; c++) { /* positions outside count as zero */
        const float *x = u->x + whole + c * u->length, alpha = u->alphas_in[c];
        float inverse = 1 / (alpha + 1e-9f), *to = near + c * stride;
        int i = 0, from = first < reach ? reach - (int)first : 0;
        int64_t rest = u->length - first + reach;
        int end = rest < wide ? (int)rest : wide;
        for (; i < from; i++) to[i] = 0;
        for (; i + LANES <= end; i += LANES) {
            f32x16 y = snaked(load_f32(x + first - reach + i), alpha, inverse);
            memcpy(to + i, &y, sizeof y);
        }
        for (; i < end; i++) to[i] = snaked(splat(x[first - reach + i]), alpha, inverse)[0];
        for (; i < (int)stride; i++) to[i] = 0;
    }
    for (c = 0; c < channels; c += CHANNELS)
        for (int i = 0; i < n; i += ACROSS) {
            float *to = between + (size_t)c * SPAN + i;
            if (c + CHANNELS <= channels)
                widen(u, near + i, stride, c, CHANNELS, to);
            else
                for (int o = c; o < channels; o++, to += SPAN) widen(u, near + i, stride, o, 1, to);
        }
    for (c = 0; c < channels; c += CHANNELS)
        for (int i = 0; i < n; i += ACROSS) {
            size_t at = whole + c * (size_t)u->length + first + i;
            if (c + CHANNELS <= channels)
                narrow_back(u, between + i, c, CHANNELS, at, n - i);
            else
                for (int o = c; o < channels; o++, at += u->length) narrow_back(u, between + i, o, 1, at, n - i);
        }
}

/* The next variant has others. */
#undef VARIANT
#undef BIAS
#undef AT_ONCE
#undef CHANNELS
#undef VECTORS
