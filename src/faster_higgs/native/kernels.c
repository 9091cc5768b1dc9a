/* CPU kernels: products of a few rows of activations with stored weights, attention over pages, and a
 * whole decoding step made of both.
 *
 * Plain C with the vector extensions of gcc and clang. lanes.h holds every kernel once and is
 * compiled here for each instruction set; the caller names the variant to run, by its number.
 * Knows nothing of torch: pointers come in, and with them the function that starts its threads.
 */
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

enum {
    LANES = 16,       /* output rows that lie together: a tile */
    PAGE = 16,        /* positions of a page of keys or values */
    INT8_GROUP = 128, /* activations that share a step beside 8-bit weights */
    MOST_GROUP = 128,
    MOST_DIM = 256, /* of a head */
    TURNS = 4,      /* that each thread takes, so that a slow one takes fewer */
    PIECE = 4096,   /* numbers that a thread takes at once, of sound or of gates */
    SPAN = 192,     /* positions of a residual unit that it takes */
    MOST_REACH = 27, /* of a unit to each side */
    AHEAD = 2048,   /* bytes between what is read and what is asked for */
    STRIP = 12,     /* tiles of outputs that a thread takes beside many rows; even */
    NEAR = 28000,   /* inputs of all blocks of rows that stay in the cache together */
};

typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x8 __attribute__((vector_size(32)));
typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));

#define SIXTEEN(v) {v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}
#define INLINE static inline __attribute__((always_inline))
/* A loop over a few things whose number is known when compiled. */
#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < n; i++)

/* A stored matrix [outputs, inputs]: tiles of codes with 4 or 8 bits, or rows of bf16 or fp32. */
typedef struct {
    int bits, inputs, outputs;
    int group; /* activations that share a step beside integers */
    const void *codes, *scales;
} Weight;

/* y = x W^T. Activations are laid out by `ready`, as the weight wants them. */
typedef struct {
    Weight weight;
    int rows, groups;
    int bf16;  /* whether results and unpacked weights are; else fp32 */
    int adds;  /* results are added to what is there */
    void *to;  /* [rows, outputs], or unpacked weights [inputs, outputs] */
    const void *from; /* a weight to be packed [outputs, inputs] */
    int8_t *x;        /* in 8 bits [rows, inputs] */
    float *steps;     /* [rows, groups], of x */
    int32_t *sums;    /* [rows, groups], of x */
    float *numbers;   /* beside fp32 as they are; beside bf16 of each row the even ones, then the odd */
} Linear;

typedef struct {
    const void *q, *keys, *values;
    const int32_t *table, *lengths;
    void *out;
    int heads, groups, dim, pages; /* pages: entries of a row of the table */
    int bf16, cache_bf16;
} Attention;

typedef struct {
    const void *input_norm, *post_norm;
    Weight q, k, v, o, gate, up, down;
    void *keys, *values; /* [pages, groups, PAGE, dim] */
} Block;

/* Rows of a prompt between its products; a row's numbers are all bf16 or all fp32. */
typedef struct {
    const void *x, *weights; /* [rows, width], [width] */
    void *out;               /* may be x */
    int width, bf16;
    float eps;
} Norm;

typedef struct {
    void *gate; /* becomes silu(gate) * up */
    const void *up;
    int bf16;
    int64_t length;
} Gate;

typedef struct {
    void *x; /* [rows, heads, dim] */
    const void *cosines, *sines; /* [rows, dim / 2] */
    int heads, dim, bf16;
} Turn;

/* x + sin(alpha x)^2 / alpha, by channel. */
typedef struct {
    const float *x, *alphas; /* [rows, length], [channels]; row r is of channel r % channels */
    float *out;              /* may be x */
    int channels, pieces;    /* of PIECE numbers in a row */
    int64_t length;
} Snake;

/* A residual unit of the codec: x + narrow(snake(wide(snake(x)))), `wide` over 7 positions. */
typedef struct {
    const float *x; /* [batch, channels, length] */
    const float *alphas_in, *wide, *wide_bias, *alphas_out, *narrow, *narrow_bias;
    float *out; /* not x */
    int batch, channels, dilation;
    int64_t length;
} Unit;

/* One more position of each row's request: a column of codes in, scores of the next one out. */
typedef struct {
    int layers, rows, books, entries, width, heads, groups, dim, pages;
    int bf16, cache_bf16; /* of embeddings and norms; of the cache */
    float eps;
    const Block *blocks;
    const void *embedding, *norm; /* embedding [books * entries, width] */
    Weight head;
    const int64_t *columns;       /* [rows, books] */
    const float *cosines, *sines; /* [rows, dim / 2] */
    const int32_t *table, *lengths;
    float *logits; /* [rows, outputs of the head] */
    char *memory;  /* of fh_decode_memory */
} Decode;

