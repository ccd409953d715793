// Where a linear sample takes its values from, and with which weights.

#pragma once

#include "scalars.cuh"

// The two neighbours of a position along one axis; an index of -1 is outside and counts as 0.
struct Taps {
    int index[2];
    float weight[2];
};

// position: in pixels, 0 at the centre of the first. border: the outermost pixels go on for ever, else 0 is outside.
// A position that is not a number is outside, or with a border the first pixel.
__device__ __forceinline__ Taps taps(float position, int length, bool border) {
    // fmaxf and fminf return the number of a number and a NaN. The bounds also keep the cast below defined.
    const float inside = border ? fminf(fmaxf(position, 0.0f), (float)(length - 1))
                                : fminf(fmaxf(position, -2.0f), (float)length + 1.0f);
    const float low = floorf(inside);
    const int first = (int)low;
    Taps result;
    result.weight[1] = inside - low;
    result.weight[0] = 1.0f - result.weight[1];
    result.index[0] = first >= 0 && first < length ? first : -1;
    result.index[1] = first >= -1 && first < length - 1 ? first + 1 : -1;
    return result;
}

// The pixels that a sample in N dimensions is the weighted sum of; an offset of -1 is outside.
template <int COUNT>
struct Corners {
    long long offset[COUNT];
    float weight[COUNT];
};

__device__ __forceinline__ Corners<4> corners(const Taps& x, const Taps& y, long long stride_x, long long stride_y) {
    Corners<4> result;
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
        const int column = x.index[corner & 1], row = y.index[corner >> 1];
        result.offset[corner] = column < 0 || row < 0 ? -1 : row * stride_y + column * stride_x;
        result.weight[corner] = x.weight[corner & 1] * y.weight[corner >> 1];
    }
    return result;
}

__device__ __forceinline__ Corners<8> corners(
    const Taps& x, const Taps& y, const Taps& z, long long stride_x, long long stride_y, long long stride_z
) {
    Corners<8> result;
#pragma unroll
    for (int corner = 0; corner < 8; ++corner) {
        const int column = x.index[corner & 1], row = y.index[corner >> 1 & 1], slice = z.index[corner >> 2];
        result.offset[corner] =
            column < 0 || row < 0 || slice < 0 ? -1 : slice * stride_z + row * stride_y + column * stride_x;
        result.weight[corner] = x.weight[corner & 1] * y.weight[corner >> 1 & 1] * z.weight[corner >> 2];
    }
    return result;
}

// One channel. What is outside is not read: it may be infinite there.
template <int COUNT, typename T>
__device__ __forceinline__ float gathered(const T* plane, const Corners<COUNT>& from) {
    float sum = 0.0f;
#pragma unroll
    for (int corner = 0; corner < COUNT; ++corner) {
        if (from.offset[corner] >= 0) sum += from.weight[corner] * widened(plane[from.offset[corner]]);
    }
    return sum;
}

// As many neighbouring channels as a pack holds; all addresses must be multiples of 16 bytes.
template <int COUNT, typename T>
__device__ __forceinline__ void gather_pack(const T* channels, const Corners<COUNT>& from, T* output) {
    float sums[Pack<T>::LENGTH] = {};
#pragma unroll
    for (int corner = 0; corner < COUNT; ++corner) {
        if (from.offset[corner] < 0) continue;
        const Pack<T> pack = load_pack(channels + from.offset[corner]);
#pragma unroll
        for (int i = 0; i < Pack<T>::LENGTH; ++i) sums[i] += from.weight[corner] * widened(pack.values[i]);
    }
    store_pack(output, sums);
}

// Channels of one position that a row of threads shares out, channels next to each other in memory.
template <int COUNT, typename T>
__device__ __forceinline__ void gather_channels(
    const T* input, const Corners<COUNT>& from, T* output, int channels, bool packed, int lane, int lanes
) {
    if (packed) {
        const int step = Pack<T>::LENGTH;
        for (int channel = lane * step; channel < channels; channel += lanes * step) {
            gather_pack(input + channel, from, output + channel);
        }
    } else {
        for (int channel = lane; channel < channels; channel += lanes) {
            store(output + channel, gathered(input + channel, from));
        }
    }
}
