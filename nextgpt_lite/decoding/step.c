/* One decoding step of a Llama-shaped language model on the CPU: a token of each row in, its state and logits out.

   decoding/kernel.py compiles this file where there is a compiler, fills the structures and calls decode_step. Numbers
   are float32 throughout; weights may be stored as float32, bfloat16, float16, or int8 with a scale for each output channel.
   All matrices are row-major (outputs, inputs), inputs a multiple of 8. A row's cache is (layers, 2, KV heads, capacity,
   head width): keys after rotary embedding, then values. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

typedef float floats __attribute__((vector_size(32)));
typedef float loose_floats __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(32)));
typedef int32_t integers __attribute__((vector_size(32)));
typedef uint16_t loose_halves __attribute__((vector_size(16), aligned(2), may_alias));
typedef int8_t loose_bytes __attribute__((vector_size(8), aligned(1), may_alias));

enum { FLOAT32, BFLOAT16, FLOAT16, INT8 };
/* Multiplications below this size are not worth a second thread. */
enum { THREADED = 1 << 17 };

/* weight x, times scale where there is one; a matrix of 0 outputs is none. */
typedef struct { const void *weight; const float *scale; int64_t kind, outputs, inputs; } Matrix;
/* base x + bias + up (down x): LoRA may be kept apart, a bias may be NULL. */
typedef struct { Matrix base, down, up; const float *bias; } Linear;
/* Up to three linears that read the same and write one behind the other. */
typedef struct { Linear parts[3]; int64_t count; } Group;
typedef struct {
    Group attention_in, attention_out, feed_in, feed_out;
    const float *attention_norm, *feed_norm, *query_norm, *key_norm; /* the last two NULL but in Qwen3 */
} Layer;
/* Gated prompts of a layer: keys (H, count, d), scaled, and values (H, count, d), gated. */
typedef struct { const float *keys, *values; int64_t count; } Term;
/* What a layer of a row gets besides: added to its input (D), to its attention (H * d), and terms. May be NULL, 0. */
typedef struct { const float *words, *constant; Term terms[2]; } Prompts;
typedef struct { int64_t token, position, capacity; float *cache; const Prompts *prompts; } Row;
typedef struct {
    const Layer *layers;
    const float *norm, *embedding, *added_embedding, *cosine, *sine; /* rotary tables (positions, d) */
    Group head, added_head;
    float epsilon, scaling;
    int64_t count, width, heads, kv_heads, head_width, inner, first_added, added_offset, vocabulary, spare, threads;
} Model;

/* Eight stored weights as float32. Where there is one instruction for it, compilers make worse of the general form. */
static inline floats load_float32(const void *weight, int64_t at) {
    return *(const loose_floats *)((const float *)weight + at);
}

#ifdef __AVX2__
static inline floats load_bfloat16(const void *weight, int64_t at) {
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)((const uint16_t *)weight + at)));
    return (floats)_mm256_slli_epi32(bits, 16);
}

static inline floats load_int8(const void *weight, int64_t at) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)((const int8_t *)weight + at))));
}
#else
static inline floats load_bfloat16(const void *weight, int64_t at) {
    return (floats)(__builtin_convertvector(*(const loose_halves *)((const uint16_t *)weight + at), words) << 16);
}

static inline floats load_int8(const void *weight, int64_t at) {
    integers whole = __builtin_convertvector(*(const loose_bytes *)((const int8_t *)weight + at), integers);
    return __builtin_convertvector(whole, floats);
}
#endif

#ifdef __F16C__
static inline floats load_float16(const void *weight, int64_t at) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)weight + at)));
}
#else
static inline floats load_float16(const void *weight, int64_t at) { /* finite numbers only, small ones too */
    words bits = __builtin_convertvector(*(const loose_halves *)((const uint16_t *)weight + at), words);
    floats size = (floats)((bits & 0x7fff) << 13) * 0x1p112f;
    return (floats)((words)size | (bits & 0x8000) << 16);
}
#endif