/* ---- threads: those of torch's own OpenMP, whose starter is handed in ---- */

typedef void (*Start)(void (*)(void *), void *, unsigned, unsigned);
static Start start_threads;

void fh_threads(void *starter) { start_threads = (Start)starter; }

typedef struct {
    void (*body)(const void *job, int item);
    const void *job;
    int items, step;
    atomic_int next;
} Crew;

static void take_items(void *shared) {
    Crew *crew = shared;
    for (;;) {
        int item = atomic_fetch_add(&crew->next, crew->step);
        int end = item + crew->step < crew->items ? item + crew->step : crew->items;
        if (item >= crew->items) return;
        for (; item < end; item++) crew->body(crew->job, item);
    }
}

static void share(int threads, int items, void (*body)(const void *, int), const void *job) {
    Crew crew = {body, job, items, items / (threads * TURNS) + 1, 0};
    if (threads > 1 && start_threads && items > 1)
        start_threads(take_items, &crew, (unsigned)threads, 0);
    else
        take_items(&crew);
}

/* Threads that each have memory of their own. */
typedef struct {
    void (*body)(const void *job, int item, char *memory);
    const void *job;
    int items;
    atomic_int next, came;
    char *memory; /* `each` bytes for whoever comes */
    size_t each;
} Party;

static void join(void *shared) {
    Party *party = shared;
    char *memory = party->memory + atomic_fetch_add(&party->came, 1) * party->each;
    for (int item; (item = atomic_fetch_add(&party->next, 1)) < party->items;)
        party->body(party->job, item, memory);
}

/* 0, or 1 where memory ran out. */
static int share_apart(int threads, int items, void (*body)(const void *, int, char *), const void *job,
                       size_t bytes) {
    size_t each = (bytes + 63) / 64 * 64;
    Party party = {body, job, items, 0, 0, aligned_alloc(64, threads * each), each};
    if (!party.memory) return 1;
    if (threads > 1 && start_threads && items > 1)
        start_threads(join, &party, (unsigned)threads, 0);
    else
        join(&party);
    free(party.memory);
    return 0;
}

/* Work of several kinds one after the other: nobody goes on before everything of a kind is done. */
typedef struct {
    atomic_int next, done;
    char apart[64 - 2 * sizeof(atomic_int)];
} Stage;

enum { PATIENCE = 4000 }; /* looks at a stage before the core is offered to others */

static void pass_stage(Stage *stage, int threads, int items, void (*body)(const void *, int),
                       const void *job) {
    int step = items / (threads * TURNS) + 1;
    for (int item; (item = atomic_fetch_add(&stage->next, step)) < items;) {
        int end = item + step < items ? item + step : items, taken = end - item;
        for (; item < end; item++) body(job, item);
        atomic_fetch_add(&stage->done, taken);
    }
    for (int looks = 0; atomic_load(&stage->done) < items; looks++) {
        if (looks > PATIENCE) sched_yield();
#if defined(__x86_64__)
        _mm_pause();
#endif
    }
}

/* ---- single numbers ---- */

