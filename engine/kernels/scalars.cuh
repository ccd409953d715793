// Stored scalars and their float32 values, without CUDA's headers: NVRTC then needs nothing but itself.
//
// SCALAR is defined by whoever compiles: float32, float16, bfloat16 or uint8.

#pragma once

typedef float float32;
struct float16 {
    unsigned short bits;
};
struct bfloat16 {
    unsigned short bits;
};
typedef unsigned char uint8;

#ifndef RUNS_ON_HOST
__device__ __forceinline__ float widened_half(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ unsigned short narrowed_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ __forceinline__ unsigned short narrowed_bfloat16(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    unsigned short narrowed;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrowed) : "f"(value));
    return narrowed;
#else
    // To the nearest, ties to even, as the instruction that sm_75 lacks.
    if (isnan(value)) return 0x7fff;
    const unsigned int bits = __float_as_uint(value);
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

__device__ __forceinline__ float widened(float32 value) { return value; }
__device__ __forceinline__ float widened(float16 value) { return widened_half(value.bits); }
__device__ __forceinline__ float widened(bfloat16 value) { return __uint_as_float((unsigned int)value.bits << 16); }
__device__ __forceinline__ float widened(uint8 value) { return (float)value; }

__device__ __forceinline__ void narrow(float value, float32& to) { to = value; }
__device__ __forceinline__ void narrow(float value, float16& to) { to.bits = narrowed_half(value); }
__device__ __forceinline__ void narrow(float value, bfloat16& to) { to.bits = narrowed_bfloat16(value); }
// To the nearest level; fmaxf makes 0 of what is not a number.
__device__ __forceinline__ void narrow(float value, uint8& to) {
    to = (uint8)rintf(fminf(fmaxf(value, 0.0f), 255.0f));
}

template <typename T>
__device__ __forceinline__ void store(T* place, float value) { narrow(value, *place); }

// 16 bytes, the widest load that a thread can do: 4 float32, 8 float16 or bfloat16, 16 uint8.
template <typename T>
struct Pack {
    static constexpr int LENGTH = 16 / (int)sizeof(T);
    T values[LENGTH];
};

template <typename T>
__device__ __forceinline__ Pack<T> load_pack(const T* place) {
    const uint4 words = *reinterpret_cast<const uint4*>(place);
    Pack<T> pack;
    memcpy(&pack, &words, sizeof(words));
    return pack;
}

template <typename T>
__device__ __forceinline__ void store_pack(T* place, const float (&values)[Pack<T>::LENGTH]) {
    // Word by word and by an instruction of its own: what is left to the compiler, it stores in 4 pieces.
    constexpr int EACH = 4 / (int)sizeof(T);
    unsigned int words[4] = {};
#pragma unroll
    for (int i = 0; i < Pack<T>::LENGTH; ++i) {
        T narrowed;
        narrow(values[i], narrowed);
        unsigned int bits = 0;
        memcpy(&bits, &narrowed, sizeof(T));
        words[i / EACH] |= bits << (32 / EACH) * (i % EACH);
    }
    __stwb(reinterpret_cast<uint4*>(place), make_uint4(words[0], words[1], words[2], words[3]));
}