static inline float total(floats x) {
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

/* Outputs `from` to `to` of a matrix for n rows of x: y[row * stride + output]. Four outputs share each load of x.
   What is stored in few bytes is asked for ahead: it is used up faster than the CPU foresees. */
#define MULTIPLY(KIND, BYTES)                                                                                          \
    static void multiply_##KIND(const Matrix *m, const float *x, int64_t n, float *y, int64_t stride, int64_t from,    \
                                int64_t to) {                                                                          \
        int64_t inputs = m->inputs, last = m->outputs - 1, block = 4 * inputs * BYTES, place[4];                       \
        for (int64_t o = from; o < to; o += 4) {                                                                       \
            for (int j = 0; j < 4; j++) place[j] = (o + j < last ? o + j : last) * inputs;                             \
            const char *ahead = (const char *)m->weight + o / 4 * block + 2 * block;                                   \
            for (int64_t i = 0; BYTES < 4 && i < block; i += 64) __builtin_prefetch(ahead + i);                        \
            for (int64_t row = 0; row < n; row++) {                                                                    \
                const float *own = x + row * inputs;                                                                   \
                floats a = {0}, b = {0}, c = {0}, d = {0};                                                             \
                for (int64_t i = 0; i < inputs; i += 8) {                                                              \
                    floats v = *(const loose_floats *)(own + i);                                                       \
                    a += load_##KIND(m->weight, place[0] + i) * v;                                                     \
                    b += load_##KIND(m->weight, place[1] + i) * v;                                                     \
                    c += load_##KIND(m->weight, place[2] + i) * v;                                                     \
                    d += load_##KIND(m->weight, place[3] + i) * v;                                                     \
                }                                                                                                      \
                float sums[4] = {total(a), total(b), total(c), total(d)};                                              \
                for (int64_t j = 0; j < 4 && o + j < to; j++)                                                          \
                    y[row * stride + o + j] = m->scale ? sums[j] * m->scale[o + j] : sums[j];                          \
            }                                                                                                          \
        }                                                                                                              \
    }
MULTIPLY(float32, 4)
MULTIPLY(bfloat16, 2)
MULTIPLY(float16, 2)
MULTIPLY(int8, 1)

static void multiply(const Matrix *m, const float *x, int64_t n, float *y, int64_t stride, int64_t threads) {
    int64_t blocks = (m->outputs + 3) / 4, pieces = m->outputs * m->inputs < THREADED ? 1 : threads;
#pragma omp parallel for num_threads(pieces) if (pieces > 1)
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t from = 4 * (blocks * piece / pieces), to = 4 * (blocks * (piece + 1) / pieces);
        if (to > m->outputs) to = m->outputs;
        if (m->kind == INT8) multiply_int8(m, x, n, y, stride, from, to);
        else if (m->kind == FLOAT16) multiply_float16(m, x, n, y, stride, from, to);
        else if (m->kind == BFLOAT16) multiply_bfloat16(m, x, n, y, stride, from, to);
        else multiply_float32(m, x, n, y, stride, from, to);
    }
}

static void add(float *x, const float *y, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] += y[i];
}

/* All parts of a group for n rows; `spare` has room for what LoRA makes, n * (rank + outputs) of any part. */
static void apply(const Group *group, const float *x, int64_t n, float *y, int64_t stride, float *spare,
                  int64_t threads) {
    for (int64_t part = 0; part < group->count; part++) {
        const Linear *l = &group->parts[part];
        int64_t outputs = l->base.outputs, rank = l->down.outputs;
        multiply(&l->base, x, n, y, stride, threads);
        if (rank) {
            multiply(&l->down, x, n, spare, rank, threads);
            multiply(&l->up, spare, n, spare + n * rank, outputs, threads);
        }
        for (int64_t row = 0; row < n; row++) {
            if (rank) add(y + row * stride, spare + n * rank + row * outputs, outputs);
            if (l->bias) add(y + row * stride, l->bias, outputs);
        }
        y += outputs;
    }
}