INLINE float wide_bf16(uint16_t v) {
    uint32_t bits = (uint32_t)v << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

INLINE uint16_t narrow_bf16(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (v != v) return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE float number(const void *p, int bf16, size_t i) {
    return bf16 ? wide_bf16(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

INLINE void put(void *p, int bf16, size_t i, float value) {
    if (bf16)
        ((uint16_t *)p)[i] = narrow_bf16(value);
    else
        ((float *)p)[i] = value;
}

/* ---- sizes and places ---- */

static int tiles_of(int outputs) { return (outputs + LANES - 1) / LANES; }

static int groups_of(const Weight *w) {
    return w->bits > 8 ? 0 : (w->inputs + w->group - 1) / w->group;
}

/* Bytes of the activations of `rows` rows beside this weight. */
static size_t scratch_of(const Weight *w, int rows) {
    size_t each = w->bits > 8 ? sizeof(float) * w->inputs
                              : (w->inputs + 63) / 64 * 64 +
                                    (sizeof(float) + sizeof(int32_t)) * (groups_of(w) + 15);
    return (each * rows + 63) / 64 * 64;
}

/* Where the activations of a product lie in its scratch. */
static void lay_out(Linear *job, char *scratch) {
    const Weight *w = &job->weight;
    job->groups = groups_of(w);
    job->numbers = (float *)scratch;
    job->x = (int8_t *)scratch;
    job->steps = (float *)(scratch + ((size_t)job->rows * w->inputs + 63) / 64 * 64);
    job->sums = (int32_t *)(job->steps + (size_t)job->rows * job->groups);
}

/* A step and what lies between its stages, all of it fp32. */
typedef struct {
    const Decode *job;
    const Block *block; /* each thread's own */
    int threads;
    Stage *stages;
    float *x, *normal;           /* the residual stream [rows, width]; after a norm */
    float *q, *k, *v, *attended; /* [rows, heads * dim], of k and v [rows, groups * dim] */
    float *gate, *up;            /* [rows, inner] */
    char *scratch;               /* activations of the product that is next */
} Walk;

static int stages_of(const Decode *job) { return 10 * job->layers + 3; }

static char *take(char **from, size_t bytes) {
    char *start = *from;
    *from += (bytes + 63) / 64 * 64;
    return start;
}

/* Spreads a walk over the memory of its job, of which it takes so many bytes. */
static size_t lay_walk(Walk *walk, const Decode *job, int threads) {
    const Block *b = job->blocks;
    size_t row = sizeof(float) * job->rows, head = row * job->dim, most = scratch_of(&job->head, job->rows);
    const Weight *wide[] = {&b->q, &b->o, &b->gate, &b->down};
    for (int i = 0; i < 4; i++) {
        size_t scratch = scratch_of(wide[i], job->rows);
        most = scratch > most ? scratch : most;
    }
    char *at = job->memory;
    *walk = (Walk){.job = job, .threads = threads};
    walk->stages = (Stage *)take(&at, sizeof(Stage) * stages_of(job));
    walk->x = (float *)take(&at, row * job->width);
    walk->normal = (float *)take(&at, row * job->width);
    walk->q = (float *)take(&at, head * job->heads);
    walk->k = (float *)take(&at, head * job->groups);
    walk->v = (float *)take(&at, head * job->groups);
    walk->attended = (float *)take(&at, head * job->heads);
    walk->gate = (float *)take(&at, row * b->gate.outputs);
    walk->up = (float *)take(&at, row * b->gate.outputs);
    walk->scratch = take(&at, most);
    return at - job->memory;
}

/* ---- the variants, the best last ----
 *
 * Each has Sums, 16 lanes of int32, Bytes, 16 lanes of 4 bytes, and on them
 *   same(v)             a sum of v in each lane
 *   floats(a, b)        a + b as numbers
 *   nibbles(p, upper)   the lower or the upper halves of 64 bytes
 *   bytes(p)            64 bytes as they are, each plus BIAS
 *   dot4(sum, w, x)     each lane gains its 4 bytes of w, 0..15, times the 4 signed bytes of x
 *   dot4_wide(..)       the same for what `bytes` gives
 * and reads a tile once for AT_ONCE rows of activations. Of sound it makes CHANNELS rows of VECTORS
 * vectors Sound at once: as many as its registers hold.
 */

typedef struct {
    const char *name;
    int (*runs)(void);
    void (*ready)(const Linear *job, int row, const float *x);
    void (*times)(const void *job, int tile);
    void (*unpack_int4)(const void *job, int tile);
    void (*unpack_int8)(const void *job, int tile);
    void (*pack_int4)(const void *job, int tile);
    void (*attend)(const void *job, int item);
    void (*decode)(void *walk);
    void (*norm)(const void *job, int row);
    void (*gate)(const void *job, int piece);
    void (*turn)(const void *job, int row);
    void (*snake)(const void *job, int item);
    void (*unit)(const void *job, int item, char *memory);
    void (*many)(const void *job, int tile, char *memory); /* a product of many rows, or NULL */
} Variant;

#define PASTE(a, b) a##_##b
#define JOIN(a, b) PASTE(a, b)
#define V(name) JOIN(name, VARIANT)

#if defined(__clang__)
#define PRAGMA(x) _Pragma(#x)
#define TARGET(list) PRAGMA(clang attribute push(__attribute__((target(list))), apply_to = function))
#define TARGET_END _Pragma("clang attribute pop")
#else
#define PRAGMA(x) _Pragma(#x)
#define TARGET(list) _Pragma("GCC push_options") PRAGMA(GCC target(list))
#define TARGET_END _Pragma("GCC pop_options")
#endif

#define VARIANT plain
#define BIAS 0
#define AT_ONCE 1
#define CHANNELS 2
#define VECTORS 4
static int runs_plain(void) { return 1; }
typedef f32x4 Sound_plain;
typedef i32x16 Sums_plain;
typedef u32x16 Bytes_plain;
INLINE i32x16 same_plain(int32_t v) { return (i32x16)SIXTEEN(v); }
INLINE f32x16 floats_plain(i32x16 a, i32x16 b) { return __builtin_convertvector(a + b, f32x16); }
INLINE u32x16 bytes_plain(const uint8_t *p) {
    u32x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE u32x16 nibbles_plain(const uint8_t *p, int upper) {
    return bytes_plain(p) >> 4 * upper & 0x0f0f0f0f;
}
INLINE i32x16 dot4_plain(i32x16 sum, u32x16 w, int32_t x) {
    for (int i = 0; i < 4; i++) sum += (i32x16)(w >> 8 * i & 255) * (int8_t)(x >> 8 * i);
    return sum;
}
INLINE i32x16 dot4_wide_plain(i32x16 sum, u32x16 w, int32_t x) {
    for (int i = 0; i < 4; i++) sum += ((i32x16)(w << (24 - 8 * i)) >> 24) * (int8_t)(x >> 8 * i);
    return sum;
}
#include "lanes.h"

#if defined(__x86_64__)
#define VARIANT avx2
#define BIAS 0
#define AT_ONCE 4
#define CHANNELS 4
#define VECTORS 2
static int runs_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
TARGET("avx2,fma")
typedef f32x8 Sound_avx2;
typedef struct {
    __m256i half[2];
} Sums_avx2;
typedef Sums_avx2 Bytes_avx2;
INLINE Sums_avx2 same_avx2(int32_t v) {
    return (Sums_avx2){{_mm256_set1_epi32(v), _mm256_set1_epi32(v)}};
}
INLINE f32x16 floats_avx2(Sums_avx2 a, Sums_avx2 b) {
    f32x16 sum;
    for (int i = 0; i < 2; i++) {
        __m256 f = _mm256_cvtepi32_ps(_mm256_add_epi32(a.half[i], b.half[i]));
        memcpy((char *)&sum + 32 * i, &f, sizeof f);
    }
    return sum;
}
INLINE Bytes_avx2 bytes_avx2(const uint8_t *p) {
    const __m256i *at = (const __m256i *)p;
    return (Bytes_avx2){{_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)}};
}
INLINE Bytes_avx2 nibbles_avx2(const uint8_t *p, int upper) {
    Bytes_avx2 w = bytes_avx2(p);
    for (int i = 0; i < 2; i++)
        w.half[i] = _mm256_and_si256(_mm256_srli_epi32(w.half[i], 4 * upper), _mm256_set1_epi8(15));
    return w;
}
INLINE __m256i pairs_avx2(__m256i sum, __m256i w, __m256i x) {
    __m256i pairs = _mm256_maddubs_epi16(w, x); /* at most 2 x 127 x 127: no overflow */
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
INLINE Sums_avx2 dot4_avx2(Sums_avx2 s, Bytes_avx2 w, int32_t x) {
    for (int i = 0; i < 2; i++) s.half[i] = pairs_avx2(s.half[i], w.half[i], _mm256_set1_epi32(x));
    return s;
}
INLINE Sums_avx2 dot4_wide_avx2(Sums_avx2 s, Bytes_avx2 w, int32_t x) {
    for (int i = 0; i < 2; i++)
        s.half[i] = pairs_avx2(s.half[i], _mm256_abs_epi8(w.half[i]),
                               _mm256_sign_epi8(_mm256_set1_epi32(x), w.half[i]));
    return s;
}
#include "lanes.h"
TARGET_END

#define VARIANT vnni
#define BIAS 128
#define AT_ONCE 8
#define CHANNELS 8
#define VECTORS 3
static int runs_vnni(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")
typedef f32x16 Sound_vnni;
typedef __m512i Sums_vnni;
typedef __m512i Bytes_vnni;
INLINE __m512i same_vnni(int32_t v) { return _mm512_set1_epi32(v); }
INLINE f32x16 floats_vnni(__m512i a, __m512i b) {
    return (f32x16)_mm512_cvtepi32_ps(_mm512_add_epi32(a, b));
}
INLINE __m512i nibbles_vnni(const uint8_t *p, int upper) {
    return _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(p), 4 * upper), _mm512_set1_epi8(15));
}
INLINE __m512i bytes_vnni(const uint8_t *p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-BIAS));
}
INLINE __m512i dot4_vnni(__m512i sum, __m512i w, int32_t x) {
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x));
}
INLINE __m512i dot4_wide_vnni(__m512i sum, __m512i w, int32_t x) { return dot4_vnni(sum, w, x); }
#include "lanes.h"
TARGET_END
#endif

