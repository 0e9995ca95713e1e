/* Scalar functions, matrix products, convolutions and poolings that the generated step calls. Plain C11. */
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define VECTOR __attribute__((simd("notinbranch"), const)) /* glibc has these for vectors too */
#else
#define VECTOR __attribute__((const))
#endif

#define DECLARE(name) \
    VECTOR double name(double); \
    VECTOR float name##f(float);
DECLARE(exp) DECLARE(log) DECLARE(tanh) DECLARE(erf) DECLARE(expm1) DECLARE(log1p) DECLARE(sin) DECLARE(cos)
VECTOR double pow(double, double);
VECTOR float powf(float, float);

#define SCALAR(T, s, f) \
    INLINE T exp_##s(T a) { return exp##f(a); } \
    INLINE T log_##s(T a) { return log##f(a); } \
    INLINE T tanh_##s(T a) { return tanh##f(a); } \
    INLINE T erf_##s(T a) { return erf##f(a); } \
    INLINE T expm1_##s(T a) { return expm1##f(a); } \
    INLINE T log1p_##s(T a) { return log1p##f(a); } \
    INLINE T sin_##s(T a) { return sin##f(a); } \
    INLINE T cos_##s(T a) { return cos##f(a); } \
    INLINE T pow_##s(T a, T b) { return pow##f(a, b); } \
    INLINE T sqrt_##s(T a) { return __builtin_sqrt##f(a); } \
    INLINE T floor_##s(T a) { return __builtin_floor##f(a); } \
    INLINE T ceil_##s(T a) { return __builtin_ceil##f(a); } \
    INLINE T abs_##s(T a) { return __builtin_fabs##f(a); } \
    INLINE T square_##s(T a) { return a * a; } \
    INLINE T relu_##s(T a) { return a < 0 ? 0 : a; } \
    INLINE T sign_##s(T a) { return (T)((a > 0) - (a < 0)); } \
    INLINE T max_##s(T a, T b) { return a > b || a != a ? a : b; } \
    INLINE T min_##s(T a, T b) { return a < b || a != a ? a : b; }
SCALAR(float, f, f)
SCALAR(double, d, )

/* An index into an axis; a negative one may count from the end. Outside of the axis: 0, and `bad` says so. */
INLINE long looked_up(int64_t index, long size, int wraps, int *bad) {
    if (wraps && index < 0) index += size;
    if ((uint64_t)index < (uint64_t)size) return index;
    *bad = 1;
    return 0;
}

/* C = op(A) op(B) + keep C, all row by row; the BLAS counts by columns, so it is asked for the transposes. */
#define PRODUCT(T, s) \
    typedef void (*blas_##s)(char *, char *, int *, int *, int *, T *, T *, int *, T *, int *, T *, T *, int *); \
    static blas_##s library_##s; \
    INLINE void gemm_##s(int ta, int tb, int m, int n, int k, const T *a, int lda, const T *b, int ldb, T *c, int ldc, \
                         T keep) { \
        T one = 1; \
        char yes = 'T', no = 'N'; \
        library_##s(tb ? &yes : &no, ta ? &yes : &no, &n, &m, &k, &one, (T *)b, &ldb, (T *)a, &lda, &keep, c, &ldc); \
    }
PRODUCT(float, f)
PRODUCT(double, d)

#define SHAPE \
    long images, long groups, long inner, long outer, long high, long wide, long kh, long kw, long sh, long sw, long ph, \
        long pw, long dh, long dw
#define OUT_SIZES \
    const long oh = (high + 2 * ph - dh * (kh - 1) - 1) / sh + 1, ow = (wide + 2 * pw - dw * (kw - 1) - 1) / sw + 1; \
    const long places = oh * ow, patch = inner * kh * kw, plane = high * wide;