/* e^x to about 1e-7 of itself: 2^whole by the exponent's bits, 2^rest by a polynomial. Without branches or a library
   call, so that loops over it become vectors. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float scaled = x * 1.44269504088896341f, whole = (float)(int32_t)(scaled + (scaled < 0 ? -0.5f : 0.5f));
    float rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float power = 1.9875691500e-4f;
    power = power * rest + 1.3981999507e-3f;
    power = power * rest + 8.3334519073e-3f;
    power = power * rest + 4.1665795894e-2f;
    power = power * rest + 1.6666665459e-1f;
    power = power * rest + 5.0000001201e-1f;
    power = power * rest * rest + rest + 1.0f;
    union { int32_t bits; float value; } two = {((int32_t)whole + 127) << 23};
    return power * two.value;
}

static inline float inverse_root(float x) { return 1.0f / __builtin_sqrtf(x); }

static void normalise(const float *x, const float *weight, float epsilon, int64_t width, float *y) {
    float squares = 0;
    for (int64_t i = 0; i < width; i++) squares += x[i] * x[i];
    float factor = inverse_root(squares / width + epsilon);
    for (int64_t i = 0; i < width; i++) y[i] = weight[i] * (x[i] * factor);
}

/* Rotary embedding on halves, in place, after the norm of a head where there is one. */
static void rotate(float *x, const float *norm, const float *cosine, const float *sine, const Model *m) {
    int64_t half = m->head_width / 2;
    if (norm) normalise(x, norm, m->epsilon, m->head_width, x);
    for (int64_t i = 0; i < half; i++) {
        float left = x[i], right = x[i + half];
        x[i] = left * cosine[i] - right * sine[i];
        x[i + half] = right * cosine[i + half] + left * sine[i + half];
    }
}

/* Adds softmax(query keys^T) values of one head to y (d). Keys and values are (count, d). */
static void attend(const float *query, float scaling, const float *keys, const float *values, int64_t count, int64_t d,
                   float *scores, float *y) {
    float most = -3.0e38f, sum = 0;
    for (int64_t t = 0; t < count; t++) {
        float score = 0;
        for (int64_t i = 0; i < d; i++) score += query[i] * keys[t * d + i];
        scores[t] = score * scaling;
        most = scores[t] > most ? scores[t] : most;
    }
    for (int64_t t = 0; t < count; t++) {
        scores[t] = exponential(scores[t] - most);
        sum += scores[t];
    }
    float share = 1.0f / sum;
    for (int64_t t = 0; t < count; t++) {
        float weight = scores[t] * share;
        for (int64_t i = 0; i < d; i++) y[i] += weight * values[t * d + i];
    }
}

/* Attention of one row: q, k and v (qkv) of its token to y (H * d); k and v go into the cache. */
static void attention(const Model *m, const Layer *layer, int64_t number, const Row *row, float *qkv, float *y) {
    int64_t d = m->head_width, heads = m->heads, kv = m->kv_heads, group = heads / kv, at = row->position;
    const float *cosine = m->cosine + at * d, *sine = m->sine + at * d;
    const Prompts *prompts = row->prompts ? row->prompts + number : NULL;
    float *keys = row->cache + number * 2 * kv * row->capacity * d, *values = keys + kv * row->capacity * d;
    for (int64_t h = 0; h < heads; h++) rotate(qkv + h * d, layer->query_norm, cosine, sine, m);
    for (int64_t h = 0; h < kv; h++) {
        float *key = qkv + (heads + h) * d, *value = qkv + (heads + kv + h) * d;
        rotate(key, layer->key_norm, cosine, sine, m);
        memcpy(keys + (h * row->capacity + at) * d, key, d * sizeof(float));
        memcpy(values + (h * row->capacity + at) * d, value, d * sizeof(float));
    }
    if (prompts && prompts->constant) memcpy(y, prompts->constant, heads * d * sizeof(float));
    else memset(y, 0, heads * d * sizeof(float));
    int64_t longest = at + 1;
    for (int term = 0; prompts && term < 2; term++)
        if (prompts->terms[term].count > longest) longest = prompts->terms[term].count;
    int64_t pieces = longest * heads * d < THREADED ? 1 : m->threads;
#pragma omp parallel for num_threads(pieces) if (pieces > 1)
    for (int64_t h = 0; h < heads; h++) {
        float *scores = malloc(longest * sizeof(float));
        int64_t own = h / group * row->capacity * d;
        attend(qkv + h * d, m->scaling, keys + own, values + own, at + 1, d, scores, y + h * d);
        for (int term = 0; prompts && term < 2; term++) {
            Term t = prompts->terms[term];
            int64_t start = h * t.count * d;
            if (t.count) attend(qkv + h * d, 1.0f, t.keys + start, t.values + start, t.count, d, scores, y + h * d);
        }
        free(scores);
    }
}