/* ---- many rows at once: tiles of 16 rows of 64 bytes that the processor multiplies as a whole ---- */

typedef struct {
    Weight weight;
    int rows, blocks; /* of 16 rows */
    const uint16_t *from; /* activations in bf16 [rows, inputs] */
    uint16_t *to;
    uint16_t *x; /* the same by blocks, with zeros behind the last row */
    int part;    /* inputs that are multiplied before the next ones, whole 32 */
} Many;

/* A block by 32 inputs: [inputs / 32, 16, 32]. */
static void copy_rows(const void *many, int block) {
    const Many *job = many;
    const size_t inputs = job->weight.inputs;
    uint16_t *x = job->x + block * LANES * inputs;
    for (size_t r = 0; r < LANES; r++) {
        const size_t row = (size_t)block * LANES + r;
        for (size_t i = 0; i < inputs; i += 32)
            if (row < (size_t)job->rows)
                memcpy(x + i * LANES + 32 * r, job->from + row * inputs + i, 64);
            else
                memset(x + i * LANES + 32 * r, 0, 64);
    }
}

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_AMX
static int runs_amx(void) {
    enum { GIVE = 0x1023, TILES = 18, BF16 = 1 << 22, TILE = 1 << 24 };
    unsigned a, b, c, d = 0;
    if (!runs_vnni() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return (d & BF16) && (d & TILE) && !syscall(SYS_arch_prctl, GIVE, TILES);
}
TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,fma,amx-tile,amx-bf16")
typedef struct {
    uint8_t palette, start, zero[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} Tiles;

INLINE __m512i every(int step) {
    return _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                              _mm512_set1_epi32(step));
}

/* A block by pairs of inputs: [inputs / 2, 16, 2]. */
static void pair_rows(const void *many, int block) {
    const Many *job = many;
    const int inputs = job->weight.inputs, down = job->rows - block * LANES;
    const __mmask16 there = down < LANES ? (1 << down) - 1 : -1;
    const uint16_t *from = job->from + (size_t)block * LANES * inputs;
    uint16_t *x = job->x + (size_t)block * LANES * inputs;
    for (int i = 0; i < inputs; i += 2) {
        __m512i pairs = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there, every(inputs / 2), from + i, 4);
        _mm512_store_si512(x + (size_t)i * LANES, pairs);
    }
}

