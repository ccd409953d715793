// As much of CUDA as our kernels use, in C++ on the processor: one thread after the other, block by block.
//
// Threads of a block that wait for each other (COOPERATIVE) are fibres: each runs to its next __syncthreads, then the
// following one does.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#ifdef COOPERATIVE
#include <ucontext.h>

#include <memory>
#include <vector>
#endif

#define RUNS_ON_HOST
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
// Blocks run one after the other: what one of them shares needs to be there once.
#define __shared__ static

using std::isfinite;
using std::isnan;

struct uint3 {
    unsigned int x, y, z;
};
struct alignas(16) uint4 {
    unsigned int x, y, z, w;
};
struct float2 {
    float x, y;
};
struct float3 {
    float x, y, z;
};

static uint3 gridDim, blockDim, blockIdx, threadIdx;

inline uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) { return {x, y, z, w}; }
inline void __stwb(uint4* place, uint4 words) { *place = words; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
template <typename T>
inline T min(T a, T b) { return b < a ? b : a; }
template <typename T>
inline T max(T a, T b) { return a < b ? b : a; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }

inline float __uint_as_float(unsigned int bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

inline unsigned int __float_as_uint(float value) {
    unsigned int bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

inline int atomicMax(int* place, int value) {
    const int before = *place;
    if (value > before) *place = value;
    return before;
}

inline float widened_half(unsigned short half) {
    const unsigned int sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    // The exponent's bias grows by 112, by a multiplication: it also normalises what is subnormal.
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(magnitude << 13) * 0x1p112f));
}

inline unsigned short narrowed_half(float value) {
    const unsigned int bits = __float_as_uint(value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u); // from 65520 on: infinite
    if (magnitude < 0x38800000u) {                                         // below 2^-14: subnormal
        return (unsigned short)(sign | (unsigned int)rintf(__uint_as_float(magnitude) * 0x1p24f));
    }
    return (unsigned short)(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13));
}

namespace host {
namespace { // of this library alone: what is merely inline, the loader shares among all that are loaded

template <typename... Arguments, std::size_t... I>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<Arguments>*>(arguments[I])...);
}

inline uint3 unravelled(std::size_t index, const uint3& shape) {
    return {
        (unsigned int)(index % shape.x), (unsigned int)(index / shape.x % shape.y),
        (unsigned int)(index / shape.x / shape.y)
    };
}

#ifdef COOPERATIVE
struct Fibre {
    ucontext_t context;
    bool finished;
    // Left uninitialised: pages that a kernel does not use are never touched.
    std::unique_ptr<char[]> stack;
};
constexpr std::size_t STACK = 64 * 1024;
ucontext_t scheduler;
Fibre* running;
void (*work)(void*);
void* work_arguments;

inline void run_fibre() {
    work(work_arguments);
    running->finished = true;
    swapcontext(&running->context, &scheduler);
}

template <typename Work>
void run_block(Work&& each, std::size_t threads, bool backwards) {
    static std::vector<Fibre> fibres;
    if (fibres.size() < threads) fibres = std::vector<Fibre>(threads);
    work = [](void* f) { (*static_cast<std::remove_reference_t<Work>*>(f))(); };
    work_arguments = &each;
    for (std::size_t i = 0; i < threads; ++i) {
        Fibre& fibre = fibres[i];
        if (!fibre.stack) fibre.stack.reset(new char[STACK]);
        fibre.finished = false;
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.get();
        fibre.context.uc_stack.ss_size = STACK;
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, run_fibre, 0);
    }
    for (std::size_t left = threads; left;) {
        for (std::size_t i = 0; i < threads; ++i) {
            const std::size_t thread = backwards ? threads - 1 - i : i;
            running = &fibres[thread];
            if (running->finished) continue;
            threadIdx = unravelled(thread, blockDim);
            swapcontext(&scheduler, &running->context);
            left -= running->finished;
        }
    }
}
#else
template <typename Work>
void run_block(Work&& each, std::size_t threads, bool backwards) {
    for (std::size_t i = 0; i < threads; ++i) {
        threadIdx = unravelled(backwards ? threads - 1 - i : i, blockDim);
        each();
    }
}
#endif

// shape: grid x, y, z and block x, y, z. arguments: a pointer to each, as cuLaunchKernel takes them.
template <typename... Arguments>
void launch(void (*kernel)(Arguments...), const unsigned int* shape, void** arguments, int backwards) {
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    const std::size_t blocks = (std::size_t)shape[0] * shape[1] * shape[2];
    const std::size_t threads = (std::size_t)shape[3] * shape[4] * shape[5];
    auto each = [=] { call(kernel, arguments, std::index_sequence_for<Arguments...>()); };
    for (std::size_t i = 0; i < blocks; ++i) {
        blockIdx = unravelled(backwards ? blocks - 1 - i : i, gridDim);
        run_block(each, threads, backwards);
    }
}

} // namespace
} // namespace host

#ifdef COOPERATIVE
// The scheduler sets a fibre's own indices again before it comes back.
inline void __syncthreads() { swapcontext(&host::running->context, &host::scheduler); }
#endif