/* The feed-forward of n rows; `inner` has room for gate and up (n, 2 inner) and their product (n, inner). */
static void feed(const Model *m, const Layer *layer, const float *x, int64_t n, float *inner, float *spare, float *y) {
    int64_t width = m->inner;
    float *product = inner + n * 2 * width;
    apply(&layer->feed_in, x, n, inner, 2 * width, spare, m->threads);
    for (int64_t row = 0; row < n; row++) {
        const float *gate = inner + row * 2 * width, *up = gate + width;
        float *own = product + row * width;
        for (int64_t i = 0; i < width; i++) own[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
    }
    apply(&layer->feed_out, product, n, y, m->width, spare, m->threads);
}

/* One token for each of n rows. states (n, D) are those after the final norm, logits (n, vocabulary); entries of the
   logits between first_added and added_offset are left as they are. Returns 0, or 1 where there is no memory. */
int decode_step(const Model *m, int64_t n, const Row *rows, float *states, float *logits) {
    int64_t width = m->width, qkv = (m->heads + 2 * m->kv_heads) * m->head_width, mixed = m->heads * m->head_width;
    int64_t wide = 3 * m->inner > qkv ? 3 * m->inner : qkv;
    float *x = malloc(n * (3 * width + wide + mixed + m->spare) * sizeof(float));
    if (!x) return 1;
    float *normed = x + n * width, *change = normed + n * width, *inner = change + n * width, *mix = inner + n * wide;
    float *spare = mix + n * mixed;
    for (int64_t r = 0; r < n; r++) {
        int64_t token = rows[r].token, added = token - m->first_added;
        const float *own = added < 0 ? m->embedding + token * width : m->added_embedding + added * width;
        memcpy(x + r * width, own, width * sizeof(float));
    }
    for (int64_t number = 0; number < m->count; number++) {
        const Layer *layer = m->layers + number;
        for (int64_t r = 0; r < n; r++) {
            const float *own = rows[r].prompts ? rows[r].prompts[number].words : NULL;
            if (own) add(x + r * width, own, width);
            normalise(x + r * width, layer->attention_norm, m->epsilon, width, normed + r * width);
        }
        apply(&layer->attention_in, normed, n, inner, qkv, spare, m->threads);
        for (int64_t r = 0; r < n; r++) attention(m, layer, number, rows + r, inner + r * qkv, mix + r * mixed);
        apply(&layer->attention_out, mix, n, change, width, spare, m->threads);
        add(x, change, n * width);
        for (int64_t r = 0; r < n; r++)
            normalise(x + r * width, layer->feed_norm, m->epsilon, width, normed + r * width);
        feed(m, layer, normed, n, inner, spare, change);
        add(x, change, n * width);
    }
    for (int64_t r = 0; r < n; r++) normalise(x + r * width, m->norm, m->epsilon, width, states + r * width);
    apply(&m->head, states, n, logits, m->vocabulary, spare, m->threads);
    apply(&m->added_head, states, n, logits + m->added_offset, m->vocabulary, spare, m->threads);
    free(x);
    return 0;
}