/* The weights of a tile from one input on in bf16, by pairs of inputs: [inputs / 2, 16, 2]. */
static void pairs_of(const Weight *w, int tile, int from, int inputs, uint16_t *to) {
    const uint8_t *codes = (const uint8_t *)w->codes + (size_t)tile * w->inputs * LANES * w->bits / 8;
    const uint16_t *half = (const uint16_t *)w->scales + (size_t)tile * groups_of(w) * LANES;
    for (int i = from; i < from + inputs; i += 8) {
        f32x16 scale = w->bits == 4 ? from_f16_vnni(load_u16_vnni(half + i / w->group * LANES))
                                    : load_f32_vnni((const float *)w->scales + tile * LANES);
        EACH(j, 4) {
            f32x16 number[2];
            EACH(k, 2) {
                const int at = 2 * j + k;
                u32x16 words = load_u32_vnni(codes + (w->bits == 4 ? i / 8 : i / 4 + at / 4) * (size_t)64);
                i32x16 code = w->bits == 4 ? (i32x16)(words >> (8 * (at % 4) + at / 4 * 4) & 15) - 8
                                           : (i32x16)(words << (24 - 8 * (at % 4))) >> 24;
                number[k] = __builtin_convertvector(code, f32x16) * scale;
            }
            __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)number[0]));
            __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)number[1]));
            _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            to += 2 * LANES;
        }
    }
}

/* Two tiles of weights, by 32 inputs; `plain`: rows of the file, not pairs. */
typedef struct {
    const char *tiles[2];
    size_t stride, step; /* bytes between rows of a tile, and between 32 inputs and the next */
    const char *coming;  /* rows that will be read next; or NULL */
} Pair;

/* Adds `inputs` of three or fewer blocks of rows times two tiles to their sums [2, n, 16, 16], and asks
 * for the coming rows from `first` to `last`. A processor has eight tiles: six sums, one of each side. */
#define TIMES(i, weights, rows) \
    if (plain) _tile_dpbf16ps(i, weights, rows); else _tile_dpbf16ps(i, rows, weights)