#define CONVOLUTION(T, s) \
    INLINE void unfold_##s(SHAPE, const T *x, T *columns) { \
        OUT_SIZES(void) images, (void)groups, (void)outer, (void)patch; \
        for (long c = 0; c < inner; c++) \
            for (long i = 0; i < kh; i++) \
                for (long j = 0; j < kw; j++, columns += places) \
                    for (long y = 0; y < oh; y++) { \
                        const long from = y * sh - ph + i * dh; \
                        T *row = columns + y * ow; \
                        if (from < 0 || from >= high) { \
                            memset(row, 0, ow * sizeof(T)); \
                            continue; \
                        } \
                        const T *source = x + c * plane + from * wide + j * dw - pw; \
                        long first = pw - j * dw > 0 ? (pw - j * dw + sw - 1) / sw : 0; \
                        long last = (wide - 1 + pw - j * dw) / sw + 1; \
                        if (wide - 1 + pw - j * dw < 0) last = 0; \
                        if (last > ow) last = ow; \
                        if (first > last) first = last; \
                        for (long z = 0; z < first; z++) row[z] = 0; \
                        if (sw == 1) memcpy(row + first, source + first, (last - first) * sizeof(T)); \
                        else for (long z = first; z < last; z++) row[z] = source[z * sw]; \
                        for (long z = last; z < ow; z++) row[z] = 0; \
                    } \
    } \
    INLINE void fold_##s(SHAPE, const T *columns, T *x) { \
        OUT_SIZES(void) images, (void)groups, (void)outer, (void)patch; \
        for (long c = 0; c < inner; c++) \
            for (long i = 0; i < kh; i++) \
                for (long j = 0; j < kw; j++, columns += places) \
                    for (long y = 0; y < oh; y++) { \
                        const long to = y * sh - ph + i * dh; \
                        if (to < 0 || to >= high) continue; \
                        T *target = x + c * plane + to * wide + j * dw - pw; \
                        long first = pw - j * dw > 0 ? (pw - j * dw + sw - 1) / sw : 0; \
                        long last = (wide - 1 + pw - j * dw) / sw + 1; \
                        if (wide - 1 + pw - j * dw < 0) last = 0; \
                        if (last > ow) last = ow; \
                        for (long z = first; z < last; z++) target[z * sw] += columns[y * ow + z]; \
                    } \
    } \
    static void convolve_##s(SHAPE, const T *x, const T *w, T *out, T *columns) { \
        OUT_SIZES \
        for (long n = 0; n < images; n++) \
            for (long g = 0; g < groups; g++) { \
                unfold_##s(images, groups, inner, outer, high, wide, kh, kw, sh, sw, ph, pw, dh, dw, \
                           x + (n * groups + g) * inner * plane, columns); \
                gemm_##s(0, 0, outer, places, patch, w + g * outer * patch, patch, columns, places, \
                         out + (n * groups + g) * outer * places, places, 0); \
            } \
    } \
    static void convolve_weights_##s(SHAPE, const T *gradient, const T *x, T *out, T *columns) { \
        OUT_SIZES \
        memset(out, 0, groups * outer * patch * sizeof(T)); \
        for (long n = 0; n < images; n++) \
            for (long g = 0; g < groups; g++) { \
                unfold_##s(images, groups, inner, outer, high, wide, kh, kw, sh, sw, ph, pw, dh, dw, \
                           x + (n * groups + g) * inner * plane, columns); \
                gemm_##s(0, 1, outer, patch, places, gradient + (n * groups + g) * outer * places, places, columns, \
                         places, out + g * outer * patch, patch, 1); \
            } \
    } \
    static void convolve_inputs_##s(SHAPE, const T *gradient, const T *w, T *out, T *columns) { \
        OUT_SIZES \
        memset(out, 0, images * groups * inner * plane * sizeof(T)); \
        for (long n = 0; n < images; n++) \
            for (long g = 0; g < groups; g++) { \
                gemm_##s(1, 0, patch, places, outer, w + g * outer * patch, patch, \
                         gradient + (n * groups + g) * outer * places, places, columns, places, 0); \
                fold_##s(images, groups, inner, outer, high, wide, kh, kw, sh, sw, ph, pw, dh, dw, columns, \
                         out + (n * groups + g) * inner * plane); \
            } \
    }
CONVOLUTION(float, f)
CONVOLUTION(double, d)

#define WINDOW \
    long planes, long high, long wide, long oh, long ow, long kh, long kw, long sh, long sw, long ph, long pw, long dh, long dw

#define POOLING(T, s) \
    static inline void max_pool_##s(WINDOW, const T *x, T *out, int64_t *places) { \
        for (long p = 0; p < planes; p++, x += high * wide) \
            for (long y = 0; y < oh; y++) \
                for (long z = 0; z < ow; z++, out++, places++) { \
                    T top = -__builtin_inf(); \
                    long best = -1; \
                    for (long i = 0; i < kh; i++) { \
                        const long a = y * sh - ph + i * dh; \
                        if (a < 0 || a >= high) continue; \
                        for (long j = 0; j < kw; j++) { \
                            const long b = z * sw - pw + j * dw; \
                            if (b < 0 || b >= wide) continue; \
                            const T one = x[a * wide + b]; \
                            if (best < 0 || one > top || one != one) top = one, best = a * wide + b; \
                        } \
                    } \
                    *out = top; \
                    *places = best; \
                } \
    } \
    static inline void max_pool_back_##s(long planes, long inner, long outer, const T *gradient, const int64_t *places, \
                                         T *out) { \
        memset(out, 0, planes * inner * sizeof(T)); \
        for (long p = 0; p < planes; p++, out += inner) \
            for (long i = 0; i < outer; i++) out[*places++] += *gradient++; \
    } \
    static inline void avg_pool_##s(WINDOW, const T *x, T *out) { \
        (void)dh, (void)dw; \
        for (long p = 0; p < planes; p++, x += high * wide) \
            for (long y = 0; y < oh; y++) \
                for (long z = 0; z < ow; z++) { \
                    T sum = 0; \
                    for (long i = 0; i < kh; i++) { \
                        const long a = y * sh - ph + i; \
                        if (a < 0 || a >= high) continue; \
                        for (long j = 0; j < kw; j++) { \
                            const long b = z * sw - pw + j; \
                            if (b >= 0 && b < wide) sum += x[a * wide + b]; \
                        } \
                    } \
                    *out++ = sum / (kh * kw); \
                } \
    } \
    static inline void avg_pool_back_##s(WINDOW, const T *gradient, T *out) { \
        (void)dh, (void)dw; \
        memset(out, 0, planes * high * wide * sizeof(T)); \
        for (long p = 0; p < planes; p++, out += high * wide) \
            for (long y = 0; y < oh; y++) \
                for (long z = 0; z < ow; z++) { \
                    const T share = *gradient++ / (kh * kw); \
                    for (long i = 0; i < kh; i++) { \
                        const long a = y * sh - ph + i; \
                        if (a < 0 || a >= high) continue; \
                        for (long j = 0; j < kw; j++) { \
                            const long b = z * sw - pw + j; \
                            if (b >= 0 && b < wide) out[a * wide + b] += share; \
                        } \
                    } \
                } \
    }
POOLING(float, f)
POOLING(double, d)