#define EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define CLEAR(i) if (i % 3 < n) _tile_zero(i);
#define LOAD(i) if (i % 3 < n) _tile_loadd(i, sums + ((i / 3) * n + i % 3) * LANES * LANES, 64);
#define STORE(i) if (i % 3 < n) _tile_stored(i, sums + ((i / 3) * n + i % 3) * LANES * LANES, 64);
#define ROWS(i) _tile_loadd(7, x + i * block + at * LANES, 64)
INLINE void add_products(const int n, const int plain, const Pair *pair, const uint16_t *x, size_t block,
                         int inputs, int fresh, float *sums, int first, int last) {
    if (fresh) { EACH_SUM(CLEAR) } else { EACH_SUM(LOAD) }
    for (int at = 0; at < inputs; at += 32) {
        const size_t there = at / 32 * pair->step;
        _tile_loadd(6, pair->tiles[0] + there, pair->stride);
        ROWS(0); TIMES(0, 6, 7);
        if (n > 1) { ROWS(1); TIMES(1, 6, 7); }
        if (n > 2) { ROWS(2); TIMES(2, 6, 7); }
        _tile_loadd(6, pair->tiles[1] + there, pair->stride);
        if (n > 2) { TIMES(5, 6, 7); ROWS(1); }
        if (n > 1) { TIMES(4, 6, 7); ROWS(0); }
        TIMES(3, 6, 7);
        for (int r = first; r < last; r++) _mm_prefetch(pair->coming + r * pair->stride + there, _MM_HINT_T1);
    }
    EACH_SUM(STORE)
}

static void put_sums(const Many *job, int tile, int block, int plain, const float *sums) {
    const int outputs = job->weight.outputs, across = outputs - tile * LANES, down = job->rows - block * LANES;
    for (int r = 0; r < LANES && r < down; r++) {
        uint16_t *to = job->to + ((size_t)block * LANES + r) * outputs + tile * LANES;
        __m512 row = plain ? _mm512_i32gather_ps(every(LANES), sums + r, 4) : _mm512_loadu_ps(sums + r * LANES);
        __mmask16 there = across < LANES ? (1 << across) - 1 : -1;
        _mm256_mask_storeu_epi16(to, there, (__m256i)_mm512_cvtneps_pbh(row));
    }
}

/* A strip of tiles times all rows, a part of the inputs at a time: what is used again stays near. */
INLINE void multiply_strip(const int plain, const Many *job, int number, char *memory) {
    const Weight *w = &job->weight;
    const size_t row = sizeof(uint16_t) * w->inputs, block = (size_t)LANES * w->inputs;
    const int begin = number * STRIP, most = tiles_of(w->outputs);
    const int end = begin + STRIP < most ? begin + STRIP : most;
    const char *top = (const char *)w->codes + begin * LANES * row;
    uint16_t *pairs = (uint16_t *)memory;
    Pair pair = {.stride = plain ? row : 64, .step = plain ? 64 : 64 * LANES};
    for (int from = 0, inputs; from < w->inputs; from += inputs) {
        inputs = w->inputs - from < job->part ? w->inputs - from : job->part;
        float *sums = (float *)(pairs + (plain ? 0 : 2 * LANES * job->part));
        for (int tile = begin; tile < end; tile += 2) {
            EACH(i, 2) {
                const int one = tile + i < end ? tile + i : tile; /* the last may stand alone */
                pair.tiles[i] = plain ? (const char *)w->codes + one * LANES * row + 2 * from
                                      : (const char *)(pairs + i * LANES * job->part);
                if (!plain) pairs_of(w, one, from, inputs, (uint16_t *)pair.tiles[i]);
            }
            pair.coming = !plain ? NULL : tile + 4 <= end ? pair.tiles[1] + LANES * row
                          : from + inputs < w->inputs && begin + 2 <= end ? top + 2 * (from + inputs) : NULL;
            for (int at = 0, n; at < job->blocks; at += n, sums += 2 * n * LANES * LANES) {
                const int left = job->blocks - at, first = pair.coming ? 2 * LANES * at / job->blocks : 0;
                n = left > 4 || left == 3 ? 3 : left > 1 ? 2 : 1;
                const int last = pair.coming ? 2 * LANES * (at + n) / job->blocks : 0;
                const uint16_t *x = job->x + at * block + from * LANES;
                if (n == 3) add_products(3, plain, &pair, x, block, inputs, !from, sums, first, last);
                else if (n == 2) add_products(2, plain, &pair, x, block, inputs, !from, sums, first, last);
                else add_products(1, plain, &pair, x, block, inputs, !from, sums, first, last);
                if (from + inputs < w->inputs) continue;
                for (int i = 0; i < 2 && tile + i < end; i++)
                    for (int b = 0; b < n; b++) put_sums(job, tile + i, at + b, plain, sums + (i * n + b) * LANES * LANES);
            }
        }
    }
}

static void many_amx(const void *many, int strip, char *memory) {
    const Many *job = many;
    Tiles before, whole = {.palette = 1};
    for (int i = 0; i < 8; i++) whole.bytes[i] = 64, whole.rows[i] = LANES;
    _tile_storeconfig(&before); /* others in this thread count on theirs */
    _tile_loadconfig(&whole);
    if (job->weight.bits == 16) multiply_strip(1, job, strip, memory);
    else multiply_strip(0, job, strip, memory);
    if (before.palette)
        _tile_loadconfig(&before);
    else
        _tile_release();
}
TARGET_END
#endif

#if defined(__aarch64__) && (defined(__linux__) || defined(__ARM_FEATURE_DOTPROD))
#define VARIANT neon
#define BIAS 0
#define AT_ONCE 4
#define CHANNELS 4
#define VECTORS 4
static int runs_neon(void) {
#if defined(__ARM_FEATURE_DOTPROD)
    return 1;
#else
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
}
#if defined(__clang__)
TARGET("dotprod")
#else
TARGET("arch=armv8.2-a+dotprod")
#endif
typedef f32x4 Sound_neon;
typedef struct {
    int32x4_t quarter[4];
} Sums_neon;
typedef struct {
    int8x16_t quarter[4];
} Bytes_neon;
INLINE Sums_neon same_neon(int32_t v) {
    int32x4_t q = vdupq_n_s32(v);
    return (Sums_neon){{q, q, q, q}};
}
INLINE f32x16 floats_neon(Sums_neon a, Sums_neon b) {
    f32x16 sum;
    for (int i = 0; i < 4; i++) {
        float32x4_t f = vcvtq_f32_s32(vaddq_s32(a.quarter[i], b.quarter[i]));
        memcpy((char *)&sum + 16 * i, &f, sizeof f);
    }
    return sum;
}
INLINE Bytes_neon nibbles_neon(const uint8_t *p, int upper) {
    Bytes_neon w;
    for (int i = 0; i < 4; i++) {
        uint8x16_t q = vld1q_u8(p + 16 * i);
        w.quarter[i] = vreinterpretq_s8_u8(upper ? vshrq_n_u8(q, 4) : vandq_u8(q, vdupq_n_u8(15)));
    }
    return w;
}
INLINE Bytes_neon bytes_neon(const uint8_t *p) {
    Bytes_neon w;
    for (int i = 0; i < 4; i++) w.quarter[i] = vld1q_s8((const int8_t *)p + 16 * i);
    return w;
}
INLINE Sums_neon dot4_neon(Sums_neon s, Bytes_neon w, int32_t x) {
    int8x16_t word = vreinterpretq_s8_s32(vdupq_n_s32(x));
    for (int i = 0; i < 4; i++) s.quarter[i] = vdotq_s32(s.quarter[i], w.quarter[i], word);
    return s;
}
INLINE Sums_neon dot4_wide_neon(Sums_neon s, Bytes_neon w, int32_t x) { return dot4_neon(s, w, x); }
#include "lanes.h"
TARGET_END
#define HAS_NEON
#endif

#define VARIANT_OF(v)                                                                          \
    {#v,          runs_##v,    ready_##v,  times_##v, unpack_int4_##v, unpack_int8_##v, pack_int4_##v, \
     attend_##v, decode_##v,  norm_##v,  gate_##v,  turn_##v, snake_##v, unit_##v, NULL}
static const Variant variants[] = {
    VARIANT_OF(plain),
#if defined(__x86_64__)
    VARIANT_OF(avx2),
    VARIANT_OF(vnni),
#if defined(HAS_AMX)
    {"amx", runs_amx, ready_vnni, times_vnni, unpack_int4_vnni, unpack_int8_vnni, pack_int4_vnni,
     attend_vnni, decode_vnni, norm_vnni, gate_vnni, turn_vnni, snake_vnni, unit_vnni, many_amx},
#endif
#elif defined(HAS_NEON)
    VARIANT_OF(neon),
#endif
};

/* ---- what the binding calls ---- */

#ifndef STAMP
#define STAMP 0
#endif

/* The checksum of the sources that this was compiled from. */
unsigned fh_stamp(void) { return STAMP; }

/* The name of a variant, NULL after the last. */
const char *fh_name(int i) {
    return i < (int)(sizeof variants / sizeof *variants) ? variants[i].name : NULL;
}

int fh_runs(int i) { return variants[i].runs(); }

/* 0, or 1 where memory ran out. */
int fh_linear(int variant, int threads, const void *x, int bf16, int rows, const Weight *weight,
              void *y) {
    const Variant *v = &variants[variant];
    Linear job = {.weight = *weight, .rows = rows, .bf16 = bf16, .to = y};
    size_t row = (sizeof(float) * weight->inputs + 63) / 64 * 64;
    char *memory = malloc(row + scratch_of(weight, rows));
    if (!memory) return 1;
    lay_out(&job, memory + row);
    for (int r = 0; r < rows; r++) {
        float *wide = (float *)memory;
        for (int i = 0; i < weight->inputs; i++) wide[i] = number(x, bf16, (size_t)r * weight->inputs + i);
        v->ready(&job, r, wide);
    }
    share(threads, tiles_of(weight->outputs), v->times, &job);
    free(memory);
    return 0;
}

/* The weights of some tiles as numbers [inputs, 16 tiles]. */
void fh_unpack(int variant, int threads, const Weight *weight, int bf16, void *to) {
    const Variant *v = &variants[variant];
    Linear job = {.weight = *weight, .groups = groups_of(weight), .bf16 = bf16, .to = to};
    share(threads, tiles_of(weight->outputs), weight->bits == 4 ? v->unpack_int4 : v->unpack_int8, &job);
}

/* Fills the codes and scales of `weight`. */
void fh_pack_int4(int variant, int threads, const void *from, int bf16, const Weight *weight) {
    Linear job = {.weight = *weight, .groups = groups_of(weight), .bf16 = bf16, .from = from};
    share(threads, tiles_of(weight->outputs), variants[variant].pack_int4, &job);
}

void fh_paged_attention(int variant, int threads, const void *q, int bf16, const void *keys,
                        const void *values, int cache_bf16, const int32_t *table,
                        const int32_t *lengths, int requests, int pages, int heads, int groups,
                        int dim, void *out) {
    Attention job = {q, keys, values, table, lengths, out, heads, groups, dim, pages, bf16, cache_bf16};
    share(threads, requests * groups, variants[variant].attend, &job);
}

void fh_snake(int variant, int threads, const float *x, const float *alphas, int rows, int channels,
              int64_t length, float *out) {
    int pieces = (int)((length + PIECE - 1) / PIECE);
    Snake job = {x, alphas, out, channels, pieces, length};
    share(threads, rows * pieces, variants[variant].snake, &job);
}

void fh_norm(int variant, int threads, const void *x, int bf16, int rows, int width, const void *weights,
             float eps, void *out) {
    Norm job = {x, weights, out, width, bf16, eps};
    share(threads, rows, variants[variant].norm, &job);
}

void fh_gate(int variant, int threads, void *gate, const void *up, int bf16, int64_t length) {
    Gate job = {gate, up, bf16, length};
    share(threads, (int)((length + PIECE - 1) / PIECE), variants[variant].gate, &job);
}

void fh_turn(int variant, int threads, void *x, int bf16, int rows, int heads, int dim, const void *cosines,
             const void *sines) {
    Turn job = {x, cosines, sines, heads, dim, bf16};
    share(threads, rows, variants[variant].turn, &job);
}

/* 0, or 1 where memory ran out. */
int fh_unit(int variant, int threads, const Unit *unit) {
    int items = (int)((unit->length + SPAN - 1) / SPAN) * unit->batch;
    size_t bytes = sizeof(float) * unit->channels * (2 * SPAN + 2 * MOST_REACH + 2 * LANES);
    return share_apart(threads, items, variants[variant].unit, unit, bytes);
}

/* Whether `fh_many` is there. */
int fh_has_many(int variant) { return variants[variant].many != NULL; }

/* As fh_linear for any number of bf16 rows and a weight of 4, 8 or 16 bits with whole 32 inputs, whose
 * numbers are rounded to bf16 and nothing else; of 16 bits with whole tiles. 0, or 1 where memory ran out. */
int fh_many(int variant, int threads, const void *x, int rows, const Weight *weight, void *y) {
    const Variant *v = &variants[variant];
    const int blocks = (rows + LANES - 1) / LANES, plain = weight->bits == 16;
    const int parts = weight->inputs * blocks / NEAR + 1, strips = (tiles_of(weight->outputs) + STRIP - 1) / STRIP;
    const int part = (weight->inputs / 32 + parts - 1) / parts * 32;
    Many job = {*weight, rows, blocks, x, y, aligned_alloc(64, sizeof(uint16_t) * LANES * blocks * weight->inputs), part};
    if (!job.x) return 1;
    share(threads, blocks, plain ? pair_rows : copy_rows, &job);
    size_t sums = sizeof(float) * STRIP * blocks * LANES * LANES, pairs = plain ? 0 : 4 * LANES * (size_t)part;
    int failed = share_apart(threads, strips, v->many, &job, sums + pairs);
    free(job.x);
    return failed;
}

/* Bytes that a step needs beside its results. */
int64_t fh_decode_memory(const Decode *job) {
    Walk walk;
    return (int64_t)lay_walk(&walk, job, 1);
}

void fh_decode(int variant, int threads, const Decode *job) {
    Walk walk;
    lay_walk(&walk, job, threads);
    memset(walk.stages, 0, sizeof *walk.stages * stages_of(job));
    if (threads > 1 && start_threads)
        start_threads(variants[variant].decode, &walk, (unsigned)threads, 0);
    else
        variants[variant].decode(&walk);
}
